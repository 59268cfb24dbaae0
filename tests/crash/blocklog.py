"""What a disk was told to write, in order, and the disks that a power cut could have left of it.

QEMU's storage daemon serves a copy of a disk through FUSE and keeps a log of writes and flushes, in the format of the
kernel's dm-log-writes. A loop device makes a block device of the copy. A disk may lose, or keep, each write that came
after the last flush; what came before that is on it.
"""

import contextlib
import dataclasses
import mmap
import os
import random
import shutil
import struct
import subprocess
import time

_SECTOR = 512
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, bytes of a mark
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4
_PAGE = 4096  # bytes that a disk writes as a whole, or not at all: btrfs relies on it for its superblock
_ROOM = 1 << 20  # bytes behind the file system, for marks

# The smallest disks that each takes.
_SIZES = {"ext4": 64 << 20, "xfs": 300 << 20, "btrfs": 128 << 20}
_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-J", "size=4"],
    "xfs": ["mkfs.xfs", "-q", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-K", "-M"],
}
_CHECK = {
    "ext4": ["e2fsck", "-f", "-n"],
    "xfs": ["xfs_repair", "-n"],
    "btrfs": ["btrfs", "check", "--readonly", "--check-data-csum"],
}


@dataclasses.dataclass(frozen=True)
class Write:
    """One write, a flush if it has no data, or a mark."""

    offset: int
    data: bytes
    flush: bool = False
    mark: str = ""


def make(kind: str, path: str) -> None:
    """An empty file system in a file, with room for marks behind it."""
    with open(path, "wb") as file:
        file.truncate(_SIZES[kind])
    subprocess.run([*_MAKE[kind], path], check=True, stdout=subprocess.DEVNULL)
    os.truncate(path, _SIZES[kind] + _ROOM)


def check(kind: str, path: str) -> str:
    """What the file system's own checker has to say against it; nothing if it is clean."""
    done = subprocess.run([*_CHECK[kind], path], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


class Recorder:
    """A mounted file system all of whose writes are recorded. Use it as a context manager."""

    def __init__(self, kind: str, base: str, mount_point: str) -> None:
        self.kind, self.base, self.mount_point = kind, base, mount_point
        self.first = f"{base}/first"  # the disk before all writes
        self.log = f"{base}/log"
        self._closing = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            make(self.kind, self.first)
            self._serve(stack)
            device = subprocess.run(
                ["losetup", "--find", "--show", "--sizelimit", str(_SIZES[self.kind]), f"{self.base}/served"],
                check=True, capture_output=True, text=True,
            ).stdout.strip()  # fmt: skip
            stack.callback(subprocess.run, ["losetup", "-d", device], check=True)
            subprocess.run(["mount", device, self.mount_point], check=True)
            stack.callback(subprocess.run, ["umount", self.mount_point], check=True)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _serve(self, stack) -> None:
        for name in ("log", "served"):
            with open(f"{self.base}/{name}", "wb"):
                pass
        subprocess.run(["cp", "--sparse=always", self.first, f"{self.base}/disk"], check=True)
        daemon = stack.enter_context(
            subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=TERM", "qemu-storage-daemon"),
                    *("--blockdev", f"file,node-name=disk,filename={self.base}/disk"),
                    *("--blockdev", f"file,node-name=log,filename={self.log}"),
                    *("--blockdev", "blklogwrites,node-name=recorded,file=disk,log=log"),
                    *("--export", f"fuse,id=served,node-name=recorded,writable=on,mountpoint={self.base}/served"),
                ],
                stdin=subprocess.DEVNULL,
            )
        )
        stack.callback(daemon.terminate)
        end = time.monotonic() + 60
        while os.path.getsize(f"{self.base}/served") == 0:
            assert daemon.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)

    def mark(self, text: str) -> None:
        """Put a mark into the log, after all that has come to the disk so far."""
        page = mmap.mmap(-1, _PAGE)
        page.write(text.encode())
        fd = os.open(f"{self.base}/served", os.O_RDWR | os.O_DIRECT)
        try:
            os.pwrite(fd, page, _SIZES[self.kind])
        finally:
            os.close(fd)

    def writes(self) -> list[Write]:
        """What was recorded so far."""
        return read(self.log, _SIZES[self.kind])


def read(path: str, end: int) -> list[Write]:
    """The writes of a log; one that is cut off ends it. What is written at ``end`` is a mark."""
    found = []
    with open(path, "rb") as log:
        magic, _, _, sector = _SUPER.unpack(log.read(_SUPER.size))
        assert (magic, sector) == (_MAGIC, _SECTOR)
        log.seek(sector)
        while len(raw := log.read(sector)) == sector:
            at, count, flags, _ = _ENTRY.unpack_from(raw)
            if (at, count, flags) == (0, 0, 0):
                break
            length = 0 if flags & _DISCARD else count * sector
            data = log.read(length)
            if len(data) < length:
                break
            if flags & _FLUSH:
                found.append(Write(0, b"", flush=True))
            if at * sector >= end:
                found.append(Write(0, b"", mark=data.rstrip(b"\0").decode()))
            elif data:
                found.append(Write(at * sector, data))
            if flags & _FUA:
                found.append(Write(0, b"", flush=True))
    return found


@dataclasses.dataclass(frozen=True)
class Cut:
    """A power cut after so many of the writes; of those since the last flush, ``lost`` never came to the disk."""

    after: int
    lost: frozenset[int] = frozenset()
    torn: bool = False  # of the last one, only the first half came to the disk

    def __str__(self) -> str:
        lost = f" without {sorted(self.lost)}" if self.lost else ""
        return f"{self.after}{lost}{', torn' if self.torn else ''}"


def cuts(writes, *, seed: int, first: int = 0, subsets: int = 1) -> list[Cut]:
    """Every prefix of the writes from ``first`` on; and with each, some of the ways to lose what was not flushed."""
    chance = random.Random(seed)  # the same states each time
    found, since = [], []
    for index, write in enumerate(writes):
        if write.flush:
            since = []
            continue
        if write.data:
            since.append(index)
        if index < first:
            continue
        found.append(Cut(index + 1))
        if since:
            found.append(Cut(index + 1, frozenset(since)))
        if len(since) > 1:
            lost = [{one for one in since if chance.random() < 0.5} for _ in range(subsets)]
            found += [Cut(index + 1, frozenset(ones)) for ones in (*lost, {chance.choice(since[:-1])})]
        if len(write.data) > _PAGE:
            found.append(Cut(index + 1, torn=True))
    return list(dict.fromkeys(found))


class Disks:
    """Makes the disks that cuts leave; asked in their order, each costs little."""

    def __init__(self, first: str, base: str, writes) -> None:
        self._writes = writes
        self._flushed = f"{base}/flushed"  # what is on the disk for certain
        self._done = 0
        subprocess.run(["cp", "--sparse=always", first, self._flushed], check=True)

    def make(self, cut: Cut, path: str) -> None:
        """The disk as the cut leaves it, as a new file."""
        since = max((n for n in range(cut.after) if self._writes[n].flush), default=0)
        assert self._done <= since, "cuts in their order"
        with open(self._flushed, "r+b", buffering=0) as disk:
            for write in self._writes[self._done : since]:
                _apply(disk, write)
        self._done = since
        shutil.copyfile(self._flushed, path)
        with open(path, "r+b", buffering=0) as disk:
            for index in range(since, cut.after):
                if index not in cut.lost:
                    _apply(disk, self._writes[index], half=cut.torn and index == cut.after - 1)


def _apply(disk, write: Write, *, half: bool = False) -> None:
    data = write.data[: len(write.data) // 2 // _PAGE * _PAGE] if half else write.data
    if data:
        disk.seek(write.offset)
        disk.write(data)


@contextlib.contextmanager
def mounted(path: str, mount_point: str):
    """The disk at ``path``, mounted as at the next boot."""
    subprocess.run(["mount", "-o", "loop", path, mount_point], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", mount_point], check=True)
