"""One checkpoint from the moment before its job starts: which layers, whose, and when exactly it began.

The conflict clock: T0 is a change time that the target's own file system gave out just before the job started. All that
was changed before has a smaller one, all that is changed later has T0 or more (research/checkpoints.md, part 4).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cbx_sandbox.checkpoint import journal
from cbx_sandbox.checkpoint import layers as layer_store
from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, mountinfo, removal
from cbx_sandbox.linux.credentials import Submitter

_TICK = 0.001
_COARSE_NS = 2_000_000_000  # the coarsest change time in use: FAT counts two seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """The identity of an overlaid directory, so that a later commit finds the same one."""

    device: int
    inode: int
    mount_id: int
    handle: str  # hexadecimal; "" where the file system has no handles


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """All that diff, commit and discard need, also in a later process; ``to_json`` stores it."""

    checkpoint: int
    layers: tuple[LayerSpec, ...]
    roots: tuple[Root, ...]
    clocks: tuple[int, ...]  # T0 of each layer's file system, in nanoseconds
    boot_id: str
    clock_offset_ns: int  # CLOCK_REALTIME - CLOCK_BOOTTIME: changes only when somebody sets the clock
    submitter: Submitter

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "submitter": self.submitter._asdict()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Session:
        """The session that :meth:`to_json` was called on."""
        who = value["submitter"]
        return Session(
            checkpoint=value["checkpoint"],
            layers=tuple(LayerSpec.from_json(layer) for layer in value["layers"]),
            roots=tuple(Root(**root) for root in value["roots"]),
            clocks=tuple(value["clocks"]),
            boot_id=value["boot_id"],
            clock_offset_ns=value["clock_offset_ns"],
            submitter=Submitter(who["uid"], who["gid"], tuple(who["groups"])),
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """The overlaid directories, by index of their layer."""
        return tuple(layer.target for layer in self.layers)


def begin(layers: Sequence[LayerSpec], submitter: Submitter, *, checkpoint: int) -> Session:
    """Start a checkpoint on layers that were just created; call it before the overlays are mounted.

    Costs some 50 µs a file system: no waiting for the clock to settle, see :func:`change_clock`.
    """
    roots = tuple(identify(layer.target) for layer in layers)
    clocks: dict[int, int] = {}
    for layer in layers:
        if layer.lower_device not in clocks:
            clocks[layer.lower_device] = _clock_of(layer)
    return Session(
        checkpoint=checkpoint,
        layers=tuple(layers),
        roots=roots,
        clocks=tuple(clocks[layer.lower_device] for layer in layers),
        boot_id=boot_id(),
        clock_offset_ns=clock_offset(),
        submitter=submitter,
    )


def identify(target: str) -> Root:
    """The identity of the directory at ``target``, which must be reachable without symlinks."""
    fd = open_target(target)
    try:
        return identify_fd(fd)
    finally:
        os.close(fd)


def identify_fd(fd: int) -> Root:
    """The identity of an open directory."""
    status = os.fstat(fd)
    handle = files.file_handle(fd)
    return Root(status.st_dev, status.st_ino, mountinfo.mount_id(fd), (handle or b"").hex())


def open_target(target: str) -> int:
    """An O_PATH descriptor of an overlaid directory; symlinks on the way are refused (ELOOP)."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        relative = target.strip("/") or "."
        resolve = files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS
        return files.openat2(root, relative, os.O_PATH | os.O_DIRECTORY, resolve=resolve)
    finally:
        os.close(root)


def _clock_of(layer: LayerSpec) -> int:
    fd = os.open(layer.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_dev == layer.lower_device:
            return change_clock(fd)
    finally:
        os.close(fd)
    # The layer is elsewhere, the target's file system gives no probe: rather a false conflict than a missed one.
    return time.time_ns() - _COARSE_NS


def change_clock(dir_fd: int) -> int:
    """A change time of the file system of ``dir_fd`` which no change so far has reached and every later one will.

    File systems stamp with a clock that ticks every few milliseconds, so a change just before could share the stamp.
    Therefore the directory, which is our own, is looked at and changed again until its time moves: its mode is set to
    what it is, which needs no space. With multigrain timestamps (Linux 6.13) the look alone makes the next stamp exact,
    and later stamps cannot be smaller: no wait. Before, it waits for the tick.
    """
    os.fchmod(dir_fd, stat.S_IMODE(os.fstat(dir_fd).st_mode))
    before = os.fstat(dir_fd)
    deadline = time.monotonic() + _COARSE_NS / 1e9 + 1
    while time.monotonic() < deadline:
        os.fchmod(dir_fd, stat.S_IMODE(before.st_mode))
        now = os.fstat(dir_fd).st_ctime_ns
        if now > before.st_ctime_ns:
            return now
        time.sleep(_TICK)
    raise CbxError("cannot start a checkpoint: the file system's clock stands still")


def boot_id() -> str:
    """What tells this boot from all others."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def clock_offset() -> int:
    """CLOCK_REALTIME - CLOCK_BOOTTIME in nanoseconds; of several readings the one taken fastest."""
    readings = []
    for _ in range(3):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        readings.append((after - before, now - (before + after) // 2))
    return min(readings)[1]


def is_gone(layer: LayerSpec) -> bool:
    """Whether a layer cannot be found, because the file system that it lies on is not mounted any more.

    Raises OSError: the disk fails. Then nobody knows, and it must not be taken for empty.
    """
    try:
        return not stat.S_ISDIR(os.stat(layer.upper).st_mode)
    except OSError as error:
        if not files.leads_elsewhere(error):
            raise
        return True


def gone(session: Session) -> tuple[str, ...]:
    """The overlaid directories whose changes are out of reach: they went with their file system."""
    return tuple(layer.target for layer in session.layers if is_gone(layer))


def sync(session: Session) -> None:
    """Put the layers on disk: overlays are mounted volatile, so this comes before a checkpoint is called held."""
    synced: set[int] = set()
    for layer in session.layers:
        if is_gone(layer):
            continue
        fd = os.open(layer.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            device = os.fstat(fd).st_dev
            if device not in synced:
                files.syncfs(fd)
                synced.add(device)
        finally:
            os.close(fd)


def directories(session: Session) -> list[str]:
    """The directories that hold the session's layers, one on each file system: its journal is in one of them."""
    return list(dict.fromkeys(os.path.dirname(layer.root) for layer in session.layers))


def discard(session: Session) -> None:
    """Roll back: remove the layers. The live tree was never touched. Twice is no error; needs no free space.

    A journal goes first: without one, nobody will look for what is in the layers.
    """
    for directory in directories(session):
        with contextlib.suppress(NotADirectoryError):
            journal.remove(directory)
    for layer in session.layers:
        layer_store.remove(layer)


def keep_replaced(session: Session) -> None:
    """After a commit: remove the layers, but for the stages, which hold what the commit replaced."""
    for layer in session.layers:
        try:
            stage = os.open(f"{layer.root}/stage", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            layer_store.remove(layer)
            continue
        try:
            root = os.open(layer.root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for name in (b"upper", b"work"):
                    removal.remove_tree(root, name)
            finally:
                os.close(root)
            for entry in os.listdir(stage):
                # Slots, directories of them ("d"), and contents of what was written in place ("k").
                if not entry.removeprefix("d").removeprefix("k").isdecimal():  # of no use without the layer
                    removal.remove_tree(stage, os.fsencode(entry))
        finally:
            os.close(stage)
