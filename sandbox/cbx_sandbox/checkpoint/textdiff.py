"""The difference of two texts in bounded time: what a job wrote must not keep the reader's machine busy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

MAX_EDITS = 400
Opcode = tuple[str, int, int, int, int]


def unified(old: Sequence[str], new: Sequence[str], context: int = 3) -> Iterator[str]:
    """The hunks of a unified diff, a line each, without the file headers."""
    for group in _Found(old, new).get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[i1:i2])
                continue
            yield from (f"-{line}" for line in old[i1:i2])
            yield from (f"+{line}" for line in new[j1:j2])


class _Found(difflib.SequenceMatcher[str]):
    """The standard grouping into hunks, over differences that were found in another way."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        super().__init__(None, (), ())
        self._codes = _opcodes(old, new)

    def get_opcodes(self) -> list[Opcode]:  # type: ignore[override]  # typeshed narrows the tag
        return self._codes


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1 if length else start},{length}" if length != 1 else f"{start + 1}"


def _opcodes(old: Sequence[str], new: Sequence[str]) -> list[Opcode]:
    """As difflib has them. Lines in common at both ends are set aside first; the rest costs lines times edits."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    codes: list[Opcode] = [("equal", 0, head, 0, head)] if head else []
    at, into = head, head
    for i, j, length in [*_matches(middle_old, middle_new), (len(middle_old), len(middle_new), 0)]:
        if at < head + i or into < head + j:
            codes.append(("replace", at, head + i, into, head + j))
        if length:
            codes.append(("equal", head + i, head + i + length, head + j, head + j + length))
        at, into = head + i + length, head + j + length
    if tail:
        codes.append(("equal", len(old) - tail, len(old), len(new) - tail, len(new)))
    return codes


def _matches(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int]]:
    """Runs of equal lines on a shortest path of edits (Myers 1986); none where that has more than MAX_EDITS edits."""
    reach = {1: 0}
    trail: list[dict[int, int]] = []
    for edits in range(MAX_EDITS + 1):
        trail.append(dict(reach))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and reach[diagonal - 1] < reach[diagonal + 1])
            x = reach[diagonal + 1] if down else reach[diagonal - 1] + 1
            while x < len(old) and 0 <= x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            reach[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return _runs(trail, len(old), len(new))
    return []


def _runs(trail: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int, int]]:
    """Walk back along the path and collect its diagonals."""
    runs = []
    for edits in range(len(trail) - 1, -1, -1):
        reach = trail[edits]
        diagonal = x - y
        down = diagonal == -edits or (diagonal != edits and reach[diagonal - 1] < reach[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        start_x = reach[before] if edits else 0
        start_y = start_x - before if edits else 0
        # After the one edit comes a run of equal lines up to where we are.
        run_x = (start_x if down else start_x + 1) if edits else 0
        if x > run_x:
            runs.append((run_x, run_x - diagonal, x - run_x))
        x, y = start_x, start_y
    runs.reverse()
    return runs
