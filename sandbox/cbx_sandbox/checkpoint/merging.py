"""Three-way merges of text: the job's version, somebody else's, and the one that both began with.

The merge itself is git's (`git merge-file`), run as the submitter on texts in memory: it sees no directory and no name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator

from cbx_sandbox.checkpoint import bases
from cbx_sandbox.checkpoint.bases import MAX_FILE, Base
from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, split
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.inodes import OVERLAY, open_file, read_live
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux import files, xattr
from cbx_sandbox.linux.credentials import Submitter, acting_as

PATIENCE = 10.0  # s for one merge
_PATH = "/usr/local/bin:/usr/bin:/bin"
_MOST_CONFLICTS = 127  # git's exit status is the number of conflicts, at most this; beyond, it is an error


@dataclasses.dataclass(frozen=True, slots=True)
class Merged:
    """A file that both changed, as one; or why it cannot be."""

    change: Change
    why_not: str = ""
    text: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    live: Meta | None = None  # the other side, as it was merged


def merge(session: Session, change: Change) -> Merged:
    """Merge what the job made of a file with what is in the live tree now. Changes nothing."""
    if change.kind is not Kind.CHANGED or "content" not in change.aspects or change.source is not None:
        return Merged(change, "only changed text files can be merged")
    base = bases.find(session, change)
    if base is None:
        return Merged(change, "what both began with was not kept: it was changed while the job ran, or is no text")
    try:
        with live_root(session, change.layer) as live_fd, files.Cursor(live_fd, os.O_PATH) as live:
            fd, name = live.go(split(change.live)[0]), split(change.live)[1]
            with acting_as(session.submitter):
                before = read_live(fd, name)
                theirs = _read(fd, name)
                now = read_live(fd, name)
        ours = _read_ours(session, change)
    except OSError as error:
        return Merged(change, f"it cannot be read: {os.strerror(error.errno or 0)}")
    if now is None or now != before:
        return Merged(change, "somebody is changing it right now")
    if theirs is None or ours is None:
        return Merged(change, "it is large or binary now")
    text = _merge_file(ours, base.text, theirs, session.submitter)
    if isinstance(text, str):
        return Merged(change, text)
    return _with_metadata(change, base, now, text)


def _with_metadata(change: Change, base: Base, theirs: Meta, text: bytes) -> Merged:
    """Of each property, that of who changed it; the job's if both did."""
    ours = change.new
    assert ours is not None
    mode, own_mode = stat.S_IMODE(theirs.mode), stat.S_IMODE(ours.mode)
    return Merged(
        change,
        text=text,
        mode=mode if own_mode == base.mode else own_mode,
        uid=theirs.uid if ours.uid == base.uid else ours.uid,
        gid=theirs.gid if ours.gid == base.gid else ours.gid,
        xattrs=theirs.xattrs if ours.xattrs == base.xattrs else ours.xattrs,
        live=theirs,
    )


def _read(dir_fd: int, name: bytes) -> bytes | None:
    fd = open_file(dir_fd, name)
    try:
        text = os.pread(fd, MAX_FILE + 1, 0)
    finally:
        os.close(fd)
    return None if len(text) > MAX_FILE or b"\0" in text else text


def _read_ours(session: Session, change: Change) -> bytes | None:
    with _upper(session, change) as (dir_fd, name), acting_as(session.submitter):
        return _read(dir_fd, name)


@contextlib.contextmanager
def _upper(session: Session, change: Change) -> Iterator[tuple[int, bytes]]:
    """The layer's directory that holds the job's version, and its name there. It is dead: nobody moves it."""
    root = os.open(session.layers[change.layer].upper, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with files.Cursor(root, os.O_PATH) as cursor:
            directory, name = split(change.path)
            yield cursor.go(directory), name
    finally:
        os.close(root)


def _merge_file(ours: bytes, base: bytes, theirs: bytes, who: Submitter) -> bytes | str:
    """The merged text, or why there is none."""
    git = shutil.which("git", path=_PATH)
    if git is None:
        return "git is not installed"
    with contextlib.ExitStack() as stack:
        texts = [stack.enter_context(_in_memory(text)) for text in (ours, base, theirs)]
        try:
            done = subprocess.run(
                [git, "merge-file", "--stdout", "--quiet", *(f"/proc/self/fd/{fd}" for fd in texts)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                cwd="/",
                env={
                    "PATH": _PATH,
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_CONFIG_GLOBAL": "/dev/null",
                    "GIT_DIR": "/dev/null",
                },
                pass_fds=texts,
                timeout=PATIENCE,
                user=who.uid,
                group=who.gid,
                extra_groups=who.groups,
            )
        except subprocess.TimeoutExpired:
            return f"git needed longer than {PATIENCE:g} s"
        except OSError as error:
            return f"git cannot be started: {os.strerror(error.errno or errno.EIO)}"
    if done.returncode == 0:
        return done.stdout
    if 0 < done.returncode <= _MOST_CONFLICTS:
        return "both changed the same lines"
    return f"git could not merge it: {done.stderr.decode('utf-8', 'backslashreplace').strip()[:200]}"


@contextlib.contextmanager
def _in_memory(text: bytes) -> Iterator[int]:
    fd = os.memfd_create("cbx-merge", os.MFD_CLOEXEC)
    try:
        os.fchmod(fd, 0o444)
        with open(fd, "wb", closefd=False) as file:
            file.write(text)
        yield fd
    finally:
        os.close(fd)


def put(session: Session, merged: Merged) -> Callable[[], None]:
    """Put the merged text into the layer in place of the job's own; returns how that comes back."""
    with _aside(session, merged) as (root, aside), _upper(session, merged.change) as (dir_fd, name):
        _write(root, aside, merged, xattr.every(dir_fd, name))
        _exchange(root, aside, dir_fd, name)
    return functools.partial(_take_back, session, merged)


def _take_back(session: Session, merged: Merged) -> None:
    with _aside(session, merged) as (root, aside), _upper(session, merged.change) as (dir_fd, name):
        _exchange(root, aside, dir_fd, name)
        os.unlink(aside, dir_fd=root)


@contextlib.contextmanager
def _aside(session: Session, merged: Merged) -> Iterator[tuple[int, bytes]]:
    """The root of the layer, and a name in it for what is not in the layer for now."""
    layer = session.layers[merged.change.layer]
    root = os.open(layer.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield root, os.fsencode(f"merged-{bases.name_of(merged.change.path)}")
    finally:
        os.close(root)


def _write(root: int, aside: bytes, merged: Merged, before: dict[bytes, bytes]) -> None:
    """The merged file with the marks of overlayfs that the job's own has."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside, dir_fd=root)  # of a merge that was cut short
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
    with open(fd, "wb") as file:
        file.write(merged.text)
        file.flush()
        os.fchown(fd, merged.uid, merged.gid)
        own = {key: value for key, value in before.items() if key.startswith(OVERLAY)}
        others = {key: value for key, value in merged.xattrs if not key.startswith(OVERLAY)}
        for key, value in {**own, **others}.items():
            xattr.put(fd, b"", key, value)
        os.fchmod(fd, merged.mode)


def _exchange(root: int, aside: bytes, dir_fd: int, name: bytes) -> None:
    before = os.stat(files.inside(dir_fd))
    files.renameat2(root, aside, dir_fd, name, files.RENAME_EXCHANGE)
    os.utime(files.inside(dir_fd), ns=(before.st_atime_ns, before.st_mtime_ns))
