"""The audit trail's chain: each entry carries the SHA-256 of the one before it and of itself. Pure.

    hash = SHA-256( previous hash in hex, newline, canonical record )

The canonical record is JSON in ASCII with sorted keys and no blanks: action, at_us, detail, id, pid, subject, uid.
``at_us`` is the time in microseconds of the Unix clock, ``detail`` the stored text as it is. The first entry follows
64 zeros. So a trail that was exported can be checked by other programs, and whoever noted an entry's number and hash
(an anchor) can show later that nothing up to it was touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator

GENESIS = "0" * 64
TRIMMED = "trimmed"  # the action of an entry that says up to where older ones were removed, and their last hash
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode  # json.dumps makes one for each call
MOST_PROBLEMS = 100  # that are told; a trail that is wrong from its first entry on has one for each


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Who did what: ``at`` in seconds of the Unix clock, ``detail`` as JSON text."""

    id: int
    at: float
    uid: int | None
    pid: int | None
    action: str
    subject: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """An entry as it is stored: ``previous`` and ``hash`` in hex."""

    entry: Entry
    previous: str
    hash: str


@dataclasses.dataclass(frozen=True, slots=True)
class Anchor:
    """The hash that an entry had when somebody noted it."""

    id: int
    hash: str

    def __str__(self) -> str:
        return f"{self.id}:{self.hash}"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one place of the trail."""

    id: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the whole trail found: ``head`` is its last entry, None if there is none."""

    entries: int
    first: int | None
    head: Anchor | None
    problems: tuple[Problem, ...]


def detail(record: str) -> dict[str, object]:
    """What the stored text of a detail says; of one that somebody has spoilt, the text itself as ``unreadable``."""
    try:
        found = json.loads(record)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"unreadable": record}


def canonical(entry: Entry) -> bytes:
    """The bytes of an entry that are hashed."""
    values = {
        "action": entry.action,
        "at_us": round(entry.at * 1_000_000),
        "detail": entry.detail,
        "id": entry.id,
        "pid": entry.pid,
        "subject": entry.subject,
        "uid": entry.uid,
    }
    return _encode(values).encode("ascii")


def digest(previous: str, entry: Entry) -> str:
    """The hash of an entry that follows one with the hash ``previous``."""
    return hashlib.sha256(previous.encode("ascii") + b"\n" + canonical(entry)).hexdigest()


def fits(link: Link) -> bool:
    """Whether an entry has the hash that it should have; one that could not be hashed at all has not."""
    try:
        return digest(link.previous, link.entry) == link.hash
    except (ValueError, OverflowError):  # a time that is none, a previous hash that is no ASCII
        return False


def verify(links: Iterable[Link], *, last: int | None = None, anchors: Iterable[Anchor] = ()) -> Verdict:
    """Hold every entry, in the order of the numbers, against its hash, its predecessor and what was noted of it.

    ``last`` is the highest number that was ever given: entries missing at the end are found by it.
    """
    look = _Look({anchor.id: anchor.hash for anchor in anchors})
    for link in links:
        look.at(link)
    return look.over(last)


class _Look:
    def __init__(self, anchors: dict[int, str]) -> None:
        self._anchors = anchors
        self._count = 0
        self._first: Link | None = None
        self._before: Link | None = None
        self._changed: list[Link] = []
        self._problems: dict[int, str] = {}  # one for each entry: what was found out last is the most precise
        self._trims: set[tuple[int, str]] = set()
        self._anchored: dict[int, str] = {}

    def at(self, link: Link) -> None:
        entry, before = link.entry, self._before
        self._count += 1
        if entry.id < 1:
            self._say(entry.id, f"entry {entry.id} was inserted: no entry is given such a number")
            return
        if entry.id in self._anchors:
            self._anchored[entry.id] = link.hash
        if before is None:
            self._first = link
        elif entry.id != before.entry.id + 1:
            self._say(before.entry.id + 1, _missing(before.entry.id + 1, entry.id - 1))
        elif link.previous != before.hash:
            self._say(entry.id, f"entry {entry.id} does not follow entry {before.entry.id}: one of them was replaced")
        if not fits(link):
            self._changed += [link] if len(self._changed) < MOST_PROBLEMS else []
        elif entry.action == TRIMMED:
            self._trims |= set(_trim(entry))
        self._before = link

    def over(self, last: int | None) -> Verdict:
        self._check_start()
        for link in self._changed:
            self._say(link.entry.id, self._how_changed(link))
        end = 0 if self._before is None else self._before.entry.id
        if last is not None and last > end:
            self._say(end + 1, _missing(end + 1, last))
        for number, noted in self._anchors.items():
            self._check_anchor(number, noted, end)
        problems = tuple(Problem(number, text) for number, text in sorted(self._problems.items()))
        head = None if self._before is None else Anchor(end, self._before.hash)
        return Verdict(self._count, None if self._first is None else self._first.entry.id, head, problems)

    def _say(self, number: int, text: str) -> None:
        if len(self._problems) < MOST_PROBLEMS or number in self._problems:
            self._problems[number] = text

    def _check_start(self) -> None:
        first = self._first
        if first is None or (first.entry.id == 1 and first.previous == GENESIS):
            return
        up_to = first.entry.id - 1
        if up_to and (up_to, first.previous) not in self._trims:
            self._say(1, f"{_missing(1, up_to)}, and no entry says that they were trimmed")
        elif not up_to:
            self._say(1, "entry 1 does not begin the chain")

    def _how_changed(self, link: Link) -> str:
        """An entry under another's number is told apart from one that was rewritten."""
        number = link.entry.id
        for other in self._changed:
            moved = dataclasses.replace(link.entry, id=other.entry.id)
            if other is not link and fits(Link(moved, link.previous, link.hash)):
                return f"entry {number} was entry {other.entry.id}: they were reordered"
        return f"entry {number} was changed: it does not fit its hash"

    def _check_anchor(self, number: int, noted: str, end: int) -> None:
        found = self._anchored.get(number)
        if found == noted or (found is None and (number, noted) in self._trims):
            return
        if found is None:
            self._say(number, f"entry {number}, which an anchor names, is missing; the last one is {end}")
        else:
            self._say(number, f"entry {number} is not the one that was anchored: the chain up to it was rewritten")


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"


def _trim(entry: Entry) -> Iterator[tuple[int, str]]:
    try:
        detail = json.loads(entry.detail)
        yield int(detail["up_to"]), str(detail["hash"])
    except (ValueError, KeyError, TypeError):
        return
