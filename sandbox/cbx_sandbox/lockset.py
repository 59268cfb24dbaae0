"""From predicted effects to directories to lock: rounded up to what exists, never created, never too coarse unseen."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from msgspec import Struct

from cbx_sandbox.errors import DeniedError
from cbx_sandbox.shell.effects import Access, Certainty, Facts, PathEffect

# Directories that hold the files of many: one file in them is no reason to write to all of it.
COARSE = frozenset(
    "/bin /boot /etc /home /lib /lib64 /media /mnt /opt /root /sbin /srv /tmp /usr /usr/bin /usr/lib /usr/local"
    " /usr/local/bin /usr/sbin /usr/share /var /var/cache /var/lib /var/log /var/spool /var/tmp".split()
)
# Every box has its own of these: what is written there goes nowhere.
PRIVATE = ("/proc", "/sys", "/dev", "/run", "/var/run")
_HARMLESS = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd",
    "/dev/pts", "/dev/shm", "/dev/random", "/dev/urandom", "/proc/self/fd", "/run/tmp", "/run/lock",  # noqa: S108
)  # fmt: skip

WRITES = frozenset({Access.WRITE, Access.CREATE, Access.APPEND, Access.DELETE})


class Directory(Struct, frozen=True):
    """A directory to lock. ``expected``: the only paths predicted in it, where it is coarse."""

    path: str
    expected: tuple[str, ...] | None

    @property
    def coarse(self) -> bool:
        """True if it holds the files of many: a system directory, or a home that a missing directory led up to."""
        return self.path in COARSE or self.expected is not None


def beneath(path: str, directory: str) -> bool:
    """True if ``path`` is ``directory`` or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def directories(effects: tuple[PathEffect, ...], facts: Facts) -> list[Directory]:
    """The outermost directories that the writing ``effects`` need, each existing and canonical.

    Raises DeniedError for writes to places of which every box has its own: they would succeed on a copy.
    """
    found: dict[str, list[str] | None] = {}
    for effect in _writing(effects):
        for place in PRIVATE:
            if beneath(effect.path, place):
                raise DeniedError(
                    f"cannot write {effect.path}: a job has its own {place}, nothing written there reaches the host",
                    hint="run the command outside cbx if it must change the host",
                )
        directory = facts.resolve(_directory_of(effect, facts))
        expected = found.setdefault(directory, [])
        coarse = directory in COARSE or directory == facts.home
        if not coarse or effect.path == directory or effect.certainty is Certainty.PATTERN:
            found[directory] = None
        elif expected is not None:
            expected.append(effect.path)
    return [Directory(path, _expected(path, found)) for path in outermost(found)]


def permitted(effects: tuple[PathEffect, ...], facts: Facts) -> list[str]:
    """The outermost of those directories in which the submitter himself could write.

    A lock keeps others out, so nobody gets one where he could change nothing anyway: such places are shown read-only.
    """
    found = {facts.resolve(_directory_of(effect, facts)): None for effect in _writing(effects) if _may(effect, facts)}
    return outermost(found)


def _may(effect: PathEffect, facts: Facts) -> bool:
    if facts.writable(facts.resolve(_directory_of(effect, facts))):
        return True
    # One's own file in somebody else's directory: it can be written in place.
    in_place = effect.certainty is Certainty.LITERAL and effect.access in {Access.WRITE, Access.APPEND}
    return in_place and facts.kind(effect.path) == "file" and facts.writable(effect.path)


def writes(effects: Iterable[PathEffect]) -> list[PathEffect]:
    """The effects that change something outside of what every box has of its own."""
    return [effect for effect in _writing(effects) if not any(beneath(effect.path, place) for place in PRIVATE)]


def shared(directory: str, home: str) -> bool:
    """True for directories that hold the files of many, and those of which every box has its own."""
    if directory in COARSE or directory == "/" or beneath(home, directory):
        return True
    return any(beneath(directory, place) for place in PRIVATE)


def lessons(paths: Iterable[str], facts: Facts, *, submitter_is_root: bool) -> list[str]:
    """Those of ``paths``, where earlier runs wrote unforeseen, that may join a lock set; rounded up to what exists.

    Nothing that holds the files of many, and nothing that the submitter could not write himself: a lock keeps others
    out, and what was learned must not loosen anything.
    """
    found = []
    for path in paths:
        directory = facts.resolve(_directory_of(PathEffect(Access.WRITE, path, Certainty.UNDER), facts))
        if not shared(directory, facts.home) and (submitter_is_root or facts.writable(directory)):
            found.append(directory)
    return outermost(found)


def outermost(paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` that lie beneath no other, sorted."""
    every = set(paths)
    return sorted(path for path in every if not any(other != path and beneath(path, other) for other in every))


def _writing(effects: Iterable[PathEffect]) -> Iterator[PathEffect]:
    for effect in effects:
        if effect.access in WRITES and not any(beneath(effect.path, place) for place in _HARMLESS):
            yield effect


def _expected(directory: str, found: dict[str, list[str] | None]) -> tuple[str, ...] | None:
    expected: list[str] = []
    for path, names in found.items():
        if beneath(path, directory):
            if path == directory and names is None:
                return None
            # A whole directory below a coarse one is expected as a whole.
            expected += [path] if names is None else names
    return tuple(expected)


def _directory_of(effect: PathEffect, facts: Facts) -> str:
    path = effect.path
    if effect.certainty is Certainty.PATTERN:
        path = _before_pattern(path)
    elif effect.certainty is Certainty.LITERAL and (
        effect.access in {Access.DELETE, Access.CREATE} or facts.kind(path) != "dir"
    ):
        path = posixpath.dirname(path)
    while facts.kind(path) not in {"dir", "link"} and path != "/":
        path = posixpath.dirname(path)
    return path or "/"


def _before_pattern(path: str) -> str:
    parts = []
    for part in path.split("/"):
        if any(character in part for character in "*?[{"):
            break
        parts.append(part)
    return "/".join(parts) or "/"
