"""Groups whose job's init is gone: removed beside all else, for what is left in them may be slow to die.

A group is busy for a moment after its last process was reaped. A process of a job that shares the host's processes can
outlive init, and one that waits in the kernel for what does not come (a disk, a server) cannot be killed: nobody else
must wait for it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Protocol

# s that killed processes may take until no process is left in their groups; the supervisor hears within its
# REAP_SECONDS what is left.
DYING_PATIENCE = 3.0
SOON_MS, LATER_MS = 1, 20  # how long until the next look: most groups are free at once, the others not soon
_SOON = 0.05  # s


class Group(Protocol):
    """What is removed here."""

    def remove(self, patience: float = 1.0) -> list[str]:
        """Remove it; returns what something still lives in."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Left:
    group: Group
    since: float
    tell: Callable[[list[str]], None]


class Leaving:
    """The groups that are still to be removed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: list[_Left] = []

    def __bool__(self) -> bool:
        """True while there are any."""
        return bool(self._left)

    def add(self, group: Group, tell: Callable[[list[str]], None]) -> None:
        """Remove ``group``; ``tell`` hears, maybe at once, that it is gone, or later what could not be removed."""
        self._look(_Left(group, self._clock(), tell))

    def pause_ms(self) -> int | None:
        """Milliseconds until they should be looked at again; None: there is nothing to look at."""
        if not self._left:
            return None
        return SOON_MS if any(self._clock() - each.since < _SOON for each in self._left) else LATER_MS

    def look(self) -> None:
        """Try once more, and give up on those that had their time."""
        waiting, self._left = self._left, []
        for each in waiting:
            self._look(each)

    def finish(self) -> None:
        """Return when all are gone, or were given up: after DYING_PATIENCE at most. Nobody may be served meanwhile."""
        while (pause := self.pause_ms()) is not None:
            time.sleep(pause / 1000)
            self.look()

    def _look(self, each: _Left) -> None:
        busy = each.group.remove(patience=0)
        if busy and self._clock() - each.since < DYING_PATIENCE:
            self._left.append(each)
        else:
            each.tell(busy)
