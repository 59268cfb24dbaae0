"""The lock table: path locks over the hierarchy of one file system, whole set or nothing, first come first served.

A job names its whole lock set at once and gets it in one step or waits without holding anything, so there is no
hold-and-wait and no deadlock. A lock on a directory covers everything beneath it: each lock puts an intention on all
its ancestors, and two requests meet where one's lock is an ancestor's of the other's.

    IS  reads somewhere below          S  reads here and below
    IU  overlays somewhere below       U  writes an overlay here and below: readers may go on, it becomes X to apply
    IX  writes somewhere below         X  writes here and below

IU is the table's own: the intention of U must let readers of an ancestor go on, as U itself does, and IX would not.

A waiting request reserves its set: nobody who came later and conflicts with it passes. An upgrade goes before all
waiting requests, since its owner holds something that they may be waiting for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cbx_sandbox.policy import LockMode


class LockKey(NamedTuple):
    """What is locked: the superblock's device number and the canonical path inside that file system."""

    device: int
    path: str

    def ancestors(self) -> Iterator[LockKey]:
        """Every directory above, nearest first, up to the file system's root."""
        path = self.path
        while path != "/":
            path = path[: path.rfind("/")] or "/"
            yield LockKey(self.device, path)


# Plain bits, not an enum.IntFlag: the table works on them a few hundred times for each job.
_IS, _IU, _IX, _S, _U, _X = 1, 2, 4, 8, 16, 32
_AGAINST = {
    _IS: _X,
    _IU: _U | _X,
    _IX: _S | _U | _X,
    _S: _IX | _X,
    _U: _IU | _IX | _U | _X,
    _X: _IS | _IU | _IX | _S | _U | _X,
}


def _conflicts(mask: int) -> int:
    against = 0
    for mode, bits in _AGAINST.items():
        if mask & mode:
            against |= bits
    return against


_CONFLICTS = tuple(_conflicts(mask) for mask in range(64))
_HERE = {LockMode.IS: _IS, LockMode.IX: _IX, LockMode.S: _S, LockMode.U: _U, LockMode.X: _X}
_ABOVE = {LockMode.IS: _IS, LockMode.IX: _IX, LockMode.S: _IS, LockMode.U: _IU, LockMode.X: _IX}

Want = tuple[LockKey, LockMode]
_Marks = Mapping[LockKey, int]


def compatible(first: LockMode, second: LockMode) -> bool:
    """True if two owners may hold these modes on one path."""
    return not _CONFLICTS[_HERE[first]] & _HERE[second]


@dataclasses.dataclass(frozen=True, slots=True)
class Blocker:
    """Somebody in the way: who, with which lock, and whether it is held or only waited for."""

    owner: int
    key: LockKey
    mode: LockMode
    waiting: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """The whole set is held."""


@dataclasses.dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing of the request is held; it waits behind these."""

    by: tuple[Blocker, ...]


class _Request(NamedTuple):
    owner: int
    wants: tuple[Want, ...]
    marks: _Marks
    upgrade: bool


def _marks(wants: Iterable[Want]) -> dict[LockKey, int]:
    marks: dict[LockKey, int] = {}
    for key, mode in wants:
        marks[key] = marks.get(key, 0) | _HERE[mode]
        above = _ABOVE[mode]
        for ancestor in key.ancestors():
            marks[ancestor] = marks.get(ancestor, 0) | above
    return marks


class _Marked:
    """The marks of many owners, found by path."""

    def __init__(self) -> None:
        self._nodes: dict[LockKey, dict[int, int]] = {}

    def add(self, owner: int, marks: _Marks) -> None:
        for key, mask in marks.items():
            owners = self._nodes.setdefault(key, {})
            owners[owner] = owners.get(owner, 0) | mask

    def remove(self, owner: int, marks: _Marks) -> None:
        for key in marks:
            owners = self._nodes[key]
            owners.pop(owner, None)
            if not owners:
                del self._nodes[key]

    def conflicting(self, owner: int, marks: _Marks) -> dict[int, None]:
        """The other owners in the way of ``marks``, each once, in a stable order."""
        found: dict[int, None] = {}
        for key, mask in marks.items():
            for other, held in self._nodes.get(key, {}).items():
                if other != owner and _CONFLICTS[mask] & held:
                    found[other] = None
        return found

    def __len__(self) -> int:
        return len(self._nodes)


class LockTable:
    """Who holds what and who waits; pure state, an owner is any number."""

    def __init__(self) -> None:
        self._wants: dict[int, tuple[Want, ...]] = {}
        self._held: dict[int, _Marks] = {}
        self._holders = _Marked()
        self._queue: list[_Request] = []

    def request(self, owner: int, wants: Sequence[Want]) -> Granted | Blocked:
        """Take the whole set, or wait for it."""
        if owner in self._wants or self._waiting(owner):
            raise ValueError(f"owner {owner} has a lock set already")
        request = _Request(owner, tuple(wants), _marks(wants), upgrade=False)
        return self._enter(request, len(self._queue))

    def take(self, owner: int, wants: Sequence[Want]) -> None:
        """Take a set that nobody is in the way of. Raises ValueError: the owner has one, or somebody is."""
        if owner in self._wants or self.in_the_way(owner, wants):
            raise ValueError(f"owner {owner} has a lock set already, or it is not free")
        self._set(owner, tuple(wants))

    def in_the_way(self, owner: int, wants: Sequence[Want]) -> list[int]:
        """Who would keep a new request from being granted now: holders, and all who wait."""
        marks = _marks(wants)
        ahead = [request for request in self._queue if request.owner != owner and _meet(marks, request.marks)]
        return [*self._holders.conflicting(owner, marks), *(request.owner for request in ahead)]

    def blockers_of(self, owner: int, wants: Sequence[Want]) -> tuple[Blocker, ...]:
        """The same, with the locks that are in the way."""
        return self._blockers(_Request(owner, tuple(wants), _marks(wants), upgrade=False), len(self._queue))

    @staticmethod
    def meet(wants: Sequence[Want], others: Sequence[Want]) -> bool:
        """Whether two sets cannot be held by two owners at once."""
        return _meet(_marks(wants), _marks(others))

    @staticmethod
    def blocking(wants: Sequence[Want], owner: int, others: Sequence[Want]) -> tuple[Blocker, ...]:
        """The lock with which ``owner``, who waits for ``others``, is in the way of ``wants``, if there is one."""
        if not LockTable.meet(wants, others):
            return ()
        return (_blocker(_Request(0, tuple(wants), _marks(wants), upgrade=False), owner, others, waiting=True),)

    def upgrade(self, owner: int, keys: Sequence[LockKey]) -> Granted | Blocked:
        """Turn the owner's U locks on ``keys`` into X, or wait for the readers to go; U is kept meanwhile.

        Two owners that each read, under S, what the other upgrades wait for each other until one gives up: no job has
        both kinds of locks.
        """
        held = dict(self._wants.get(owner, ()))
        refused = [key for key in keys if held.get(key) not in {LockMode.U, LockMode.X}]
        if refused:
            # Two readers that both want to write would wait for each other for ever; U is there to prevent it.
            raise ValueError(f"owner {owner} does not hold U on {refused[0].path}")
        if self._waiting(owner):
            raise ValueError(f"owner {owner} waits already")
        wants = tuple((key, LockMode.X) for key in keys)
        place = sum(1 for waiting in self._queue if waiting.upgrade)
        return self._enter(_Request(owner, wants, _marks(wants), upgrade=True), place)

    def downgrade(self, owner: int, keys: Sequence[LockKey]) -> list[int]:
        """Turn the owner's X locks on ``keys`` into U; return who is granted by it."""
        lowered = dict.fromkeys(keys, LockMode.U)
        missing = lowered.keys() - {key for key, mode in self._wants.get(owner, ()) if mode is LockMode.X}
        if missing:
            raise ValueError(f"owner {owner} does not hold X on {min(missing).path}")
        self._set(owner, tuple((key, lowered.get(key, mode)) for key, mode in self._wants[owner]))
        return self._grant_waiting()

    def cancel(self, owner: int) -> list[int]:
        """Forget what the owner waits for, keep what it holds; return who is granted by it."""
        self._queue = [request for request in self._queue if request.owner != owner]
        return self._grant_waiting()

    def release(self, owner: int) -> list[int]:
        """Forget the owner; return who is granted by it, in the order of arrival."""
        self._set(owner, ())
        return self.cancel(owner)

    def held(self, owner: int) -> tuple[Want, ...]:
        """What the owner holds."""
        return self._wants.get(owner, ())

    def writers(self, key: LockKey) -> list[int]:
        """Who may write at ``key`` now: the owners of X on it or on a directory above."""
        covering = {key, *key.ancestors()}
        return [
            owner
            for owner, wants in self._wants.items()
            if any(mode is LockMode.X and held in covering for held, mode in wants)
        ]

    def holders(self) -> dict[int, tuple[Want, ...]]:
        """Everybody who holds something, and what."""
        return dict(self._wants)

    def waiting(self) -> list[int]:
        """Who waits, in order."""
        return [request.owner for request in self._queue]

    def blockers(self, owner: int) -> tuple[Blocker, ...]:
        """Who is in the way of a waiting owner now."""
        for place, request in enumerate(self._queue):
            if request.owner == owner:
                return self._blockers(request, place)
        return ()

    def _waiting(self, owner: int) -> bool:
        return any(request.owner == owner for request in self._queue)

    def _enter(self, request: _Request, place: int) -> Granted | Blocked:
        blockers = self._blockers(request, place)
        if not blockers:
            self._take(request)
            return Granted()
        self._queue.insert(place, request)
        return Blocked(blockers)

    def _take(self, request: _Request) -> None:
        raised = dict(request.wants) if request.upgrade else {}
        kept = tuple((key, raised.get(key, mode)) for key, mode in self._wants.get(request.owner, ()))
        self._set(request.owner, kept if request.upgrade else request.wants)

    def _set(self, owner: int, wants: tuple[Want, ...]) -> None:
        self._holders.remove(owner, self._held.pop(owner, {}))
        self._wants.pop(owner, None)
        if wants:
            self._wants[owner] = wants
            self._held[owner] = _marks(wants)
            self._holders.add(owner, self._held[owner])

    def _grant_waiting(self) -> list[int]:
        granted: list[int] = []
        ahead = _Marked()
        still: list[_Request] = []
        for request in self._queue:
            if self._holders.conflicting(request.owner, request.marks) or (
                not request.upgrade and ahead.conflicting(request.owner, request.marks)
            ):
                ahead.add(request.owner, request.marks)
                still.append(request)
            else:
                self._take(request)
                granted.append(request.owner)
        self._queue = still
        return granted

    def _blockers(self, request: _Request, place: int) -> tuple[Blocker, ...]:
        found = [
            _blocker(request, owner, self._wants[owner], waiting=False)
            for owner in self._holders.conflicting(request.owner, request.marks)
        ]
        if not request.upgrade:
            ahead = _Marked()
            wants = {}
            for earlier in self._queue[:place]:
                ahead.add(earlier.owner, earlier.marks)
                wants[earlier.owner] = earlier.wants
            found += [
                _blocker(request, owner, wants[owner], waiting=True)
                for owner in ahead.conflicting(request.owner, request.marks)
            ]
        return tuple(found)


def _meet(marks: _Marks, others: _Marks) -> bool:
    return any(_CONFLICTS[mask] & others.get(key, 0) for key, mask in marks.items())


def _blocker(request: _Request, owner: int, wants: Sequence[Want], *, waiting: bool) -> Blocker:
    for key, mode in wants:
        other = _marks([(key, mode)])
        if any(_CONFLICTS[mask] & other.get(at, 0) for at, mask in request.marks.items()):
            return Blocker(owner, key, mode, waiting)
    raise AssertionError("a conflict has a lock that makes it")
