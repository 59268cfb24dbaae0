"""A commit that is stopped, or refused by the kernel, at its n-th change; and what is left looked at afterwards."""

import errno
import os
import traceback

from tests.root.checkpoint import checkpoint, harness

from cbx_sandbox.checkpoint import levels, recover
from cbx_sandbox.checkpoint.undo import redo, undo
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files

# Every way in which cbx changes anything on a disk.
CALLS = [
    *((os, name) for name in (
        "mkdir", "rmdir", "unlink", "rename", "link", "symlink", "mknod", "write", "fsync", "utime", "chmod", "chown",
        "fchown", "ftruncate", "setxattr", "removexattr",
    )),
    *((files, name) for name in ("renameat2", "syncfs", "change_attributes")),
]  # fmt: skip
STOPPED = 86
MEMORY = "/dev/shm"  # for the disks: every sync would wait for whatever else this machine writes
ALL = bool(os.environ.get("CBX_CRASH"))  # make crash: every state, not a sample
STATES: list[str] = []  # what became of each, for the count at the end

LIVE = """
mkdir -p d/sub e keep; echo a > a; echo b > b; echo x > d/x; echo y > d/sub/y; ln -s a link; echo h > h; ln h h2
echo s > swap1; echo t > swap2; echo z > typ; echo k > keep/k; mkdir gone; echo 1 > gone/1; chmod 600 b
find . -depth -exec touch -h -d 2020-01-01 {} +
"""
JOB = """
echo job > a; rm b; mkdir -p n/m; echo n > n/m/n; rm -r gone; mkdir gone; echo 2 > gone/2; chmod 640 h; mv d/sub moved
echo y2 > moved/y; rm typ; mkdir typ; echo in > typ/in; ln -sfn swap1 link; mv swap1 tmp; mv swap2 swap1; mv tmp swap2
ln swap1 third; touch -d 2021-02-03 keep; echo new > new; ln new new2; setfattr -n user.k -v v keep/k; mkfifo e/fifo
"""


class Counter:
    """Counts changes; at the one that was asked for, ``act`` is called instead of the system."""

    def __init__(self, at, act, only=None) -> None:
        self.at, self.act, self.count = at, act, 0
        self.only = only

    def install(self) -> None:
        for module, name in CALLS:
            setattr(module, name, self._counting(name, getattr(module, name)))

    def _counting(self, name, real):
        def call(*arguments, **options):
            if self.only is not None and name not in self.only:
                return real(*arguments, **options)
            self.count += 1
            if self.count == self.at:
                self.act()
            return real(*arguments, **options)

        return call


def some(items, wanted, *, shift=0):
    """So many of the items, evenly; of another ``shift`` others."""
    step = max(1, len(items) // wanted)
    return items[shift % step :: step]


def points(count, wanted):
    """All changes from the first to the last, or so many of them, evenly."""
    step = 1 if ALL else max(1, count // wanted)
    return range(1, count + 1, step)


def told(found) -> None:
    """Count states."""
    STATES.extend(found)


def stop() -> None:
    os._exit(STOPPED)


def fail(number):
    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


EIO, ENOSPC = fail(errno.EIO), fail(errno.ENOSPC)


def in_child(work, counter=None, before=None) -> tuple[int, str]:
    """Run ``work`` in a process of its own; its exit status, and what it returned or raised, in a word."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.close(reading)
            tell = os.write
            if before is not None:
                before()
            if counter is not None:
                counter.install()
            try:
                word = work()
            except (CbxError, OSError) as error:
                word = f"{type(error).__name__}: {error}"
            tell(writing, f"{0 if counter is None else counter.count} {word}".encode())
            status = 0
        except BaseException:  # noqa: BLE001  # nothing may come back into the tests from here
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        text = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def syncfs(path) -> None:
    """Put the file system of ``path`` on disk."""
    fd = os.open(path, os.O_RDONLY)
    files.syncfs(fd)
    os.close(fd)


class Trial:
    """One tree with one job's changes, ready to be committed."""

    def __init__(self, where, who=harness.ROOT, *, on_disk=False, levelled=False) -> None:
        self.levelled = levelled  # the job's lines as those of a transaction, with savepoints between them
        self.box = harness.Box(where, who=who)
        self.box.shell(LIVE)
        if not who.is_root:
            self.box.shell(f"chown -Rh {who.uid}:{who.gid} .; chmod 500 keep")
        if on_disk:
            syncfs(self.box.live)
        self.session = self.box.begin()
        self.began = self.session.clocks[0]
        lines = JOB.strip().splitlines() if levelled else [JOB]
        for number, line in enumerate(lines):
            if number:
                levels.save(self.session, number)
            assert self.box.inside(line) == 0
        self.old = self.state()

    def state(self):
        return harness.manifest(self.box.live, times_since=self.began)

    def commit(self, on_conflict=checkpoint.OnConflict.ABORT):
        if self.levelled:
            levels.join(self.session)
        result = checkpoint.commit(self.session, allow_privileged=True, keep=True, on_conflict=on_conflict)
        return result.state.value

    def undo(self):
        undo(self.session)
        return "undone"

    def redo(self):
        redo(self.session)
        return "done again"

    def recover(self):
        return recover.recover(self.session, keep=True).value

    def close(self) -> None:
        self.box.close()


def expected(where, who=harness.ROOT):
    """The tree after a commit that nothing interrupts, and how many changes that takes."""
    trial = Trial(where, who)
    try:
        counter = Counter(-1, None)
        status, said = in_child(trial.commit, counter)
        assert (status, said.split()[1]) == (0, "committed"), said
        return trial.state(), int(said.split()[0])
    finally:
        trial.close()


def verdict(trial, new, said) -> str:
    """Which whole state the tree is in after recovery; that the other one is not lost; else what is wrong."""
    now = trial.state()
    if now == new:
        return "new"
    if now != trial.old:
        differing = [path for path in now.keys() | new.keys() if now.get(path) != new.get(path)]
        also = [path for path in now.keys() | trial.old.keys() if now.get(path) != trial.old.get(path)]
        return f"torn: new but for {sorted(differing)[:6]}, old but for {sorted(also)[:6]}"
    if said == "committed":
        return "lost: it was called committed"
    # What was moved out and back has a new change time, so the job's version is asked for.
    status, again = in_child(lambda: trial.commit(checkpoint.OnConflict.OURS))
    if (status, again) != (0, "0 committed") or trial.state() != new:
        return f"lost: the changes cannot be committed any more: {again}"
    return "old"


def verdict_on_undo(trial, new, said) -> str:
    """The same for an undo or a redo: one can still go to the other state."""
    now = trial.state()
    if now not in (trial.old, new):
        return f"torn: {[path for path in now.keys() | new.keys() if now.get(path) != new.get(path)][:6]}"
    found = "new" if now == new else "old"
    if (said, found) in {("undone", "new"), ("done again", "old")}:
        return f"lost: it was called {said}"
    other, wanted = (trial.undo, trial.old) if found == "new" else (trial.redo, new)
    status, what = in_child(other)
    return found if status == 0 and trial.state() == wanted else f"lost: there is no way back: {what}"


def recovered(trial, new, phase, said) -> str:
    """Recover, as the next supervisor does; then the verdict for what was interrupted in ``phase``."""
    status, what = in_child(trial.recover)
    if status != 0 or "UnfinishedError" in what:
        return f"not recovered: {what}"
    return (verdict_on_undo if phase in {"undo", "redo"} else verdict)(trial, new, said)
