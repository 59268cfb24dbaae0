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
from tests.crash import faults, states
from tests.crash.faults import Counter, Trial, in_child, points
from tests.root.checkpoint import harness

from cbx_sandbox.checkpoint import syncing
from cbx_sandbox.checkpoint.diff import diff

pytestmark = [pytest.mark.root, pytest.mark.crash]

_SHUTDOWN = 0x8004587D
# Whether what the file system has logged so far still gets to the disk; what it has not logged never does.
FLAGS = {"log written": 1, "log lost": 2}
HALF_WAY = 70  # changes: after the record


class Disk:
    """A file system whose power can be cut."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._new: dict = {}

    def cut(self, flag: int) -> None:
        fd = os.open(self.where, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", flag))
        os.close(fd)

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.where], check=True)

    def error(self) -> None:
        """Have ext4 find an error in itself."""
        number = os.stat(self.where).st_dev
        device = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
        assert device.startswith("loop")  # and not the host's own disk
        with open(f"/sys/fs/ext4/{device}/trigger_fs_error", "w", encoding="ascii") as file:
            file.write("cbx test")

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
        """The tree after a commit, and how many changes there are in each phase."""
        if not self._new:
            with self.trial() as trial:
                counts = {phase: changes(work) for phase, work in list(phases(trial).items())[:3]}
                self._new = {"tree": trial.state(), **counts}
            with self.trial() as trial:
                stopped_half_way(trial)
                self._new["recovery"] = changes(trial.recover)
        return self._new


def phases(trial):
    """What can be interrupted, in an order in which all of it can be done."""
    return {"commit": trial.commit, "undo": trial.undo, "redo": trial.redo, "recovery": trial.recover}


def changes(work) -> int:
    """How many ``work`` makes, which it does."""
    status, said = in_child(work, Counter(-1, None))
    assert (status, "Error" in said) == (0, False), said
    return int(said.split()[0])


def stopped_half_way(trial) -> None:
    """A commit whose process ends among its steps, so that recovery has something to do."""
    assert in_child(trial.commit, Counter(HALF_WAY, faults.stop))[0] == faults.STOPPED


@pytest.fixture(params=["ext4", "xfs"])
def disk(request, own_mounts):
    with harness.image(request.param, faults.MEMORY) as where:
        yield Disk(where)


def looked_at(disk, trial, said) -> str:
    """Boot, recover, look."""
    disk.again()
    status, what = in_child(trial.recover)
    now, new = trial.state(), disk.expected()["tree"]
    if status != 0 or " UnfinishedError" in what:
        return f"not recovered: {what}"
    if now == new:
        return "lost: it was called undone" if what == "0 undone" else "new"
    if now != trial.old:
        return f"torn: new but for {[path for path in now.keys() | new.keys() if now.get(path) != new.get(path)][:6]}"
    return "lost: it was called committed" if said.endswith("committed") or what == "0 committed" else "old"


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
    count = disk.expected()["commit"]
    seen = {at: commit_cut(disk, at, FLAGS[flag]) for at in [*points(count, 7), count + 1]}
    states.told(seen.values())
    assert {at: found for at, found in seen.items() if found not in {"old", "new"}} == {}
    assert (seen[1], seen[count + 1]) == ("old", "new")


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
def test_its_own_error(disk):
    """The file system finds an error in itself and lets nobody write: pending, and whole after the next mount."""
    seen = {}
    for at in points(disk.expected()["commit"], 5):
        with disk.trial() as trial:
            disk.remount("errors=remount-ro")
            status, said = in_child(trial.commit, Counter(at, disk.error))
            assert status == 0
            with pytest.raises(OSError, match="Read-only"):  # and it is no longer written to
                os.mkdir(f"{disk.where}/control")
            seen[at] = looked_at(disk, trial, said)
    states.told(seen.values())
    assert {at: found for at, found in seen.items() if found not in {"old", "new"}} == {}


@pytest.mark.parametrize("flag", FLAGS if faults.ALL else ["log lost"])
@pytest.mark.parametrize("phase", ["undo", "redo", "recovery"])
def test_what_comes_after_a_commit(disk, phase, flag):
    """At any change of its undo, of the redo, and of the recovery of one that was stopped, which is recovered again."""
    seen = {}
    for at in faults.some(range(1, disk.expected()[phase] + 1), 25 if faults.ALL else 4):
        with disk.trial() as trial:

            def stop() -> None:
                disk.cut(FLAGS[flag])
                os._exit(faults.STOPPED)

            if phase == "recovery":
                stopped_half_way(trial)
            else:
                assert in_child(trial.commit)[1] == "0 committed"
            if phase == "redo":
                assert in_child(trial.undo)[1] == "0 undone"
            status, said = in_child(phases(trial)[phase], Counter(at, stop))
            assert status == faults.STOPPED, said
            seen[at] = looked_at(disk, trial, "")
    states.told(seen.values())
    assert {at: found for at, found in seen.items() if found not in {"old", "new"}} == {}


@pytest.mark.parametrize("ahead", [True, False])
def test_large_contents_are_synced_ahead(disk, ahead):
    """What a commit will need is on disk before it has its locks; the control shows that nothing else puts it there."""
    with disk.trial() as trial:
        assert trial.box.inside("head -c 8388608 /dev/urandom > large; head -c 8388608 /dev/urandom > a") == 0
        if ahead:
            syncing.sync_ahead(trial.session, diff(trial.session))
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
        syncing.sync_layers = lambda *_: None
        syncing.Beside._run = lambda _: None

    count = disk.expected()["commit"]
    bad = 0
    for at in range(count, 1, -max(1, count // 8)):
        found = commit_cut(disk, at, FLAGS["log written"], without)
        bad += found not in {"old", "new"}
        if bad:
            break
    assert bad
