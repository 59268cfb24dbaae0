"""The jobs that were found to wait for locks, in groups that want the very same.

What is true of one of a group is true of all: while somebody is in its way, none is looked at. When the way is free the
first of each line (tier, band, user) and the oldest are woken; the others sleep until it is known what became of these.
So a lock that ten thousand wait for costs no more at each release than one that two wait for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from cbx_supervisor.scheduling import lock_modes
from cbx_supervisor.scheduling.lock_modes import Wants
from cbx_supervisor.scheduling.order import Entry

LineName = tuple[Any, ...]


class _Group:
    __slots__ = ("aged", "ages", "awake", "behind", "lined", "lines", "shareable", "sleeping")

    def __init__(self, wants: Wants) -> None:
        self.shareable = lock_modes.shareable(wants)
        self.behind: set[int] = set()  # owners in the way
        self.sleeping: dict[int, Entry] = {}
        self.awake: dict[int, LineName] = {}
        self.lines: dict[LineName, list[tuple[Any, int]]] = {}
        # Where in these heaps each is; it may stand elsewhere, too, where it was before it was changed.
        self.lined: dict[int, tuple[LineName, Any]] = {}
        self.ages: list[int] = []
        self.aged: set[int] = set()

    def enter(self, entry: Entry, name: LineName, key: Any) -> None:
        """Fall asleep."""
        number = entry.number
        self.sleeping[number] = entry
        self.awake.pop(number, None)
        if self.lined.get(number) != (name, key):
            self.lined[number] = (name, key)
            heapq.heappush(self.lines.setdefault(name, []), (key, number))
        if number not in self.aged:
            self.aged.add(number)
            heapq.heappush(self.ages, number)

    def wake(self) -> list[Entry]:
        """The first of each line that has nobody awake, and the oldest."""
        busy, woken = set(self.awake.values()), []
        while self.ages and self.ages[0] not in self.sleeping:
            self.aged.discard(heapq.heappop(self.ages))
        if self.ages and not any(number < self.ages[0] for number in self.awake):
            woken.append(self._rouse(self.ages[0], ("oldest",)))
        for name in [name for name in self.lines if name not in busy]:
            heap = self.lines[name]
            while heap:
                key, number = heapq.heappop(heap)
                if self.lined.get(number) != (name, key):
                    continue
                del self.lined[number]
                if number in self.sleeping:
                    woken.append(self._rouse(number, name))
                    break
            if not heap:
                del self.lines[name]
        return woken

    def _rouse(self, number: int, name: LineName) -> Entry:
        self.awake[number] = name
        return self.sleeping.pop(number)


class Blocked:
    """Who waits for locks: asleep, or awake in the queue once more."""

    def __init__(self, line_of: Callable[[Entry], LineName], key_of: Callable[[Entry], Any]) -> None:
        self._line_of = line_of
        self._key_of = key_of
        self._groups: dict[Wants, _Group] = {}
        self._behind: dict[int, set[Wants]] = {}
        self._known: dict[int, Entry] = {}
        self._by_age: list[int] = []

    def __len__(self) -> int:
        """How many sleep."""
        return sum(len(group.sleeping) for group in self._groups.values())

    def get(self, number: int) -> Entry | None:
        """One that sleeps."""
        entry = self._known.get(number)
        return None if entry is None else self._groups[entry.wants].sleeping.get(number)

    def entries(self) -> list[Entry]:
        """All that sleep."""
        return [entry for group in self._groups.values() for entry in group.sleeping.values()]

    def oldest(self) -> Entry | None:
        """The oldest of all, asleep or awake."""
        while self._by_age and self._by_age[0] not in self._known:
            heapq.heappop(self._by_age)
        return self._known[self._by_age[0]] if self._by_age else None

    def sleeps(self, number: int) -> bool:
        """Whether somebody is known to be in this one's way."""
        entry = self._known.get(number)
        return entry is not None and bool(self._groups[entry.wants].behind)

    def like(self, entry: Entry) -> set[int]:
        """Who is in the way of those that want the same; nobody, if there are none."""
        group = self._groups.get(entry.wants)
        return set() if group is None else group.behind

    def put(self, entry: Entry, owners: Iterable[int]) -> None:
        """A job that these are in the way of: it sleeps until all of them have let go."""
        group = self._groups.get(entry.wants)
        if group is None:
            group = self._groups[entry.wants] = _Group(entry.wants)
        number = entry.number
        if number not in self._known:
            heapq.heappush(self._by_age, number)
        self._known[number] = entry
        group.enter(entry, self._line_of(entry), self._key_of(entry))
        self._put_behind(entry.wants, group, owners)

    def let_go(self, owner: int) -> list[Entry]:
        """An owner is not in the way any more, as far as is known; who is to be looked at again."""
        woken: list[Entry] = []
        if owner not in self._behind:
            return woken  # as nearly always
        for wants in self._behind.pop(owner):
            group = self._groups.get(wants)
            if group is not None:
                group.behind.discard(owner)
                if not group.behind:
                    woken += group.wake()
        woken.sort(key=lambda entry: entry.number)
        return woken

    def started(self, entry: Entry) -> list[Entry]:
        """One has its locks now. Who is to be looked at next."""
        group = self._groups.get(entry.wants)
        if group is not None and not group.shareable:
            group.behind.add(entry.number)
            self._behind.setdefault(entry.number, set()).add(entry.wants)
        return self.forget(entry)

    def forget(self, entry: Entry) -> list[Entry]:
        """One that does not wait any more. Who is to be looked at in its stead."""
        group = self._groups.get(entry.wants)
        if group is None:
            return []
        self._known.pop(entry.number, None)
        was_awake = group.awake.pop(entry.number, None) is not None
        group.sleeping.pop(entry.number, None)
        woken = group.wake() if was_awake and not group.behind else []
        if not group.sleeping and not group.awake:
            for owner in group.behind:
                self._behind[owner].discard(entry.wants)
            del self._groups[entry.wants]
        return woken

    def rearrange(self) -> None:
        """Lines and keys have changed: put all in their places anew."""
        for group in self._groups.values():
            group.lines.clear()
            group.lined.clear()
            for number, entry in group.sleeping.items():
                name, key = group.lined[number] = (self._line_of(entry), self._key_of(entry))
                heapq.heappush(group.lines.setdefault(name, []), (key, number))

    def _put_behind(self, wants: Wants, group: _Group, owners: Iterable[int]) -> None:
        for owner in owners:
            known = self._known.get(owner)
            if known is not None and known.wants == wants:
                continue  # one of their own: what becomes of it wakes them, and it must not wait for itself
            group.behind.add(owner)
            self._behind.setdefault(owner, set()).add(wants)
