"""The store on a real file: durable, grouped, whole steps only."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from cbx_sandbox.errors import CbxError
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.job import Job
from cbx_supervisor.model.result import Result, Who
from cbx_supervisor.store import checkpoints, jobs, transactions
from cbx_supervisor.store.database import Database
from cbx_supervisor.store.history import prune
from cbx_supervisor.store.migrations import MIGRATIONS


def job(number, uid=1000, command="true"):
    return Job(number=number, uid=uid, gid=uid, command=command, workdir="/", submitted=1.0)


def result(number):
    return Result(
        job=number, command="true", state="exited", reason="exited", status=0, exit_code=0, identity=Who(0, 0),
        workdir="/",
    )  # fmt: skip


@pytest.fixture
def database(tmp_path):
    opened = Database(str(tmp_path / "cbx.db"))
    yield opened
    opened.close()


def test_a_job_from_submission_to_its_result(database):
    """What was written is found again."""
    database.write(jobs.insert(job(1), "queued")).result()
    database.write(jobs.starting(1, 1, "SAFE_PARALLEL", 2.0, "boot")).result()
    assert [row.job.number for row in database.read(jobs.unfinished)] == [1]
    database.write(jobs.running(1, 1, init_pid=7, init_start=8, cgroup_inode=9)).result()
    database.write(jobs.ended(result(1), 3.0)).result()
    row = database.read(lambda c: jobs.find(c, 1))
    assert (row.state, row.job.tier, row.result) == ("exited", "SAFE_PARALLEL", result(1))
    assert database.read(jobs.unfinished) == []


def test_numbers_are_never_given_twice(database):
    """Not even after the newest row is gone."""
    database.write(jobs.insert(job(5), "queued")).result()
    database.write(lambda c: c.execute("DELETE FROM jobs") and None).result()
    assert database.read(lambda c: jobs.last_number(c, "jobs")) == 5


def test_users_see_their_own(database):
    """Lists filter by submitter and state."""
    for number, uid in ((1, 0), (2, 1000), (3, 1000)):
        database.write(jobs.insert(job(number, uid), "queued")).result()
    listed = database.read(lambda c: jobs.listed(c, jobs.Choice(uid=1000, states=("queued",)), 10))
    assert [row.job.number for row in listed] == [3, 2]
    assert database.read(lambda c: jobs.listed(c, jobs.Choice(uid=0, states=("running",)), 10)) == []


def test_waiting_writes_share_one_commit(database):
    """Grouped commits: far fewer fsyncs than writes."""
    before = database.commits
    futures = [database.write(jobs.insert(job(number), "queued")) for number in range(1, 401)]
    for future in futures:
        future.result()
    assert database.commits - before < 100


def test_a_failing_write_fails_alone(database):
    """Its neighbours in the same transaction stay."""
    good, bad, after = (database.write(jobs.insert(job(number), "queued")) for number in (1, 1, 2))
    good.result()
    with pytest.raises(sqlite3.IntegrityError):
        bad.result()
    after.result()
    assert len(database.read(jobs.unfinished)) == 2


def test_a_newer_database_is_refused(tmp_path):
    """With both versions and what to do."""
    path = str(tmp_path / "cbx.db")
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.commit()
    connection.close()
    with pytest.raises(CbxError, match="newer cbx") as caught:
        Database(path)
    assert caught.value.hint


def test_a_damaged_database_is_refused(tmp_path):
    """Never started empty in its place."""
    path = tmp_path / "cbx.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(CbxError, match="cannot open"):
        Database(str(path))
    assert path.read_bytes().startswith(b"this is")


def test_the_file_is_private(database):
    """Commands may hold secrets."""
    assert os.stat(database.path).st_mode & 0o777 == 0o600


def test_checkpoints_keep_their_session(database):
    """Enough to take them up again after an idle exit."""
    held = Checkpoint(
        id=1, job=1, uid=0, gid=0, state=CheckpointState.OPEN, created=1.0, session={"layers": [{"index": 0}]}
    )
    database.write(checkpoints.insert(held)).result()
    assert database.read(checkpoints.opened) == [held]
    database.write(checkpoints.decided(1, CheckpointState.HELD, 2.0, changes={"added": 1}, message="held")).result()
    found = database.read(lambda c: checkpoints.find(c, 1))
    assert (found.state, found.changes, found.session) == (CheckpointState.HELD, {"added": 1}, held.session)


WRITER = """
import sys
from cbx_supervisor.store.database import Database
from cbx_supervisor.store import jobs
from cbx_supervisor.model.job import Job
database = Database(sys.argv[1])
number = 0
while True:
    number += 1
    row = Job(number=number, uid=0, gid=0, command="x" * 500, workdir="/", submitted=1.0)
    database.write(jobs.insert(row, "queued")).result()
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 37, 200])
def test_what_was_acknowledged_survives_kill_9(tmp_path, acknowledged):
    """A writer killed in the middle loses nothing that it was told is on disk."""
    path = str(tmp_path / "cbx.db")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    last = 0
    for line in writer.stdout:
        last = int(line)
        if last >= acknowledged:
            writer.send_signal(signal.SIGKILL)
            break
    rest = writer.stdout.read().split()
    writer.wait()
    last = int(rest[-1]) if rest else last
    database = Database(path)
    try:
        count = len(database.read(jobs.unfinished))
        assert last <= count <= last + 1
        assert database.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"
    finally:
        database.close()


def test_a_cancelled_write_does_not_stop_the_writer(database):
    """Whoever gave up waiting disturbs nobody."""
    database.write(lambda _: __import__("time").sleep(0.05))
    given_up = database.write(jobs.insert(job(1), "queued"))
    given_up.cancel()
    database.write(jobs.insert(job(2), "queued")).result(timeout=5)
    assert [row.job.number for row in database.read(jobs.unfinished)] == [2]


def test_transactions_are_forgotten_when_they_are_over(database):
    """By their age; one that is open, or that is held, is not, however old it is."""
    states = {1: None, 2: CheckpointState.COMMITTED, 3: CheckpointState.HELD, 4: CheckpointState.ROLLED_BACK}
    for number, state in states.items():
        made = Checkpoint(id=number, job=0, uid=7, gid=7, state=CheckpointState.OPEN, created=1.0)
        database.write(checkpoints.insert(made)).result()
        database.write(transactions.insert(number, 1.0)).result()
        if state is not None:
            database.write(checkpoints.decided(number, state, 100.0 if number == 4 else 2.0)).result()
    database.write(prune(10, before=50.0)).result()
    left = database.read(lambda connection: transactions.listed(connection, uid=7, open_only=False, limit=10))
    assert [found.number for found in left] == [4, 3, 1]
    assert [entry.kind for entry in database.read(lambda connection: checkpoints.log(connection, uid=7, limit=9))] == []
