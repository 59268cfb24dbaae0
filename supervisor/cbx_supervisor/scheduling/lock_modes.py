"""What is locked, how, and what two locks on one path have against each other.

A lock on a directory covers everything beneath it: each lock puts an intention on all its ancestors, and two requests
meet where one's lock is an ancestor's of the other's.

    IS  reads somewhere below          S  reads here and below
    IU  overlays somewhere below       U  writes an overlay here and below: readers may go on, it becomes X to apply
    IX  writes somewhere below         X  writes here and below
                                       A  appends here: others may append and read what was there before
                                       C  writes here with tools that keep each other out themselves

IU is the table's own: the intention of U must let readers of an ancestor go on, as U itself does, and IX would not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cbx_sandbox.policy import LockMode

NAMED = -1  # the device of a key that is a name, not a path: a port, a service, a database


class LockKey(NamedTuple):
    """What is locked: the superblock's device number and the canonical path inside that file system."""

    device: int
    path: str

    def ancestors(self) -> Iterator[LockKey]:
        """Every directory above, nearest first, up to the file system's root; a name has none."""
        path = "/" if self.device == NAMED else self.path
        while path != "/":
            path = path[: path.rfind("/")] or "/"
            yield LockKey(self.device, path)


def named(name: str) -> LockKey:
    """The key of a thing that is no file."""
    return LockKey(NAMED, name)


# Plain bits, not an enum.IntFlag: the table works on them a few hundred times for each job.
_IS, _IU, _IX, _S, _U, _X, _A, _C = (1 << bit for bit in range(8))
_AGAINST = {
    _IS: _X | _C,
    _IU: _U | _X | _A | _C,
    _IX: _S | _U | _X | _A | _C,
    _S: _IX | _X | _C,
    _U: _IU | _IX | _U | _X | _A | _C,
    _X: _IS | _IU | _IX | _S | _U | _X | _A | _C,
    _A: _IU | _IX | _U | _X | _C,
    _C: _IS | _IU | _IX | _S | _U | _X | _A,
}


def _conflicts(mask: int) -> int:
    against = 0
    for mode, bits in _AGAINST.items():
        if mask & mode:
            against |= bits
    return against


CONFLICTS = tuple(_conflicts(mask) for mask in range(1 << len(_AGAINST)))  # by mask: the bits that it cannot meet
_HERE = {
    LockMode.IS: _IS,
    LockMode.IX: _IX,
    LockMode.S: _S,
    LockMode.U: _U,
    LockMode.X: _X,
    LockMode.A: _A,
    LockMode.C: _C,
}
_ABOVE = {
    LockMode.IS: _IS,
    LockMode.IX: _IX,
    LockMode.S: _IS,
    LockMode.U: _IU,
    LockMode.X: _IX,
    LockMode.A: _IX,
    LockMode.C: _IX,
}
WRITERS = frozenset({LockMode.X, LockMode.A, LockMode.C})  # write the live tree

Want = tuple[LockKey, LockMode]
Wants = tuple[Want, ...]
Marks = Mapping[LockKey, int]


def compatible(first: LockMode, second: LockMode) -> bool:
    """True if two owners may hold these modes on one path."""
    return not CONFLICTS[_HERE[first]] & _HERE[second]


@functools.lru_cache(maxsize=8192)
def marks_of(wants: Wants) -> Marks:
    """What a lock set leaves on its paths and above them. Remembered: a set is looked at several times in its life."""
    marks: dict[LockKey, int] = {}
    for key, mode in wants:
        marks[key] = marks.get(key, 0) | _HERE[mode]
        above = _ABOVE[mode]
        for ancestor in _above(key):
            marks[ancestor] = marks.get(ancestor, 0) | above
    return marks


def _above(key: LockKey) -> tuple[LockKey, ...]:
    if key.path == "/" or key.device == NAMED:
        return ()
    return _from(LockKey(key.device, key.path[: key.path.rfind("/")] or "/"))


@functools.lru_cache(maxsize=16384)
def _from(key: LockKey) -> tuple[LockKey, ...]:
    """A directory and all above it: what lies in one directory shares them."""
    return (key, *_above(key))


def meet(wants: Wants, others: Wants) -> bool:
    """Whether two sets cannot be held by two owners at once."""
    marks, against = marks_of(wants), marks_of(others)
    if len(marks) > len(against):
        marks, against = against, marks
    return any(CONFLICTS[mask] & against.get(key, 0) for key, mask in marks.items())


def shareable(wants: Wants) -> bool:
    """Whether several owners may hold this very set at once."""
    return not any(CONFLICTS[mask] & mask for mask in marks_of(wants).values())
