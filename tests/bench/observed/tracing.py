"""What a command looked at, from the system calls that it made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$")
_RESULT = re.compile(r"\)\s+= (-?\d+|\?)(?:<[^>]*>)?(?: (E[A-Z]+))?")
_ARGUMENT = re.compile(r'(?:(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')
_CURRENT = re.compile(r"(?:^|, )AT_FDCWD<((?:[^>\\]|\\.)*)>")
_AT = re.compile(r"^(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>")
_FORKS = frozenset({"clone", "clone3", "fork", "vfork"})
_READING = frozenset(
    "open openat openat2 stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat execve execveat"
    " getxattr lgetxattr listxattr llistxattr statfs".split()
)
_OF_LINKS = frozenset({"lstat", "readlink", "readlinkat", "lgetxattr", "llistxattr"})
_WRITING = frozenset(
    "unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat mknod mknodat chmod"
    " fchmodat chown lchown fchownat truncate utimensat utime setxattr lsetxattr removexattr creat".split()
)
_LINKING = frozenset({"symlink", "symlinkat", "link", "linkat"})
_NOT_THERE = frozenset({"", "ENOENT", "ENOTDIR", "EEXIST", "EACCES", "ELOOP", "ENODATA"})


@dataclass(frozen=True, slots=True)
class Trace:
    """Paths, absolute: ``read`` were opened, looked up or not found, ``listed`` are directories that were read.

    ``written`` were opened for writing, made, renamed or removed, also for a short time.
    """

    read: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()


def read_trace(name: str, cwd: str, root: str) -> Trace:
    """Read what strace wrote; only what lies beneath ``root`` is kept. ``cwd`` is where the first process began."""
    with open(name, encoding="utf-8", errors="surrogateescape") as lines:
        reader = _Reader(cwd, lines)
    inside = (root + "/", "/tmp/")
    return Trace(*(frozenset(p for p in found if p.startswith(inside)) for found in reader.found()))


class _Reader:
    """Follows the working directory of each process and collects the paths of its calls."""

    def __init__(self, cwd: str, lines: Iterable[str]) -> None:
        self._cwd = cwd
        self._places: dict[str, str] = {}
        self._begun: dict[str, str] = {}
        self._read: set[str] = set()
        self._listed: set[str] = set()
        self._written: set[str] = set()
        for line in lines:
            self._line(line.rstrip("\n"))

    def found(self) -> tuple[set[str], set[str], set[str]]:
        """Return what was read, listed and written."""
        return self._read, self._listed, self._written

    def _line(self, line: str) -> None:
        resumed = _RESUMED.match(line)
        if resumed:
            line = self._begun.pop(resumed[1], "") + resumed[3]
        found = _LINE.match(line)
        if found is None:
            return
        if line.endswith("<unfinished ...>"):
            self._begun[found[1]] = line.removesuffix("<unfinished ...>")
            return
        results = list(_RESULT.finditer(found[3]))
        if results:
            self._call(found[1], found[2], found[3][: results[-1].start()], results[-1][1], results[-1][2] or "")

    def _call(self, pid: str, call: str, rest: str, value: str, error: str) -> None:
        at = _CURRENT.search(rest)
        if at:  # strace says where the process is: better than what was followed
            self._places[pid] = _unquoted(at[1])
        here = self._places.setdefault(pid, self._cwd)
        if call in _FORKS:
            # A child may be seen before the call that made it returns; it begins where its parent is.
            self._places[value] = here
        elif call == "chdir" and not error:
            self._places[pid] = next(iter(_paths(rest, here)), here)
        elif call == "fchdir" and not error:
            self._places[pid] = _opened(rest) or here
        elif call == "getdents64":
            self._listed.add(_opened(rest) or here)
        elif call in _WRITING:
            if not error:
                self._changing(call, _paths(rest, here))
        elif call in _READING and error in _NOT_THERE:
            paths = _paths(rest, here)[:1]
            if call not in _OF_LINKS and "NOFOLLOW" not in rest:
                paths += [os.path.realpath(path) for path in paths]
            if call.startswith("open") and ("O_WRONLY" in rest or "O_RDWR" in rest) and not error:
                self._written.update(paths)
            if not _only_writes(call, rest):
                self._read.update(paths)

    def _changing(self, call: str, paths: list[str]) -> None:
        """Note what a call changes: of a link its new name alone; what it leads to is no path, or looked at."""
        if call in {"link", "linkat"}:
            self._read.update(paths[:1])
        self._written.update(paths[-1:] if call in _LINKING else paths)


def _only_writes(call: str, rest: str) -> bool:
    """Whether a file is opened so that what was in it does not matter."""
    return call.startswith("open") and "O_WRONLY" in rest


def _opened(rest: str) -> str | None:
    """Return the path of the descriptor that a call is about."""
    at = _AT.match(rest)
    return _unquoted(at[1]) if at else None


def _paths(rest: str, cwd: str) -> list[str]:
    """Return the paths of a call, in order, absolute."""
    found = []
    for at, text in _ARGUMENT.findall(rest):
        name = _unquoted(text)
        base = _unquoted(at) if at else cwd
        if not name:
            continue
        whole = os.path.join(base, name)
        if ".." in name.split("/"):  # names are taken as the kernel takes them: a link before ".." is followed
            whole = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
        found.append(os.path.normpath(whole))
    return found


def _unquoted(text: str) -> str:
    """Undo what strace does to bytes that are not plain."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1", "replace")
    return raw.decode("utf-8", "surrogateescape")
