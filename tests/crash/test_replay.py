"""The power fails between any two writes of a commit, an undo or a redo, and the disk loses what was not flushed.

Once each is done while the writes are recorded; then each disk that a power cut could have left is made from the record
and mounted. Unlike a shutdown of the file system this also loses, or keeps, single writes, and it works on btrfs.
"""

import bisect
import contextlib
import dataclasses
import os
import tempfile

import pytest
from tests.crash import blocklog, faults, states
from tests.crash.faults import Counter, Trial, in_child, recovered
from tests.root.checkpoint import checkpoint

from cbx_sandbox.checkpoint import syncing

pytestmark = [pytest.mark.root, pytest.mark.crash]

KINDS = ["ext4", "xfs", "btrfs"]
WANTED = (8, 100)  # states of each file system: in a sample, and in a full run
PHASES = {
    "held": "commit", "committed": "undo", "undone": "redo", "done again": "over",
    "stopped": "commit", "recovered": "over",
}  # fmt: skip
# What a mark stands for when nothing was written after it.
SAID = {
    "committed": ("commit", "committed"), "undone": ("undo", "undone"), "done again": ("redo", "done again"),
    "recovered": ("commit", "committed"),
}  # fmt: skip
# What must be there once it was said.
AT = {"held": "old", "committed": "new", "undone": "old", "done again": "new", "recovered": "new"}
HALF_WAY = 70  # changes: after the record


@dataclasses.dataclass
class Recording:
    kind: str
    base: str
    mount_point: str
    trial: Trial
    new: dict
    writes: list

    def __post_init__(self) -> None:
        self.marks = [(index, write.mark) for index, write in enumerate(self.writes) if write.mark]

    def last(self, cut) -> tuple[str, bool]:
        """The last mark before a cut; whether nothing came after it."""
        index, mark = self.marks[bisect.bisect_left(self.marks, (cut.after, "")) - 1]
        return mark, index == cut.after - 1

    def cuts(self):
        return blocklog.cuts(self.writes, seed=5, first=self.marks[0][0], subsets=6 if faults.ALL else 1)


def back_and_forth(trial, mark):
    """A commit, its undo and its redo; the tree after the commit."""
    assert trial.commit() == "committed"
    mark("committed")
    new = trial.state()
    trial.undo()
    mark("undone")
    trial.redo()
    mark("done again")
    return new


def stopped_and_recovered(trial, mark):
    """A commit whose process ends among its steps, and the recovery that ends it; the tree after that."""
    assert in_child(trial.commit, Counter(HALF_WAY, faults.stop))[0] == faults.STOPPED
    mark("stopped")
    assert in_child(trial.recover) == (0, "0 committed")
    mark("recovered")
    return trial.state()


@contextlib.contextmanager
def recording(kind, work=back_and_forth, *, synced=True):
    """All that the disk was told while ``work`` was done. Unless ``synced``, after a job that just ended."""
    with tempfile.TemporaryDirectory(prefix="cbx-replay-", dir=faults.MEMORY) as base:
        mount_point = f"{base}/m"
        os.mkdir(mount_point)
        with blocklog.Recorder(kind, base, mount_point) as recorder:
            trial = Trial(mount_point, on_disk=True)
            if synced:
                checkpoint.sync(trial.session)
            recorder.mark("held")
            new = work(trial, recorder.mark)
            writes = recorder.writes()
        # Device numbers and clocks of an earlier boot prove nothing; the session says that it was one.
        trial.session = dataclasses.replace(trial.session, boot_id="an earlier one")
        yield Recording(kind, base, mount_point, trial, new, writes)


def looked_at(made, disks, cut) -> str:
    """One state: the disk as the cut left it; boot, recover, look, and ask the file system's own checker."""
    path = f"{made.base}/state"
    disks.make(cut, path)
    mark, exactly = made.last(cut)
    with blocklog.mounted(path, made.mount_point):
        phase, said = SAID.get(mark, (PHASES[mark], "")) if exactly else (PHASES[mark], "")
        found = recovered(made.trial, made.new, phase, said)
    if exactly and found in {"old", "new"} and found != AT.get(mark, found):
        return f"lost: {found} after {mark}"
    return found if not (dirty := blocklog.check(made.kind, path)) else f"{found}, but the file system is not: {dirty}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("work", [back_and_forth, stopped_and_recovered])
def test_every_prefix_and_some_subsets(own_mounts, kind, work):
    """Whole old or whole new, and what was called done is done; the file system is clean for its own checker."""
    with recording(kind, work) as made:
        disks = blocklog.Disks(f"{made.base}/first", made.base, made.writes)
        every = made.cuts()
        some = faults.some(every, WANTED[faults.ALL])
        at_marks = [cut for cut in every if made.last(cut)[1] and not cut.torn][:: 1 if faults.ALL else 3]
        some = sorted({*some, *at_marks}, key=lambda cut: (cut.after, sorted(cut.lost), cut.torn))
        seen = {str(cut): looked_at(made, disks, cut) for cut in some}
    states.told(seen.values())
    assert {cut: found for cut, found in seen.items() if found not in {"old", "new"}} == {}
    assert set(seen.values()) == {"old", "new"}


@pytest.mark.parametrize("synced", [True, False])
def test_control_without_a_sync(own_mounts, synced):
    """The harness sees a commit whose record is on the disk before what it promises; with its syncs it is whole.

    The job's changes themselves may be lost here: nobody has been told that they are kept.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not synced:
            patch.setattr(syncing, "sync_layers", lambda *_: None)
            patch.setattr(syncing.Beside, "_run", lambda _: None)
        # A host that stands still for half a minute syncs by itself what the commit does not: once more, then.
        for _ in range(1 if synced else 3):
            with recording("ext4", synced=False) as made:
                disks = blocklog.Disks(f"{made.base}/first", made.base, made.writes)
                before_end = [cut for cut in made.cuts() if made.last(cut)[0] == "held"]
                seen = [looked_at(made, disks, cut) for cut in faults.some(before_end, 12)]
            broken = [found for found in seen if found.startswith(("torn", "not recovered"))]
            if broken:
                break
    assert bool(broken) is not synced
