"""The audit trail in the store: chained by its writer, closed to changes, trimmed by the supervisor only."""

from __future__ import annotations

import sqlite3

import pytest

from cbx_supervisor.model import chain
from cbx_supervisor.model.job import Job
from cbx_supervisor.model.result import Result, Who
from cbx_supervisor.store import audit, jobs, migrations
from cbx_supervisor.store.database import Database


@pytest.fixture
def database(tmp_path):
    made = Database(str(tmp_path / "cbx.db"))
    yield made
    made.close()


def links(path):
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM audit ORDER BY id")]
        last = audit.last_number(connection)
    connection.close()
    found = [chain.Link(chain.Entry(*list(row.values())[:7]), row["previous"], row["hash"]) for row in rows]
    return found, last


def verdict(path, anchors=()):
    found, last = links(path)
    return chain.verify(found, last=last, anchors=anchors)


def filled(database, count=6):
    futures = [database.write(audit.record(float(n), "x", f"job {n}", uid=n, detail={"n": n})) for n in range(count)]
    for future in futures:
        future.result()


def test_entries_are_chained_across_transactions_and_restarts(database):
    """Also where operations share a transaction, and where one of them fails."""
    filled(database)
    database.write(lambda connection: audit.record(9.0, "gone", "x")(connection) or 1 / 0).exception()
    database.close()
    again = Database(database.path)
    filled(again, 3)
    again.close()
    found = verdict(database.path)
    assert (found.entries, found.problems) == (9, ())


@pytest.mark.parametrize("statement", ["UPDATE audit SET uid = 5 WHERE id = 3", "DELETE FROM audit WHERE id = 3"])
def test_the_table_is_append_only(database, statement):
    """Against mistakes of one's own; the control is the insert."""
    filled(database)
    assert isinstance(database.write(lambda c: c.execute(statement) and None).exception(), sqlite3.IntegrityError)
    assert verdict(database.path).problems == ()


TAMPERED = [
    ("UPDATE audit SET uid = 77 WHERE id = 3", [3]),
    ("UPDATE audit SET detail = '{}' WHERE id = 3", [3]),
    ("UPDATE audit SET at = at + 1 WHERE id = 6", [6]),
    ("DELETE FROM audit WHERE id = 3", [3]),
    ("DELETE FROM audit WHERE id = 6", [6]),
    ("DELETE FROM audit WHERE id = 1", [1]),
    ("UPDATE audit SET id = -id WHERE id IN (3, 4); UPDATE audit SET id = 7 + id WHERE id < 0", [3, 4, 5]),
]


@pytest.mark.parametrize(("statements", "named"), TAMPERED)
def test_who_writes_to_the_file_is_found_out(database, statements, named):
    """As root, without the triggers: the entry is named."""
    filled(database)
    database.close()
    with sqlite3.connect(database.path) as connection:
        connection.executescript(f"DROP TRIGGER audit_unchanged; DROP TRIGGER audit_kept; {statements}")
    connection.close()
    assert [problem.id for problem in verdict(database.path).problems] == named


def test_old_entries_are_trimmed_and_the_rest_verified(database):
    """What went is said, with its last hash; younger entries stay; nothing more goes at once."""
    filled(database)
    noted = chain.Anchor(3, links(database.path)[0][2].hash)
    assert database.write(audit.trim(3.0, 50.0)).result() == 3
    assert database.write(audit.trim(3.0, 51.0)).result() == 0
    found = verdict(database.path, [noted])
    assert (found.first, found.entries, found.problems) == (4, 4, ())
    with pytest.raises(sqlite3.IntegrityError):
        database.write(lambda c: c.execute("DELETE FROM audit WHERE id = 4") and None).result()


def test_a_trail_of_an_earlier_release_is_chained(tmp_path):
    """Its entries keep their numbers, and the gap that it had is told."""
    path = str(tmp_path / "old.db")
    with sqlite3.connect(path) as old:
        for step in migrations.MIGRATIONS[:4]:
            old.executescript(step)
        old.execute("PRAGMA user_version = 4")
        for number in (1, 2, 4):
            old.execute("INSERT INTO audit VALUES (?, 1.5, 0, 1, 'denied', 'x', '{}')", (number,))
    old.close()
    database = Database(path)
    filled(database, 1)
    database.close()
    found = verdict(path)
    assert (found.entries, [problem.id for problem in found.problems]) == (4, [3])


def test_what_is_no_text_can_be_told_all_the_same(database):
    """Bytes that came from a caller, and that nobody can encode: whoever reads the trail gets them escaped."""
    database.write(audit.record(1.0, "denied", "x", detail={"why": "not \udcff\udcfe", "list": ["\ud800"]})).result()
    (entry,) = database.read(lambda connection: audit.following(connection, after=0, limit=10))
    assert entry["detail"] == {"why": "not \\udcff\\udcfe", "list": ["\\ud800"]}
    assert str(entry).encode()


def test_a_job_is_in_the_trail_from_submission_to_end(database):
    """Each step with the transaction that it belongs to."""
    job = Job(number=1, uid=7, gid=7, command="ls", workdir="/", submitted=1.0)
    end = Result(job=1, command="ls", state="exited", reason="exited", status=3, identity=Who(7, 7), workdir="/")
    database.write(jobs.insert(job, "queued")).result()
    database.write(jobs.starting(1, 1, "SAFE_PARALLEL", 2.0, "b", uid=7, decision={"command": "ls"})).result()
    database.write(jobs.ended(end, 3.0)).result()
    entries = database.read(lambda connection: audit.following(connection, after=0, limit=10))
    assert [(entry["action"], entry["subject"], entry["uid"]) for entry in entries] == [
        ("submitted", "job 1", 7), ("started", "job 1", 7), ("ended", "job 1", 7),
    ]  # fmt: skip
    assert entries[2]["detail"] == {"state": "exited", "reason": "exited", "status": 3}
