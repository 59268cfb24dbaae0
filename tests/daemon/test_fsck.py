"""`cbx-sandbox fsck` finds real damage, mends what is safe to, leaves the rest alone, and says which is which."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from tests.crash import faults, states, tracing
from tests.crash.faults import STOPPED, Counter, in_child, stop
from tests.daemon.conftest import lock_domain
from tests.daemon.law.conftest import CLIENT
from tests.daemon.test_checkpoints import SEQUENTIAL, cwd, held

from cbx_sandbox.checkpoint import leftovers, levels, parting
from cbx_sandbox.checkpoint.commit import commit
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.resolve import OnConflict
from cbx_sandbox.checkpoint.select import Selection
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.checkpoint.undo import redo, undo
from cbx_supervisor.cli.commands.fsck import command
from cbx_supervisor.execution import interrupted as interrupted_commits
from cbx_supervisor.execution.consistency import Check
from cbx_supervisor.store.database import Database, looking

pytestmark = pytest.mark.root

HELD = 9


class Stopped:
    """What a supervisor has left behind: held checkpoints, a committed one, a transaction; and nobody who uses it."""

    def __init__(self, supervisor, directory):
        self.supervisor = supervisor
        self.project = directory / "project"
        (self.project / ".git").mkdir(parents=True)
        (self.project / "old").write_text("old\n")
        line = "echo new > file{0}; echo {0} >> old; mkdir d{0}; echo n > d{0}/n"
        self.held = [held(supervisor, self.project, line.format(place)) for place in range(HELD)]
        made = supervisor.run("echo 1 > made", SEQUENTIAL, cwd(self.project), ("rw", os.fsencode(self.project)))
        self.committed = made.end()["result"]["checkpoint"]["id"]
        status, begun = supervisor.http("POST", "/v1/transactions", {"directories": [str(self.project)]})
        assert status == 201
        self.transaction = begun["id"]
        supervisor.post(f"/v1/transactions/{self.transaction}/savepoint", {"name": "a"})
        supervisor.stop()

    def session(self, number):
        return Session.from_json(json.loads(self.execute("SELECT session FROM checkpoints WHERE id = ?", (number,))[0]))

    def state(self, number):
        return self.execute("SELECT state FROM checkpoints WHERE id = ?", (number,))[0]

    def execute(self, *statement):
        # Closed at once: a connection that is left open here keeps files that the next supervisor removes.
        with contextlib.closing(sqlite3.connect(self.supervisor.paths.database, isolation_level=None)) as database:
            return database.execute(*statement).fetchone()

    def layer(self, number):
        return Path(self.session(number).layers[0].root)

    def fsck(self, *options):
        """Exit status, and the findings as (code, state)."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            for name, value in self.supervisor.environment.items():
                patch.setenv(name, value)
            status = command.main(["--json", *options], standalone_mode=False)
        return status, [(entry["code"], entry["state"]) for entry in json.loads(said.getvalue())["findings"]]

    def mends(self, code):
        """It is found, and left by a look; mended by a repair; then all is well."""
        assert self.fsck() == (4, [(code, "found")])
        assert self.fsck() == (4, [(code, "found")])
        assert self.fsck("--repair") == (1, [(code, "mended")])
        assert self.fsck() == (0, [])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    with lock_domain(tmp_path_factory) as supervisor:
        yield Stopped(supervisor.start("--idle-exit", "600"), tmp_path_factory.mktemp("p"))


@pytest.fixture(autouse=True)
def well(stopped):
    """The control: before each damage, nothing is found."""
    assert stopped.fsck() == (0, [])


def interrupted(stopped, number):
    """A commit that was stopped after its record, when its stage was filled."""
    counter = Counter(4, stop, only={"renameat2"})

    def work():
        return commit(stopped.session(number), keep=True, on_conflict=OnConflict.OURS).state.value

    status, said = in_child(work, counter)
    assert status == STOPPED, said
    assert (stopped.layer(number).parent / "journal").exists()


def half_done(stopped, back):
    """An undo, or a redo, that was stopped after its record."""
    work = undo if back else redo
    status, said = in_child(lambda: work(stopped.session(stopped.committed)), Counter(1, stop, only={"renameat2"}))
    assert status == STOPPED, said


@pytest.mark.crash
def test_a_repair_that_is_killed_is_done_again(stopped):
    """At any system call; the tree and the row agree then, and nothing is left to mend."""
    half_done(stopped, back=True)
    some = [call for call, change in tracing.calls(repairing(stopped)) if change]
    killed, back = 0, False
    for call in [*faults.some(some, 60 if faults.ALL else 5), None]:
        half_done(stopped, back)
        if call is not None:
            status, said = tracing.killed_at(call, repairing(stopped))
            assert status in {0, tracing.KILLED}, said
            killed += status == tracing.KILLED
        assert stopped.fsck("--repair")[0] in {0, 1}
        assert stopped.fsck() == (0, [])
        assert stopped.state(stopped.committed) == ("undone" if back else "committed")
        assert (stopped.project / "made").exists() is not back
        states.told(["old" if back else "new"])
        back = not back
    if not back:
        half_done(stopped, back=False)
        assert stopped.fsck("--repair") == (1, [("commit-unfinished", "mended")])
    assert killed


def repairing(stopped):
    return lambda: stopped.fsck("--repair")


def test_an_interrupted_commit(stopped):
    """It is finished, and the row says so."""
    number = stopped.held[0]
    interrupted(stopped, number)
    stopped.mends("commit-unfinished")
    assert (stopped.state(number), (stopped.project / "file0").read_text()) == ("committed", "new\n")


def test_a_torn_journal(stopped):
    """Cut off anywhere in its only record, nothing was committed by it; a torn end is cut off."""
    number = stopped.held[1]
    place = stopped.layer(number).parent / "journal"
    place.write_bytes(b"cbxJ\x01\0\0\0\xff\0\0\0")
    stopped.mends("journal-torn")
    assert (stopped.state(number), place.exists()) == ("held", False)
    with (stopped.layer(stopped.committed).parent / "journal").open("ab") as file:
        file.write(b"cbxJ")
    stopped.mends("journal-torn")
    assert stopped.state(stopped.committed) == "committed"


def test_a_record_that_the_disk_has_changed(stopped):
    """After steps were taken by it nothing is touched, also by a restart: what was replaced is in the stage."""
    number = stopped.held[2]
    interrupted(stopped, number)
    place = stopped.layer(number).parent / "journal"
    good = place.read_bytes()
    place.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    stage = sorted(path.name for path in (stopped.layer(number) / "stage").iterdir())
    assert stage
    for options in ((), ("--repair",)):
        assert stopped.fsck(*options) == (4, [("journal-checksum", "left" if options else "found")])
    assert sorted(path.name for path in (stopped.layer(number) / "stage").iterdir()) == stage
    place.write_bytes(good)
    stopped.mends("commit-unfinished")


def test_a_stage_without_a_journal(stopped):
    """A commit that was cut short before its record: the checkpoint is as it was."""
    number = stopped.held[3]
    (stopped.layer(number) / "stage").mkdir()
    stopped.mends("stage-orphaned")
    assert stopped.state(number) == "held"


def test_layers_that_are_not_there(stopped):
    """Without its only layer there is nothing to commit, and the row says so; nothing else is called lost."""
    number = stopped.held[4]
    shutil.rmtree(stopped.layer(number).parent)
    stopped.mends("layer-missing")
    assert stopped.state(number) == "rolled-back"


def test_layers_without_a_row(stopped):
    """They are removed, but for those of other databases, and those in which a commit was begun."""
    number = stopped.held[5]
    place, foreign = stopped.layer(number).parent, stopped.layer(number).parent.with_name("999")
    foreign.mkdir()
    stopped.execute("DELETE FROM checkpoints WHERE id = ?", (number,))
    stopped.mends("layer-without-row")
    assert (place.exists(), foreign.exists()) == (False, True)
    foreign.rmdir()


def test_a_part_without_a_row(stopped):
    """What was committed of a checkpoint just before a crash is written down: it can be undone, and the rest waits."""
    number, part = stopped.held[8], 900
    part_committed(stopped, number, part, f"{stopped.project}/file8")
    stopped.mends("part-without-row")
    assert (stopped.state(part), stopped.state(number)) == ("committed", "held")
    in_child(lambda: undo(stopped.session(part)))
    assert not (stopped.project / "file8").exists()
    assert stopped.fsck("--repair") == (1, [("row-behind", "mended")])


def part_committed(stopped, number, part, path):
    """A commit of one path that was killed before anything of it was written into the database."""

    def work():
        parting.clear = lambda *_: stop()
        apart = Apart(part, leftovers.identity(stopped.supervisor.paths.database))
        return commit(stopped.session(number), selection=Selection(only=(os.fsencode(path),)), keep=True, apart=apart)

    status, said = in_child(work)
    assert status == STOPPED, said


@pytest.mark.crash
@pytest.mark.parametrize("call", ["newfstatat", "openat"])
def test_a_disk_that_fails_keeps_nobody_from_the_rest(stopped, call):
    """What cannot be looked at is a finding; the others are told as ever."""
    other = stopped.layer(stopped.held[3]) / "stage"
    other.mkdir()
    status, said = tracing.failed_at(tracing.Call((call, 1)), "EIO", stopped.fsck, path=journal_of(stopped))
    other.rmdir()
    assert status == 0, said
    assert ("unreadable" in said, "stage-orphaned" in said) == (True, True), said


@pytest.mark.crash
def test_a_decision_stands_when_its_journal_cannot_be_read(stopped):
    """At a start: called held, a committed checkpoint could be rolled back, and what it replaced would be lost."""

    def start():
        said = []
        with contextlib.closing(Database(stopped.supervisor.paths.database)) as database:
            interrupted_commits.finish(database, stopped.supervisor.paths, lambda text, **_: said.append(text))
        return said

    status, said = tracing.failed_at(tracing.Call(("openat", 1)), "EIO", start, path=journal_of(stopped))
    assert (status, stopped.state(stopped.committed)) == (0, "committed"), said
    assert "not read" in said


def journal_of(stopped):
    return str(stopped.layer(stopped.committed).parent / "journal")


def test_a_layer_of_what_was_decided(stopped):
    """What was rolled back, and is still there, is removed."""
    number = stopped.held[6]
    stopped.execute("UPDATE checkpoints SET state = 'rolled-back' WHERE id = ?", (number,))
    stopped.mends("layer-left")
    assert not stopped.layer(number).exists()


def test_rows_behind_their_journals(stopped):
    """The journal is what was on disk first."""
    stopped.execute("UPDATE checkpoints SET state = 'held' WHERE id = ?", (stopped.committed,))
    stopped.mends("row-behind")
    assert stopped.state(stopped.committed) == "committed"


def test_a_checkpoint_whose_job_is_over(stopped):
    """Open without anybody who could decide on it: held."""
    number = stopped.held[7]
    stopped.execute("UPDATE checkpoints SET state = 'open' WHERE id = ?", (number,))
    stopped.mends("row-open")
    assert stopped.state(number) == "held"


def test_a_transaction_that_was_interrupted(stopped):
    """What was begun on its levels is done; levels that nobody made are left alone."""
    number = stopped.transaction
    saved = '[{"name":"a","at":1.0},{"name":"b","at":2.0}]'
    stopped.execute("UPDATE transactions SET pending = 'save', savepoints = ? WHERE checkpoint = ?", (saved, number))
    stopped.mends("transaction-interrupted")
    assert levels.depth(stopped.session(number)) == 2
    stopped.execute("UPDATE transactions SET savepoints = '[]' WHERE checkpoint = ?", (number,))
    assert stopped.fsck("--repair") == (4, [("transaction-levels", "left")])
    stopped.execute("UPDATE transactions SET savepoints = ? WHERE checkpoint = ?", (saved, number))


def test_overlays_that_are_still_mounted(stopped, tmp_path):
    """In the mount namespace of whoever looks, which is the test's own here: unmounted, if nobody uses them."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    script = (
        f'mount -t overlay cbx -o "{options}" {tmp_path}/merged; "$0" fsck --json; echo; "$0" fsck --repair --json; '
        f'echo; grep -c "{tmp_path}/merged" /proc/self/mountinfo'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, CLIENT], env=stopped.supervisor.environment, capture_output=True,
        check=False, text=True,
    )  # fmt: skip
    first, second, left = [line for line in done.stdout.splitlines() if line]
    states = [[entry["state"] for entry in json.loads(line)["findings"]] for line in (first, second)]
    assert (states, left) == ([["found"], ["mended"]], "0"), done.stderr


def test_a_damaged_database_is_said_so(stopped, tmp_path):
    """References that lead nowhere; SQLite's own check is asked, too."""
    stopped.execute("INSERT INTO listings (checkpoint, changes) VALUES (4711, x'00')")
    assert stopped.fsck("--repair") == (4, [("database-reference", "left")])
    stopped.execute("DELETE FROM listings WHERE checkpoint = 4711")


def test_nothing_is_repaired_beside_a_supervisor(stopped):
    """It refuses, and a look beside it finds nothing in what it is doing; what is left can still be used."""
    supervisor = stopped.supervisor
    supervisor.start("--idle-exit", "600")
    try:
        assert stopped.fsck() == (0, [])
        words = [CLIENT, "fsck", "--repair"]
        done = subprocess.run(words, env=supervisor.environment, capture_output=True, check=False, text=True)
        assert (done.returncode, "while a supervisor runs" in done.stderr) == (125, True), done.stderr
        assert supervisor.post(f"/v1/checkpoints/{stopped.held[1]}/rollback")["state"] == "rolled-back"
        assert supervisor.post(f"/v1/transactions/{stopped.transaction}/rollback")["state"] == "rolled-back"
    finally:
        supervisor.stop()


def test_a_look_writes_nothing(stopped):
    """Without --repair no repair is called, whatever is found."""
    with looking(stopped.supervisor.paths.database) as connection:
        assert list(Check(stopped.supervisor.paths, connection, pytest.fail, served=False).run()) == []
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM checkpoints")
