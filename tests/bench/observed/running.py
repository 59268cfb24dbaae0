"""One command in a tree, over an overlay and in a mount namespace of its own: what the layer holds is what it did.

Everything else is read-only, without a network and without the host's processes. TMPDIR is private and not looked at,
as in a box; /tmp is empty and looked at.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.bench.observed.tracing import Trace, read_trace
from tests.bench.observed.world import World

TIMEOUT = 60  # seconds; an end by it is an error of the row, not a result
MAX_OUTPUT = 1 << 20  # bytes that are kept of what a command prints
_OVERLAY = 'mount -t overlay overlay -o "$1" "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True, slots=True)
class Observed:
    """What one run did: paths, absolute. ``deleted`` means all that was beneath as well.

    ``unchanged`` were there, were opened for writing, and are as they were.
    """

    status: int
    output: bytes = b""  # what it printed, errors and all
    created: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    trace: Trace = field(default_factory=Trace)
    unchanged: frozenset[str] = frozenset()

    @property
    def writes(self) -> frozenset[str]:
        """Every path that is not as it was."""
        return self.created | self.changed | self.deleted


def run(world: World, command: str, *, traced: bool = False, confined: bool = False) -> Observed:
    """Run a command; ``traced`` says what it read as well, ``confined`` is with all of the tree read-only."""
    aside = tempfile.mkdtemp(prefix="layer-", dir=os.path.dirname(world.root))
    try:
        for name in ("upper", "work", "tmp"):
            os.mkdir(f"{aside}/{name}")
        status = _run(world, command, aside, traced=traced, confined=confined)
        created, changed, deleted = _changes(f"{aside}/upper", world.root)
        for directory, names, files in os.walk(f"{aside}/tmp"):
            place = directory.removeprefix(aside)
            created |= {f"{place}/{name}" for name in (*names, *files)}
        trace = read_trace(f"{aside}/trace", world.cwd, world.root) if traced else Trace()
        with open(f"{aside}/output", "rb") as output:
            printed = output.read(MAX_OUTPUT)
        # Asked now: the tree is gone when pairs are held against each other.
        unchanged = frozenset(path for path in trace.written - created - changed - deleted if os.path.lexists(path))
        return Observed(status, printed, frozenset(created), frozenset(changed), frozenset(deleted), trace, unchanged)
    finally:
        shutil.rmtree(aside)


def _run(world: World, command: str, aside: str, *, traced: bool, confined: bool) -> int:
    layers = (
        f"lowerdir={world.root},upperdir={aside}/upper,workdir={aside}/work,redirect_dir=off,index=off,metacopy=off"
    )
    bind = "--ro-bind" if confined else "--bind"
    box = ["bwrap", "--ro-bind", "/", "/", bind, world.root, world.root, bind, f"{aside}/tmp", "/tmp"]
    box += ["--tmpfs", "/run", "--dir", "/run/tmp", "--proc", "/proc", "--dev", "/dev", "--chdir", world.cwd]
    box += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"]
    tracer: list[str] = []
    if traced:
        box += ["--bind", aside, "/run/trace"]
        tracer = ["strace", "-f", "-qq", "-y", "-s", "4096", "-o", "/run/trace/trace"]
        tracer += ["-e", "trace=%file,getdents64,fchdir,clone,clone3,fork,vfork", "-e", "signal=none"]
    argv = ["unshare", "-m", "sh", "-c", _OVERLAY, "sh", layers, world.root, *box, *tracer, "bash", "-c", command]
    with open(f"{aside}/output", "wb") as output:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=world.env, timeout=TIMEOUT, check=False
        ).returncode


def _changes(upper: str, root: str) -> tuple[set[str], set[str], set[str]]:
    """Read a layer: what is new, what is not as it was, and what is gone."""
    created: set[str] = set()
    changed: set[str] = set()
    deleted: set[str] = set()
    for path, mode in _entries(upper, ""):
        live = root + path
        was = _lstat(live)
        if stat.S_ISCHR(mode) and os.lstat(upper + path).st_rdev == 0:
            deleted.add(live)
        elif was is None:
            created.add(live)
        elif not stat.S_ISDIR(mode) or not stat.S_ISDIR(was.st_mode):
            if _differs(was, os.lstat(upper + path)) or _content(live) != _content(upper + path):
                changed.add(live)
        elif _opaque(upper + path):
            deleted.add(live)
            created.add(live)
        elif _differs(was, os.lstat(upper + path)):
            changed.add(live)
    return created, changed, deleted


def _entries(upper: str, path: str) -> Iterator[tuple[str, int]]:
    """Walk a layer: each path and its mode."""
    for entry in os.scandir(upper + path):
        inner = f"{path}/{entry.name}"
        mode = entry.stat(follow_symlinks=False).st_mode
        yield inner, mode
        if stat.S_ISDIR(mode):
            yield from _entries(upper, inner)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _opaque(path: str) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path, follow_symlinks=False)


def _differs(was: os.stat_result, now: os.stat_result) -> bool:
    """Whether an object itself changed. A directory's time does not count: short-lived entries move it, too."""
    if (was.st_mode, was.st_uid, was.st_gid) != (now.st_mode, now.st_uid, now.st_gid):
        return True
    return not stat.S_ISDIR(was.st_mode) and (was.st_size, was.st_mtime_ns) != (now.st_size, now.st_mtime_ns)


def _content(path: str) -> object:
    """Return what a file holds or where a link leads, and its attributes: it may have been copied up unchanged."""
    names = [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("trusted.overlay.")]
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    if os.path.islink(path):
        return os.readlink(path), attributes
    if not os.path.isfile(path):
        return None, attributes
    with open(path, "rb") as file:
        return file.read(), attributes
