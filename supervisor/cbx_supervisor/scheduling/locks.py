"""The lock table: path locks over the hierarchy of one file system, whole set or nothing, first come first served.

A job names its whole lock set at once and gets it in one step or waits without holding anything, so there is no
hold-and-wait and no deadlock. What the modes mean, and which get along, says lock_modes.

A waiting request reserves its set: nobody who came later and conflicts with it passes. An upgrade goes before all
waiting requests, since its owner holds something that they may be waiting for; who would wait for somebody who waits
for him is refused, and told the circle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from cbx_sandbox.policy import LockMode
from cbx_supervisor.scheduling import lock_modes
from cbx_supervisor.scheduling.lock_modes import CONFLICTS, WRITERS, LockKey, Marks, Want, Wants, marks_of


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


@dataclasses.dataclass(frozen=True, slots=True)
class Deadlock:
    """To wait would be to wait for oneself: the owners in the circle, who asked first. Nothing was changed."""

    circle: tuple[int, ...]


class _Request(NamedTuple):
    owner: int
    wants: Wants
    marks: Marks
    upgrade: bool


class _Node:
    """The marks of many owners on one path, and how many have each: a look need not go through the owners."""

    __slots__ = ("counts", "owners")

    def __init__(self) -> None:
        self.owners: dict[int, int] = {}
        self.counts: dict[int, int] = {}

    def put(self, owner: int, mask: int) -> None:
        self.owners[owner] = mask
        self.counts[mask] = self.counts.get(mask, 0) + 1

    def drop(self, owner: int) -> None:
        mask = self.owners.pop(owner)
        if self.counts[mask] == 1:
            del self.counts[mask]
        else:
            self.counts[mask] -= 1

    def any_of(self, bits: int) -> bool:
        for mask in self.counts:  # noqa: SIM110  # a generator costs more than the few masks that there are
            if mask & bits:
                return True
        return False


class _Marked:
    """The marks of many owners, found by path. An owner's marks are added once, and removed as they were added."""

    def __init__(self) -> None:
        self._nodes: dict[LockKey, _Node] = {}

    def add(self, owner: int, marks: Marks) -> None:
        nodes = self._nodes
        for key, mask in marks.items():
            node = nodes.get(key)
            if node is None:
                node = nodes[key] = _Node()
            node.put(owner, mask)

    def remove(self, owner: int, marks: Marks) -> None:
        nodes = self._nodes
        for key in marks:
            node = nodes[key]
            node.drop(owner)
            if not node.owners:
                del nodes[key]

    def conflicting(self, owner: int, marks: Marks) -> dict[int, None]:
        """The other owners in the way of ``marks``, each once, in a stable order."""
        found: dict[int, None] = {}
        nodes = self._nodes
        for key, mask in marks.items():
            node = nodes.get(key)
            if node is not None and node.any_of(against := CONFLICTS[mask]):
                for other, held in node.owners.items():
                    if other != owner and against & held:
                        found[other] = None
        return found

    def __len__(self) -> int:
        return len(self._nodes)


class LockTable:
    """Who holds what and who waits; pure state, an owner is any number."""

    def __init__(self) -> None:
        self._wants: dict[int, Wants] = {}
        self._held: dict[int, Marks] = {}
        self._holders = _Marked()
        self._queue: list[_Request] = []

    def request(self, owner: int, wants: Sequence[Want]) -> Granted | Blocked:
        """Take the whole set, or wait for it."""
        if owner in self._wants or self._waiting(owner):
            raise ValueError(f"owner {owner} has a lock set already")
        request = _Request(owner, tuple(wants), marks_of(tuple(wants)), upgrade=False)
        return self._enter(request, len(self._queue))

    def take(self, owner: int, wants: Sequence[Want]) -> None:
        """Take a set that nobody is in the way of. Raises ValueError: the owner has one, or somebody is."""
        wanted = tuple(wants)
        if owner in self._wants or self.in_the_way(owner, wanted):
            raise ValueError(f"owner {owner} has a lock set already, or it is not free")
        self._set(owner, wanted)

    def grant(self, owner: int, wants: Wants) -> None:
        """Take a set for an owner that has none, in the same step in which :meth:`in_the_way` found nobody."""
        self._set(owner, wants)

    def in_the_way(self, owner: int, wants: Sequence[Want]) -> list[int]:
        """Who would keep a new request from being granted now: holders, and all who wait."""
        wanted = tuple(wants)
        found = list(self._holders.conflicting(owner, marks_of(wanted)))
        if self._queue:
            found += [r.owner for r in self._queue if r.owner != owner and lock_modes.meet(wanted, r.wants)]
        return found

    def blockers_of(self, owner: int, wants: Sequence[Want]) -> tuple[Blocker, ...]:
        """The same, with the locks that are in the way."""
        return self._blockers(_Request(owner, tuple(wants), marks_of(tuple(wants)), upgrade=False), len(self._queue))

    @staticmethod
    def blocking(wants: Sequence[Want], owner: int, others: Sequence[Want]) -> tuple[Blocker, ...]:
        """The lock with which ``owner``, who waits for ``others``, is in the way of ``wants``, if there is one."""
        wanted = tuple(wants)
        if not lock_modes.meet(wanted, tuple(others)):
            return ()
        return (_blocker(_Request(0, wanted, marks_of(wanted), upgrade=False), owner, others, waiting=True),)

    def upgrade(self, owner: int, keys: Sequence[LockKey]) -> Granted | Blocked | Deadlock:
        """Turn the owner's S or U locks on ``keys`` into X, or wait for the others to go; they are kept meanwhile.

        Two owners of S on one path would wait for each other: the second is refused. U is there to prevent it, since
        one path has one owner of U.
        """
        held = dict(self._wants.get(owner, ()))
        refused = [key for key in keys if held.get(key) not in {LockMode.S, LockMode.U, LockMode.X}]
        if refused:
            raise ValueError(f"owner {owner} does not hold S or U on {refused[0].path}")
        if self._waiting(owner):
            raise ValueError(f"owner {owner} waits already")
        wants = tuple((key, LockMode.X) for key in keys)
        request = _Request(owner, wants, marks_of(wants), upgrade=True)
        if circle := self._circle(request):
            return Deadlock(circle)
        return self._enter(request, sum(1 for waiting in self._queue if waiting.upgrade))

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
        if not self._queue:
            return []  # as nearly always
        self._queue = [request for request in self._queue if request.owner != owner]
        return self._grant_waiting()

    def release(self, owner: int) -> list[int]:
        """Forget the owner; return who is granted by it, in the order of arrival."""
        if owner in self._wants:
            self._set(owner, ())
        return self.cancel(owner)

    def held(self, owner: int) -> Wants:
        """What the owner holds."""
        return self._wants.get(owner, ())

    def writers(self, key: LockKey) -> list[int]:
        """Who may write at ``key`` now: who holds it, or a directory above, in a mode that writes."""
        covering = {key, *key.ancestors()}
        return [
            owner
            for owner, wants in self._wants.items()
            if any(mode in WRITERS and held in covering for held, mode in wants)
        ]

    def holders(self) -> dict[int, Wants]:
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

    def _circle(self, request: _Request) -> tuple[int, ...]:
        """The wait-for graph from those in the way of ``request``: a way back to who asks, or nothing."""
        places = {waiting.owner: place for place, waiting in enumerate(self._queue)}
        came_from: dict[int, int] = {}
        look_at = [request.owner]
        while look_at:
            owner = look_at.pop()
            place = places.get(owner)
            if owner == request.owner:
                ahead = self._blockers(request, 0)
            elif place is not None:
                ahead = self._blockers(self._queue[place], place)
            else:
                continue  # holds, and waits for nobody
            for blocker in ahead:
                if blocker.owner == request.owner:
                    circle = [owner]
                    while circle[-1] != request.owner:
                        circle.append(came_from[circle[-1]])
                    return tuple(reversed(circle))
                if blocker.owner not in came_from:
                    came_from[blocker.owner] = owner
                    look_at.append(blocker.owner)
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

    def _set(self, owner: int, wants: Wants) -> None:
        if (held := self._held.pop(owner, None)) is not None:
            self._holders.remove(owner, held)
            del self._wants[owner]
        if wants:
            marks = marks_of(wants)
            self._wants[owner] = wants
            self._held[owner] = marks
            self._holders.add(owner, marks)

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


def _blocker(request: _Request, owner: int, wants: Sequence[Want], *, waiting: bool) -> Blocker:
    for key, mode in wants:
        other = marks_of(((key, mode),))
        if any(CONFLICTS[mask] & other.get(at, 0) for at, mask in request.marks.items()):
            return Blocker(owner, key, mode, waiting)
    raise AssertionError("a conflict has a lock that makes it")
