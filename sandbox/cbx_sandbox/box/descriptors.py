"""What of the descriptors that came with an order reaches the job: trees of directories, and files opened anew."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import stat

from cbx_sandbox.box import operations, payload
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.box.stage import device
from cbx_sandbox.linux import mounts

DIRECTORIES = ("lock:", "show:")  # passed as descriptors, handed on as detached mounts


def prepared(spec: BoxSpec, received: dict[str, int]) -> dict[str, int]:
    """What only a process in the host's mount namespace can make: trees of locked directories, descriptors."""
    written = {f"lock:{value['path']}" for value in spec["operations"] if value["op"] == "DirectWrite"}
    own = {}
    for name, fd in received.items():
        if name in payload.STANDARD:
            _refuse_ways_out(name, fd)
        if name.startswith(DIRECTORIES):
            own[name] = mounts.open_tree("", dir_fd=fd, recursive=name in written or name.startswith("show:"))
        elif name in payload.STANDARD and (again := _reopened(fd, reads=name == "stdin")) is not None:
            own[name] = again
    for value in spec["operations"]:
        if value["op"] == "Overlay":
            own[f"layer:{value['layer']}"] = mounts.open_tree(value["layer"])
    return own


def _refuse_ways_out(name: str, fd: int) -> None:
    """No directory (fchdir leads out of the box), disk or socket (more descriptors could come in) on 0-2."""
    mode = os.fstat(fd).st_mode
    for kind, found in (("directory", stat.S_ISDIR), ("block device", stat.S_ISBLK), ("socket", stat.S_ISSOCK)):
        if found(mode):
            raise OSError(errno.EINVAL, f"{name} is a {kind}, which no job is given")


def _reopened(fd: int, *, reads: bool) -> int | None:
    """The file or device ``fd`` through a read-only clone of its mount; None for pipes, and for a detached job's log.

    Through the caller's own mount the owner of a file could change its mode or times by any descriptor, and open it
    anew for writing by /proc/self/fd. Devices can be written through read-only mounts.
    """
    status = os.fstat(fd)
    access = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND)
    if stat.S_ISREG(status.st_mode):
        return _reopen_file(fd, status) if reads or access == os.O_RDONLY else None
    if not stat.S_ISCHR(status.st_mode):
        return None
    name = operations.HARMLESS_DEVICES.get(status.st_rdev)
    try:
        tree = _device_tree(name) if name is not None else _read_only_clone(fd)
        try:
            again = os.open(f"/proc/self/fd/{tree}", access | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        finally:
            if name is None:
                os.close(tree)
    except OSError:
        # A terminal of another mount namespace, or one that only its session can open (/dev/tty).
        return None
    if os.fstat(again).st_rdev != status.st_rdev or stat.S_IFMT(os.fstat(again).st_mode) != stat.S_IFCHR:
        os.close(again)
        return None
    os.set_blocking(again, True)
    return again


def _reopen_file(fd: int, status: os.stat_result) -> int:
    position = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        tree = _read_only_clone(fd)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.EINVAL}:
            raise
        if status.st_nlink:
            raise OSError(
                "a file on its stdin, stdout or stderr lies in another mount namespace: pass it through a pipe"
            ) from error
        # An unlinked file (a here-document) has no place to be mounted: nobody else can reach it either.
        tree = os.dup(fd)
    try:
        again = os.open(f"/proc/self/fd/{tree}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(tree)
    os.lseek(again, position, os.SEEK_SET)
    return again


def _read_only_clone(fd: int) -> int:
    tree = mounts.open_tree("", dir_fd=fd)
    mounts.mount_setattr(tree, set_=mounts.ATTR_RDONLY | mounts.ATTR_NOSUID)
    return tree


@functools.cache
def _device_tree(name: str) -> int:
    """Kept open: making and dropping a mount for each job costs more than all the rest of this."""
    return device(name, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC | mounts.ATTR_RDONLY)
