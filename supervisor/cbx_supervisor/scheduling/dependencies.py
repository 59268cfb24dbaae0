"""Which job comes after which: those that must have succeeded, and those that only have to be over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from cbx_supervisor.scheduling.order import Entry


class CycleError(ValueError):
    """Jobs that would wait for each other: each comes after the next, the last after the first."""

    def __init__(self, cycle: Sequence[int]) -> None:
        super().__init__(" after ".join(map(str, (*cycle, cycle[0]))))
        self.cycle = tuple(cycle)


def find_cycle(after: Mapping[int, Iterable[int]]) -> tuple[int, ...]:
    """A circle among jobs and those that each comes after, from its smallest number on; nothing if there is none."""
    done: set[int] = set()
    for root in sorted(after):
        path: list[int] = []
        on_path: set[int] = set()
        look_at = [(root, iter(sorted(after.get(root, ()))))] if root not in done else []
        if look_at:
            path.append(root)
            on_path.add(root)
        while look_at:
            number, rest = look_at[-1]
            following = next(rest, None)
            if following is None:
                look_at.pop()
                done.add(number)
                on_path.discard(path.pop())
            elif following in on_path:
                cycle = path[path.index(following) :]
                start = cycle.index(min(cycle))
                return tuple(cycle[start:] + cycle[:start])
            elif following not in done:
                look_at.append((following, iter(sorted(after.get(following, ())))))
                path.append(following)
                on_path.add(following)
    return ()


@dataclasses.dataclass(slots=True)
class _Coming:
    entry: Entry
    missing: set[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What follows from the end of a job: who may be started now, and who never will be, because of whom."""

    ready: tuple[Entry, ...]
    refused: tuple[tuple[Entry, int], ...]


_NOTHING = Told((), ())


class Dependencies:
    """Jobs that come after others that are not over."""

    def __init__(self) -> None:
        self._coming: dict[int, _Coming] = {}
        self._followers: dict[int, set[int]] = {}
        self._tails: dict[int, float] = {}  # expected seconds of the longest chain that comes after a job

    def __len__(self) -> int:
        return len(self._coming)

    def get(self, number: int) -> Entry | None:
        """One that is still to come."""
        coming = self._coming.get(number)
        return None if coming is None else coming.entry

    def entries(self) -> list[Entry]:
        """All of them."""
        return [coming.entry for coming in self._coming.values()]

    def tail(self, number: int) -> float:
        """Expected seconds from the end of a job to that of the longest chain after it."""
        return self._tails.get(number, 0.0)

    def missing(self, number: int) -> tuple[int, ...]:
        """What a job still waits for."""
        coming = self._coming.get(number)
        return () if coming is None else tuple(sorted(coming.missing))

    def replace(self, entry: Entry) -> None:
        """Change what is said of one that is still to come, but not what it waits for."""
        self._coming[entry.number].entry = entry

    def add(self, entry: Entry) -> set[int]:
        """A job that comes after others; returns those whose tail is longer now. Raises CycleError."""
        missing = {*entry.after, *entry.follows}
        graph = {number: coming.missing for number, coming in self._coming.items()} if self._closes(entry) else {}
        if entry.number in missing or (graph and find_cycle({**graph, entry.number: missing})):
            raise CycleError(find_cycle({**graph, entry.number: missing}))
        self._coming[entry.number] = _Coming(entry, missing)
        for number in missing:
            self._followers.setdefault(number, set()).add(entry.number)
        return self._lengthen(entry)

    def over(self, number: int, *, succeeded: bool) -> Told:
        """A job is over. Who needed its success is refused, and in turn who needs theirs."""
        if number not in self._followers:
            return _NOTHING  # as nearly always
        ready: list[Entry] = []
        refused: list[tuple[Entry, int]] = []
        ended = [(number, succeeded)]
        while ended:
            before, good = ended.pop()
            self._tails.pop(before, None)
            for follower in sorted(self._followers.pop(before, ())):
                coming = self._coming.get(follower)
                if coming is None:
                    continue  # it needed another one, too, and was refused with that
                coming.missing.discard(before)  # first: who follows a refused one is not to wait for what is over
                if not good and before in coming.entry.after:
                    self.forget(follower)
                    refused.append((coming.entry, before))
                    ended.append((follower, False))
                    continue
                if not coming.missing:
                    del self._coming[follower]
                    ready.append(coming.entry)
        return Told(tuple(ready), tuple(refused))

    def forget(self, number: int) -> None:
        """A job that will not come; those after it are told by :meth:`over`.

        Who only follows it comes after what it came after: the order stands, whoever of it is withdrawn.
        """
        coming = self._coming.pop(number, None)
        if coming is None:
            return
        followers = {later for later in self._followers.get(number, ()) if later in self._coming}
        for later in followers:
            self._coming[later].missing |= coming.missing
        for before in coming.missing:
            after = self._followers.setdefault(before, set())
            after.discard(number)
            after |= followers

    def _closes(self, entry: Entry) -> bool:
        """Whether a new edge could close a circle: only if somebody waits for the new job already."""
        return bool(self._followers.get(entry.number))

    def _lengthen(self, entry: Entry) -> set[int]:
        longer: set[int] = set()
        look_at = [entry]
        while look_at:
            child = look_at.pop()
            tail = child.seconds + self.tail(child.number)
            for parent in self._coming[child.number].missing:
                if tail > self.tail(parent):
                    self._tails[parent] = tail
                    longer.add(parent)
                    if (coming := self._coming.get(parent)) is not None:
                        look_at.append(coming.entry)
        return longer
