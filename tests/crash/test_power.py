"""The power fails during a commit or an undo: after the next mount and recovery the tree is old or new, as a whole.

The file system is shut down at a change (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN): what was not synced is lost, as in a
power cut. That a process is killed cannot show it, since the kernel still has everything then.
"""

import contextlib
import dataclasses
import fcntl
import os
import struct
import subprocess

import pytest
from tests.crash import faults
from tests.crash.faults import Counter, Trial, in_child, points
from tests.root.checkpoint import harness

from cbx_sandbox.checkpoint import transaction
from cbx_sandbox.checkpoint.diff import diff
from cbx_sandbox.checkpoint.undo import undo

pytestmark = [pytest.mark.root, pytest.mark.crash]

_SHUTDOWN = 0x8004587D
# Whether what the file system has logged so far still gets to the disk; what it has not logged never does.
FLAGS = {"log written": 1, "log lost": 2}


class Disk:
    """A file system whose power can be cut."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._new: dict = {}

    def cut(self, flag: int) -> None:
        fd = os.open(self.where, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", flag))
        os.close(fd)

    def again(self) -> None:
        """The next boot: mounted again, with what is on the disk."""
        subprocess.run(["umount", self.where], check=True)
        subprocess.run(["mount", "-o", "loop", f"{os.path.dirname(self.where)}/disk", self.where], check=True)

    @contextlib.contextmanager
    def trial(self):
        """A tree that is on disk, and a job's changes, which nobody has synced."""
        trial = Trial(self.where, on_disk=True)
        try:
            # Device numbers and clocks of an earlier boot prove nothing; the session says that it was one.
            trial.session = trial.box.session = dataclasses.replace(trial.session, boot_id="an earlier one")
            yield trial
        finally:
            trial.close()

    def expected(self):
        """The tree after a commit, how many changes that is, and how many an undo is."""
        if not self._new:
            with self.trial() as trial:
                committing, undoing = Counter(-1, None), Counter(-1, None)
                _, said = in_child(trial.commit, committing)
                self._new["tree"], self._new["commit"] = trial.state(), int(said.split()[0])
                _, said = in_child(lambda: undo(trial.session), undoing)
                self._new["undo"] = int(said.split()[0])
        return self._new["tree"], self._new["commit"], self._new["undo"]


@pytest.fixture(params=["ext4", "xfs"])
def disk(request, own_mounts):
    with harness.image(request.param, faults.MEMORY) as where:
        yield Disk(where)


def looked_at(disk, trial, said) -> str:
    """Boot, recover, look."""
    disk.again()
    status, what = in_child(trial.recover)
    now, (new, *_) = trial.state(), disk.expected()
    if status != 0 or " UnfinishedError" in what:
        return f"not recovered: {what}"
    if now == new:
        return "new"
    if now != trial.old:
        return f"torn: new but for {[path for path in now.keys() | new.keys() if now.get(path) != new.get(path)][:6]}"
    return "lost: it was called committed" if said.endswith("committed") or what.endswith("COMMITTED") else "old"


def commit_cut(disk, at, flag, before=None) -> str:
    """One state: the power fails at the n-th change of a commit, or just after the last."""
    with disk.trial() as trial:

        def stop() -> None:
            disk.cut(flag)
            os._exit(faults.STOPPED)

        def work():
            said = trial.commit()
            disk.cut(flag)
            return said

        status, said = in_child(work, Counter(at, stop), before)
        assert status in {0, faults.STOPPED}
        return looked_at(disk, trial, said)


@pytest.mark.parametrize("flag", FLAGS)
def test_commit(disk, flag):
    """At any change of a commit; and what was called committed has lasted."""
    _, count, _ = disk.expected()
    seen = {at: commit_cut(disk, at, FLAGS[flag]) for at in [*points(count, 7), count + 1]}
    faults.told(seen.values())
    assert {at: found for at, found in seen.items() if found not in {"old", "new"}} == {}
    assert (seen[1], seen[count + 1]) == ("old", "new")


def test_undo(disk):
    """At any change of an undo."""
    _, _, count = disk.expected()
    bad = {}
    for at in points(count, 5):
        with disk.trial() as trial:

            def stop() -> None:
                disk.cut(FLAGS["log lost"])
                os._exit(faults.STOPPED)

            assert in_child(trial.commit)[1] == "0 committed"
            in_child(lambda trial=trial: undo(trial.session), Counter(at, stop))
            found = looked_at(disk, trial, "")
            faults.told([found])
        if found not in {"old", "new"}:
            bad[at] = found
    assert bad == {}


@pytest.mark.parametrize("ahead", [True, False])
def test_large_contents_are_synced_ahead(disk, ahead):
    """What a commit will need is on disk before it has its locks; the control shows that nothing else puts it there."""
    with disk.trial() as trial:
        assert trial.box.inside("head -c 8388608 /dev/urandom > large; head -c 8388608 /dev/urandom > a") == 0
        if ahead:
            transaction.sync_ahead(trial.session, diff(trial.session))
        upper = trial.session.layers[0].upper
        before = [_content(f"{upper}/{name}") for name in ("large", "a")]
        disk.cut(FLAGS["log lost"])
        disk.again()
        assert ([_content(f"{upper}/{name}") for name in ("large", "a")] == before) is ahead


def _content(path):
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        return file.read()
    return None


def test_control_without_a_sync(disk):
    """The harness sees a sync that is missing: a record that is on disk before what it promises."""

    def without():
        transaction.sync_layers = lambda *_: None

    _, count, _ = disk.expected()
    bad = 0
    for at in range(count, 1, -max(1, count // 8)):
        found = commit_cut(disk, at, FLAGS["log written"], without)
        bad += found not in {"old", "new"}
        if bad:
            break
    assert bad
