"""A commit that stops at any of its changes ends in the whole old or the whole new tree, and loses neither."""

import contextlib
import os

import pytest
from tests.crash import faults, states
from tests.crash.faults import Counter, Trial, in_child, points, verdict
from tests.root.checkpoint import harness

from cbx_sandbox.checkpoint import journal

pytestmark = [pytest.mark.root, pytest.mark.crash]


@contextlib.contextmanager
def trial_on(where, who):
    trial = Trial(where, who)
    try:
        yield trial
    finally:
        trial.close()


def run(where, who, at, act, before=None):
    """One state: commit with the fault, then recovery, then a look."""
    with trial_on(where, who) as trial:
        status, said = in_child(trial.commit, Counter(at, act), before)
        assert status in {0, faults.STOPPED}
        again, what = in_child(trial.recover)
        assert again == 0
        return verdict(trial, NEW[where, who], said.partition(" ")[2]), what


NEW: dict = {}


def counted(where, who):
    if (where, who) not in COUNT:
        NEW[where, who], COUNT[where, who] = faults.expected(where, who)
    return COUNT[where, who]


COUNT: dict = {}
FAULTS = {"stop": faults.stop, "EIO": faults.EIO, "ENOSPC": faults.ENOSPC}


@pytest.mark.parametrize("who", [harness.ROOT, harness.USER], ids=["root", "user"])
@pytest.mark.parametrize("fault", FAULTS)
def test_at_every_change(mounted, fault, who):
    """Stopped, and refused with the two errors that disks give."""
    where = mounted("ext4")
    seen = {at: run(where, who, at, FAULTS[fault]) for at in points(counted(where, who), 20)}
    states.told(found[0] for found in seen.values())
    assert {at: found for at, found in seen.items() if found[0] not in {"old", "new"}} == {}
    if fault == "stop":
        assert {found[0] for found in seen.values()} == {"old", "new"}


@pytest.mark.parametrize("fault", FAULTS if faults.ALL else ["stop"])
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_on_other_file_systems(mounted, kind, fault):
    """The same, where change times and directories behave otherwise."""
    where = mounted(kind)
    every = range(1, counted(where, harness.ROOT) + 1)
    some = faults.some(every, 50 if faults.ALL else 20)
    seen = {at: run(where, harness.ROOT, at, FAULTS[fault]) for at in some}
    states.told(found[0] for found in seen.values())
    assert {at: found for at, found in seen.items() if found[0] not in {"old", "new"}} == {}


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"] if faults.ALL else ["ext4"])
def test_recovery_is_stopped_too(mounted, kind):
    """Recovery that is itself stopped at any change is done again, and ends whole."""
    where, who = mounted(kind), harness.ROOT
    every = range(1, counted(where, who) + 1)
    seen = {}
    for number, first in enumerate(faults.some(every, 25 if faults.ALL else 6)):
        for second in faults.some(every, 8, shift=number):
            with trial_on(where, who) as trial:
                in_child(trial.commit, Counter(first, faults.stop))
                stopped, _ = in_child(trial.recover, Counter(second, faults.stop))
                status, what = in_child(trial.recover)
                found = verdict(trial, NEW[where, who], "")
                seen[first, second] = found if status == 0 else f"not recovered: {what}"
            if stopped != faults.STOPPED:
                break  # it does no more than so many
    states.told(seen.values())
    assert {at: found for at, found in seen.items() if found not in {"old", "new"}} == {}


def test_control_without_a_journal(mounted):
    """The harness sees what a commit without a record does: it ends torn when it is stopped half way."""

    def without():
        journal.create = lambda directory, _: journal.Journal(directory, os.open("/dev/null", os.O_RDWR))

    where, who = mounted("ext4"), harness.ROOT
    count = counted(where, who)
    seen = [run(where, who, at, faults.stop, without)[0] for at in range(count // 3, count, max(1, count // 12))]
    assert any(found.startswith(("torn", "lost")) for found in seen)
