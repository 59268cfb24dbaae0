"""Moving a job by hand among those of its line: its tier, its band and its user.

Others' jobs are never behind or before it because of that: between users, tiers and bands the strategy decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from cbx_supervisor.scheduling.order import Entry


@dataclasses.dataclass(frozen=True, slots=True)
class First:
    """Before all that wait in its line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Last:
    """Behind all that wait in its line now; who comes later goes before it, too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """Right before this one, which stands in the same line."""

    number: int


Where = First | Last | Before


class OtherLineError(ValueError):
    """The two jobs do not stand in one line."""


def moved(
    entry: Entry,
    where: Where,
    waiting: Iterable[Entry],
    line_of: Callable[[Entry], Any],
    key_of: Callable[[Entry], Any],
) -> list[Entry]:
    """Every job whose place is another one then. Raises OtherLineError; KeyError: the other one does not wait."""
    line = line_of(entry)
    rest = [other for other in waiting if other.number != entry.number]
    mine = [other for other in rest if line_of(other) == line]
    match where:
        case First():
            place = min((other.place for other in mine), default=1) - 1
        case Last():
            place = max((other.place for other in mine), default=-1) + 1
        case Before(number):
            target = next((other for other in rest if other.number == number), None)
            if target is None:
                raise KeyError(number)
            if line_of(target) != line:
                raise OtherLineError(number)
            # Those before the other one make room for the job, and stay in their order.
            ahead = [other for other in mine if key_of(other) < key_of(target)]
            room = [dataclasses.replace(other, place=other.place - 2) for other in ahead]
            return [*room, dataclasses.replace(entry, place=target.place - 1)]
    return [dataclasses.replace(entry, place=place)]
