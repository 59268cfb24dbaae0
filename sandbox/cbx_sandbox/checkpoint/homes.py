"""The directory for layers at the root of a file system: made when it is first needed, claimed before it is used.

A job that holds the exclusive lock on the root of a mount writes there directly. If the directory for layers appears
while it runs, nothing hides it from that job, which could forge the changes of others or take the name first. So it is
made in two steps: :func:`fresh` makes it, and :func:`claim` marks it once its caller knows that every running job
which can reach it has it hidden. Only a marked one is used, and no job can set the mark: it takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from cbx_sandbox.linux import files, mountinfo, xattr
from cbx_sandbox.linux.mountinfo import Mount

OWN_DIRECTORY = ".cbx"  # at the root of other file systems; hidden from jobs by the box
MARK = b"trusted.cbx.home"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnclaimedError(Exception):
    """Directories for layers were made and must be claimed before they can be used."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        super().__init__("there are directories for layers to be claimed")
        self.mounts = tuple(mounts)


def path_of(mount: Mount) -> str:
    """Where the directory for layers of a mount is, if there is one."""
    return os.path.join(mount.target, OWN_DIRECTORY)


def there(mount: Mount) -> bool:
    """Whether there is one, claimed or not. What a user put in its place is no business of ours."""
    if mount.remote:
        return False
    try:
        status = os.stat(path_of(mount), follow_symlinks=False)
        return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and _keeps_names(mount.target)
    except OSError:
        return False


def fresh(targets: Sequence[str], state_dir: str, mounts: Sequence[Mount]) -> list[Mount]:
    """Make the directories that layers of ``targets`` want; return the mounts whose directory can be claimed now."""
    table = list(mounts)
    home = mountinfo.holding(table, os.path.realpath(state_dir))
    wanted = {(mount := mountinfo.holding(table, target)).mount_id: mount for target in targets}
    wanted.pop(home.mount_id, None)
    return [mount for mount in wanted.values() if claimed(mount, state_dir) is None and _made(mount)]


def claim(mount: Mount, state_dir: str) -> None:
    """Mark the directory as this supervisor's. Call it when no running job can reach it; it must be empty."""
    with contextlib.suppress(OSError), _opened(mount) as home:
        if _empty(home):
            xattr.put(home, b"", MARK, _mark(home, state_dir))


def claimed(mount: Mount, state_dir: str) -> str | None:
    """The directory for layers on ``mount`` if it is marked as this supervisor's, else None."""
    try:
        with _opened(mount) as home:
            mark = os.getxattr(files.inside(home), MARK)
            return os.path.join(path_of(mount), "layers") if mark == _mark(home, state_dir) else None
    except OSError:
        return None


def is_marked(xattrs: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether these are the attributes of a directory for layers, this supervisor's or another's."""
    return any(key == MARK for key, _ in xattrs)


def _mark(home: int, state_dir: str) -> bytes:
    # With its handle: a copy of the directory, attributes and all, is not the one that was claimed.
    return os.fsencode(os.path.realpath(state_dir)) + b"\0" + (files.file_handle(home) or b"")


def _made(mount: Mount) -> bool:
    """Make it if it is missing; whether it is empty and can be claimed."""
    if mount.remote:
        return False
    try:
        if not (_keeps_names(mount.target) and _has_handles(mount.target)):
            return False
        for directory in (path_of(mount), os.path.join(path_of(mount), "layers")):
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        with _opened(mount) as home:
            return _empty(home)
    except OSError:
        return False


def _has_handles(directory: str) -> bool:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return files.file_handle(fd) is not None
    finally:
        os.close(fd)


@contextlib.contextmanager
def _opened(mount: Mount) -> Iterator[int]:
    """A descriptor of the directory, which must be root's alone."""
    fd = os.open(path_of(mount), _DIRECTORY)
    try:
        _insist_root_alone(fd)
        yield fd
    finally:
        os.close(fd)


def _empty(home: int) -> bool:
    """Whether there is nothing in it but an empty directory: nobody has prepared it."""
    if os.listdir(home) != ["layers"]:
        return False
    layers = os.open("layers", _DIRECTORY, dir_fd=home)
    try:
        _insist_root_alone(layers)
        return not os.listdir(layers)
    finally:
        os.close(layers)


def _insist_root_alone(fd: int) -> None:
    status = os.fstat(fd)
    if status.st_uid != 0 or stat.S_IMODE(status.st_mode) & 0o077:
        raise PermissionError("it is not root's alone")


def _keeps_names(path: str) -> bool:
    """Whether nobody but root can move what root makes in ``path``, nor any directory that leads there.

    Elsewhere a user could put a symlink in the place of the layers, and have root remove or commit what it leads to.
    """
    names = path.strip("/").split("/") if path != "/" else []
    for depth in range(len(names) + 1):
        status = os.stat("/" + "/".join(names[:depth]), follow_symlinks=False)
        open_to_others = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or open_to_others:
            return False
    return True
