"""A commit is undone and done again, whatever was in it; and not when somebody has changed what it made."""

import functools
import os
import sys
from pathlib import Path

import pytest
from tests.crash import faults, states
from tests.crash.faults import Trial
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.workloads import WORKLOADS

from cbx_sandbox.checkpoint import recover
from cbx_sandbox.checkpoint.undo import custody, redo, touched, undo
from cbx_sandbox.errors import ConflictError, UsageError

pytestmark = pytest.mark.root


@pytest.mark.parametrize("who", [harness.ROOT, harness.USER], ids=["root", "user"])
def test_back_and_forth(who):
    """Undone, the tree is what it was, times included; done again, what it became; as often as one likes."""
    trial = Trial(harness.SCRATCH, who)
    try:
        assert trial.commit() == "committed"
        new = trial.state()
        for _ in range(2):
            undo(trial.session)
            assert trial.state() == trial.old
            redo(trial.session)
            assert trial.state() == new
        assert touched(trial.session)
        with pytest.raises(UsageError):
            redo(trial.session)
    finally:
        trial.close()


def test_deeper_than_a_path_can_name():
    """What is to be locked is then the deepest directory that can be named."""
    with harness.box(harness.SCRATCH) as box:
        lines = "for _ in range(40):\n    if not os.path.isdir(name): os.mkdir(name)\n    os.chdir(name)"
        code = f"import os, sys\nname = 'd' * 200\n{lines}\nopen(sys.argv[1], 'w')\n"
        Path(box.base, "deep.py").write_text(code)
        job = f"{sys.executable} {box.base}/deep.py"
        assert checkpoint.commit(box.run(f"{job} first"), keep=True).state.value == "committed"
        before = harness.manifest(box.live)
        session = box.run(f"{job} second")
        assert checkpoint.commit(session, keep=True).state.value == "committed"
        (locked,) = touched(session)
        assert (Path(locked).is_dir(), len(locked) > 3000) == (True, True)
        undo(session)
        assert harness.manifest(box.live) == before


EDITS = {
    "changed": "echo more >> a", "replaced": "echo x > t; mv t a", "removed": "rm a", "added within": "echo x > n/m/x",
    "in the way": "echo x > b", "metadata": "chmod 600 h", "mode put back": "chmod 600 a; chmod 644 a",
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_what_was_edited_since_is_not_undone(edit):
    """Nothing is lost of what others did: refused with the path, and nothing is changed."""
    trial = Trial(harness.SCRATCH)
    try:
        trial.commit()
        trial.box.shell(edit)
        edited = trial.state()
        with pytest.raises(ConflictError) as caught:
            undo(trial.session)
        assert trial.box.live in caught.value.details
        assert trial.state() == edited
    finally:
        trial.close()


def test_control_what_lies_beside_is_nobodys_business():
    """An edit elsewhere does not keep anybody from undoing, and stays."""
    trial = Trial(harness.SCRATCH)
    try:
        trial.commit()
        trial.box.shell("echo mine > mine; echo mine > d/mine")
        undo(trial.session)
        assert Path(f"{trial.box.live}/d/mine").read_text() == "mine\n"
        assert os.path.exists(f"{trial.box.live}/b")
    finally:
        trial.close()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload(workload):
    """Each of the workloads leaves the tree that was there before."""
    with harness.box(harness.SCRATCH) as box:
        box.shell("git init -q . 2>/dev/null; true")
        before = harness.manifest(box.live)
        session = box.begin()
        box.inside(WORKLOADS[workload])
        if checkpoint.commit(session, allow_privileged=True, keep=True).state is checkpoint.State.COMMITTED:
            undo(session)
        assert harness.manifest(box.live) == before


@pytest.mark.crash
@pytest.mark.parametrize("act", [faults.stop, faults.EIO], ids=["stop", "EIO"])
def test_interrupted_at_every_change(act):
    """An undo that is stopped, or fails, at any of its changes ends whole: undone, or as it was."""
    bad = {}
    at = 0
    while True:
        at += 1 if os.environ.get("CBX_CRASH") else 5
        trial = Trial(harness.SCRATCH)
        try:
            trial.commit()
            new = trial.state()
            counter = faults.Counter(at, act)
            status, said = faults.in_child(functools.partial(undo, trial.session), counter)
            again, what = faults.in_child(trial.recover)
            now = trial.state()
            found = "torn" if again != 0 else "new" if now == new else "old" if now == trial.old else "torn"
            states.told([found])
            if found == "torn":
                bad[at] = what
            if status == 0 and int(said.split()[0]) < at:
                break
        finally:
            trial.close()
    assert bad == {}
    assert at > 20


@pytest.mark.crash
@pytest.mark.parametrize("act", [faults.stop, faults.EIO], ids=["stop", "EIO"])
@pytest.mark.parametrize("before", [(), ("commit",), ("commit", "undo")], ids=["commit", "undo", "redo"])
def test_marks_where_it_is_interrupted(before, act):
    """Immutable and append-only marks, and capabilities, are whole as well, old or new: of commits, undos and redos."""
    what = ("commit", "undo", "redo")[len(before)]

    def prepared():
        trial = Trial(faults.MEMORY, of=faults.MARKED)
        for step in before:
            getattr(trial, step)()
        return trial

    trial = prepared()
    try:
        was = trial.state()
        _, said = faults.in_child(getattr(trial, what), faults.Counter(-1, None))
        made = trial.state()
        assert made != was
        assert trial.old in (was, made)
    finally:
        trial.close()
    bad = {}
    for at in faults.points(int(said.split()[0]), 12):
        trial = prepared()
        try:
            faults.in_child(getattr(trial, what), faults.Counter(at, act))
            again, answer = faults.in_child(trial.recover)
            found = "old" if trial.state() == was else "new" if trial.state() == made else "torn"
            states.told([found])
            if again != 0 or found == "torn":
                bad[at] = answer
        finally:
            trial.close()
    assert bad == {}


def test_recovery_knows_what_was_undone():
    """After an undo there is nothing to be finished."""
    trial = Trial(harness.SCRATCH)
    try:
        trial.commit()
        undo(trial.session)
        assert recover.recover(trial.session) is recover.Recovered.UNDONE
    finally:
        trial.close()


STACK = (
    "mkdir -p d/e; echo 1 > d/f; echo 1 > d/e/g; ln d/f d/l; ln -s f d/s",
    "echo 2 > d/f.new; mv d/f.new d/f; chmod 700 d/e; echo 2 >> d/e/g; rm d/s; echo 2 > d/n",
    "mv d/e d/moved; rm d/n; echo 3 >> d/moved/g; touch -d 2001-01-01 d",
)


def stacked(box):
    """Three commits, each over the one before; their sessions, and the trees before each of them and at the end."""
    sessions, trees = [], []
    for line in STACK:
        trees.append(harness.manifest(box.live))
        sessions.append(box.run(line))
        assert checkpoint.commit(sessions[-1], allow_privileged=True, keep=True).state is checkpoint.State.COMMITTED
    return sessions, trees


def test_a_stack_is_undone_to_the_bottom():
    """The last first; each gives the tree that was there before it. Not one that others lie on."""
    with harness.box(harness.SCRATCH) as box:
        sessions, trees = stacked(box)
        for place in (0, 1):
            with pytest.raises(ConflictError):
                undo(sessions[place], custody(sessions[place + 1 :]))
        for place in (2, 1, 0):
            undo(sessions[place], custody(sessions[place + 1 :]))
            assert harness.manifest(box.live) == trees[place], place


BETWEEN = {
    "changed": "echo x >> d/f", "metadata": "chmod 777 d/l", "added": "echo x > d/x", "removed": "rm d/s",
    "changed beneath": "echo x >> d/e/g", "time put back": "touch -r d/f t; echo x >> d/f; touch -r t d/f; rm t",
}  # fmt: skip


@pytest.mark.parametrize("edit", BETWEEN.values(), ids=BETWEEN)
def test_what_others_did_between_two_undos_is_not_undone(edit):
    """What an earlier undo has put back and somebody has changed then is refused; the control is the test before."""
    with harness.box(harness.SCRATCH) as box:
        sessions, _ = stacked(box)
        undo(sessions[2], {})
        undo(sessions[1], custody(sessions[2:]))
        box.shell(edit)
        edited = harness.manifest(box.live)
        with pytest.raises(ConflictError):
            undo(sessions[0], custody(sessions[1:]))
        assert harness.manifest(box.live) == edited


def test_what_was_added_before_the_first_undo_stays():
    """A file that somebody has put into a directory of a commit is no part of it, whenever that was."""
    with harness.box(harness.SCRATCH) as box:
        sessions, _ = stacked(box)
        box.shell("echo x > d/x")
        undo(sessions[2], {})
        undo(sessions[1], custody(sessions[2:]))
        with pytest.raises(ConflictError):
            undo(sessions[0], custody(sessions[1:]))
        assert Path(f"{box.live}/d/x").read_text() == "x\n"
