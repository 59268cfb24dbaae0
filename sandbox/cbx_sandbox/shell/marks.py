"""Where an unknown piece of text comes from: a mark is one character that stands after the ``HOLE``.

A text with marks has a HOLE in it, so nothing takes it for known; a mark that gets lost on the way only makes the
finding a weaker one.
"""

from __future__ import annotations

HOLE = "\ue000"  # a piece that is not known

NETWORK = "\ue001"  # fetched from another machine
DECODED = "\ue002"  # decoded or put together, so that reading the command does not show it
SECRET = "\ue003"  # noqa: S105 -- credentials, or the environment as a whole
PRIVATE = "\ue004"  # what identifies people or a machine, without letting anybody in
SHELL = "\ue005"  # printed by a shell that executes what it reads
OWN = "\ue006"  # the number of a process that the text itself has started

ALL = frozenset({NETWORK, DECODED, SECRET, PRIVATE, SHELL, OWN})
PASSED_ON = frozenset({NETWORK, DECODED, SECRET, PRIVATE})  # what a program prints that has read such a text

_SHOWN = {ord(mark): None for mark in ALL} | {ord(HOLE): "…"}


def of(text: str | None) -> frozenset[str]:
    """Return the marks in a text."""
    if text is None or text.isascii():
        return frozenset()
    return ALL.intersection(text)


def add(text: str, found: frozenset[str]) -> str:
    """Mark a text that is not known in full; a known text speaks for itself."""
    missing = found - of(text)
    return text + "".join(sorted(missing)) if missing and HOLE in text else text


def whole(text: str) -> str:
    """Return an unknown text as one piece with its marks, a known one as it is."""
    return HOLE + "".join(sorted(of(text))) if HOLE in text else text


def own(text: str) -> bool:
    """Whether a text is nothing but numbers of processes that the text itself has started."""
    return text != "" and all(word == HOLE + OWN for word in text.split())


def shown(text: str) -> str:
    """Return a text for people: what is not known is an ellipsis."""
    return text if text.isascii() else text.translate(_SHOWN)
