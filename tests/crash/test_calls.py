"""A commit, its undo, its redo or a recovery that is killed, or refused by the kernel, at any system call ends whole.

strace chooses among the calls that the kernel was asked in fact, so what Python's calls hide is here too: how a file is
opened, read, listed and closed.
"""

import contextlib

import pytest
from tests.crash import faults, states, tracing
from tests.crash.faults import Counter, Trial, in_child, recovered

from cbx_sandbox.checkpoint import journal, transaction

pytestmark = [pytest.mark.root, pytest.mark.crash]

KINDS = ["ext4", "xfs", "btrfs"]
# How many states of each kind: in a sample, and in a full run.
WANTED = {"killed": (3, 40), "EIO": (4, 30), "ENOSPC": (3, 20)}


class Phase:
    """A trial at the point where ``work`` is what is to be interrupted."""

    def __init__(self, where, phase, new=None) -> None:
        self.trial, self.phase, self.new = Trial(where, levelled=phase == "transaction"), phase, new
        if phase == "recovery":
            in_child(self.trial.commit, Counter(70, faults.stop))
        if phase in {"undo", "redo"}:
            assert in_child(self.trial.commit)[1] == "0 committed"
        if phase == "redo":
            assert in_child(self.trial.undo)[0] == 0
        works = {
            "commit": self.trial.commit,
            "transaction": self.trial.commit,
            "undo": self.trial.undo,
            "redo": self.trial.redo,
        }
        self.work = works.get(phase, self.trial.recover)

    def after(self, said) -> str:
        """Which whole state there is after recovery."""
        return recovered(self.trial, self.new, self.phase, said)


@contextlib.contextmanager
def phase_of(where, phase):
    if where not in NEW:
        NEW[where], _ = faults.expected(where)
    made = Phase(where, phase, NEW[where])
    try:
        yield made
    finally:
        made.trial.close()


NEW: dict = {}
CALLS: dict = {}


def calls_of(where, phase, *, changes):
    if (where, phase) not in CALLS:
        with phase_of(where, phase) as made:
            CALLS[where, phase] = tracing.calls(made.work)
    return [call for call, change in CALLS[where, phase] if change or not changes]


def state(where, phase, fault, call) -> str:
    with phase_of(where, phase) as made:
        if fault == "killed":
            status, said = tracing.killed_at(call, made.work)
        else:
            status, said = tracing.failed_at(call, fault, made.work)
        assert status in {0, tracing.KILLED}, (call, status, said)
        return made.after(said)


@pytest.mark.parametrize("fault", WANTED)
@pytest.mark.parametrize("phase", ["commit", "transaction", "undo", "redo", "recovery"])
@pytest.mark.parametrize("kind", KINDS if faults.ALL else ["ext4"])
def test_at_system_calls(mounted, kind, phase, fault):
    """Killed at each call that changes something; refused as a disk refuses, also what only reads."""
    where = mounted(kind)
    some = calls_of(where, phase, changes=fault != "EIO")
    some = faults.some(some, WANTED[fault][faults.ALL], shift=KINDS.index(kind))
    seen = {str(call): state(where, phase, fault, call) for call in some}
    states.told(seen.values())
    assert {call: found for call, found in seen.items() if found not in {"old", "new"}} == {}


def test_control_a_journal_that_comes_too_late(mounted):
    """The harness sees a commit whose record is written after its steps: killed between them, it is torn for ever."""
    where = mounted("ext4")
    forward, create = transaction.forward, journal.create

    def late():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "create", lambda directory, _: journal.Journal(directory, -1))
            patch.setattr(
                transaction,
                "forward",
                lambda parts, rights: (forward(parts, rights), create(parts[0].staging.layer.root, {}))[0],
            )
            return made.trial.commit()

    with phase_of(where, "commit") as made:
        some = [call for call, change in tracing.calls(late) if change and call[0] == "renameat2"]
    bad = []
    for call in faults.some(some, 4):
        with phase_of(where, "commit") as made:
            tracing.killed_at(call, late)
            bad.append(made.after(""))
    assert any(found.startswith(("torn", "lost")) for found in bad)


@pytest.mark.parametrize("name", ["newfstatat", "llistxattr"])
def test_what_cannot_be_looked_at_is_not_taken_for_gone(mounted, name):
    """Early looks at a layer, and at what lies under it, fail: no change is taken for none, or for done."""
    where = mounted("ext4")
    for number in range(1, 5):
        with phase_of(where, "commit") as made:
            _, said = tracing.failed_at(tracing.Call((name, number)), "EIO", made.trial.commit)
            found = made.after(said)
            states.told([found])
            assert found in {"old", "new"}, (number, said)


@pytest.mark.parametrize("level", ["saved/2", "upper"])
def test_a_level_that_cannot_be_looked_at_is_not_left_out(mounted, level):
    """The levels of a transaction are joined in their order, or not at all: what failed is done again."""
    where = mounted("ext4")
    seen = {}
    for number in range(1, 13):
        with phase_of(where, "transaction") as made:
            call, path = tracing.Call(("newfstatat", number)), f"{made.trial.session.layers[0].root}/{level}"
            _, said = tracing.failed_at(call, "EIO", made.trial.commit, path=path)
            seen[number] = made.after(said)
    states.told(seen.values())
    assert {number: found for number, found in seen.items() if found not in {"old", "new"}} == {}


def test_an_undo_that_cannot_shorten_a_file(mounted):
    """It is refused, and the file is append-only as before."""
    where = mounted("ext4")
    cutting = [call for call in calls_of(where, "undo", changes=True) if call[0] == "ftruncate"]
    seen = {str(call): state(where, "undo", "ENOSPC", call) for call in cutting}
    states.told(seen.values())
    assert seen
    assert {call: found for call, found in seen.items() if found not in {"old", "new"}} == {}
