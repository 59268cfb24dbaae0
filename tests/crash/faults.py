"""A commit that is stopped, or refused by the kernel, at its n-th change; and what is left looked at afterwards."""

import errno
import os

from tests.crash import child
from tests.root.checkpoint import checkpoint, harness

from cbx_sandbox.checkpoint import levels, recover
from cbx_sandbox.checkpoint.undo import redo, undo
from cbx_sandbox.linux import files

# Every way in which cbx changes anything on a disk.
CALLS = [
    *((os, name) for name in (
        "mkdir", "rmdir", "unlink", "rename", "link", "symlink", "mknod", "write", "fsync", "utime", "chmod", "chown",
        "fchown", "ftruncate", "pwrite", "setxattr", "removexattr",
    )),
    *((files, name) for name in ("renameat2", "syncfs", "change_attributes")),
]  # fmt: skip
STOPPED = 86
MEMORY = "/dev/shm"  # for the disks: every sync would wait for whatever else this machine writes
ALL = bool(os.environ.get("CBX_CRASH"))  # make crash: every state, not a sample

LIVE = """
mkdir -p d/sub e keep; echo a > a; echo b > b; echo x > d/x; echo y > d/sub/y; ln -s a link; echo h > h; ln h h2
mkdir in; echo 1 > in/a; head -c 9000 /dev/zero | tr '\\0' o > in/b; echo l > in/h; ln in/h in/h2; echo log > log
echo s > swap1; echo t > swap2; echo z > typ; echo k > keep/k; mkdir gone; echo 1 > gone/1; chmod 600 b
find . -depth -exec touch -h -d 2020-01-01 {} +
"""
JOB = """
echo job > a; rm b; mkdir -p n/m; echo n > n/m/n; rm -r gone; mkdir gone; echo 2 > gone/2; chmod 640 h; mv d/sub moved
echo y2 > moved/y; rm typ; mkdir typ; echo in > typ/in; ln -sfn swap1 link; mv swap1 tmp; mv swap2 swap1; mv tmp swap2
ln swap1 third; touch -d 2021-02-03 keep; echo new > new; ln new new2; setfattr -n user.k -v v keep/k; mkfifo e/fifo
echo 2 >> in/a; head -c 7000 /dev/zero | tr '\\0' n > in/b; chmod 600 in/b; echo m >> in/h; echo more >> log
"""

# Immutable files and directories, which the job has cleared, changed and marked again, or marked; and a capability.
MARKED = (
    """
mkdir d k t m; echo f > fixed; echo l > log; echo a > a; echo p > p; echo i > k/i; cp /bin/true c; setcap cap_kill+p c
echo 1 > m/1; echo w > w
find . -depth -exec touch -h -d 2020-01-01 {} +
chattr +i fixed k m
""",
    """
chattr -i fixed; chmod 600 fixed; chattr +i fixed; chattr -a log; chmod 600 log; chattr +a log; chattr +i a
mv p d/p; chattr +i d/p; mkdir n; echo n > n/n; chattr +i n/n; chattr -i k; rm -r k; chattr +i t
echo 1 >> c; setcap cap_kill+p c; echo 2 >> w; chattr +i w; chattr -i m; mv m m2; echo 2 > m2/2; chattr +i m2
""",
    "c w",
)


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


def stop() -> None:
    os._exit(STOPPED)


def fail(number):
    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


EIO, ENOSPC = fail(errno.EIO), fail(errno.ENOSPC)


def in_child(work, counter=None, before=None) -> tuple[int, str]:
    """Run ``work`` in a process of its own; its exit status, and what it returned or raised, in a word."""

    def body(writing) -> None:
        tell = os.write
        if before is not None:
            before()
        if counter is not None:
            counter.install()
        word = child.word_of(work)
        tell(writing, f"{0 if counter is None else counter.count} {word}".encode())

    return child.ended(*child.forked(body))


def syncfs(path) -> None:
    """Put the file system of ``path`` on disk."""
    fd = os.open(path, os.O_RDONLY)
    files.syncfs(fd)
    os.close(fd)


class Trial:
    """One tree with one job's changes, ready to be committed."""

    def __init__(self, where, who=harness.ROOT, *, on_disk=False, levelled=False, of=(LIVE, JOB, "in")) -> None:
        live, job, in_place = of
        self.levelled = levelled  # the job's lines as those of a transaction, with savepoints between them
        self.box = harness.Box(where, who=who)
        self.box.shell(live)
        if not who.is_root:
            self.box.shell(f"chown -Rh {who.uid}:{who.gid} .; chmod 500 keep")
        else:
            self.box.shell("chattr +a log")  # which nobody else could take back
        if on_disk:
            syncfs(self.box.live)
        self.session = self.box.begin()
        self.began = self.session.clocks[0]
        lines = job.strip().splitlines() if levelled else [job]
        for number, line in enumerate(lines):
            if number:
                levels.save(self.session, number)
            assert self.box.inside(line) == 0
        self.old = self.state()
        self.in_place = [os.fsencode(f"{self.box.live}/{path}") for path in in_place.split()]  # these keep their inodes

    def state(self):
        return harness.manifest(self.box.live, times_since=self.began)

    def commit(self, on_conflict=checkpoint.OnConflict.ABORT):
        if self.levelled:
            levels.join(self.session)
        result = checkpoint.commit(
            self.session, allow_privileged=True, keep=True, on_conflict=on_conflict, in_place=self.in_place
        )
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
