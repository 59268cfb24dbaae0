"""Where an unknown piece of text comes from: a mark is one character that stands after the ``HOLE``.

A text with marks has a HOLE in it, so nothing takes it for known; a mark that gets lost on the way only makes the
finding a weaker one.
"""

from __future__ import annotations

import re

from cbx_sandbox.shell.expressions import expression

HOLE = "\ue000"  # a piece that is not known

NETWORK = "\ue001"  # fetched from another machine
DECODED = "\ue002"  # decoded or put together, so that reading the command does not show it
SECRET = "\ue003"  # noqa: S105 -- credentials, or the environment as a whole
PRIVATE = "\ue004"  # what identifies people or a machine, without letting anybody in
SHELL = "\ue005"  # printed by a shell that executes what it reads
OWN = "\ue006"  # the number of a process that the text itself has started

PART = "\ue007"  # a part of one name: not empty, no slash and no blank in it, neither . nor ..

DEEP = "\ue008"  # the rest of a path beneath what stands before it: it may have slashes in it, and never goes back up

ALL = frozenset({NETWORK, DECODED, SECRET, PRIVATE, SHELL, OWN})
PASSED_ON = frozenset({NETWORK, DECODED, SECRET, PRIVATE})  # what a program prints that has read such a text

_SHOWN = {ord(mark): None for mark in (*ALL, PART, DEEP)} | {ord(HOLE): "…"}


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


# What PART and DEEP stand for is a promise about the HOLE before them and no other. They are not among ALL: so they are
# lost, and not passed on, where a text is changed otherwise than by writing one piece behind the other.
_PARTS = expression(f"{HOLE}[{OWN}{PART}]")
_NAME = expression(r"[\w+,@%=:-][\w.+,@%=:-]*", re.ASCII)


def part(text: str) -> bool:
    """Whether a text is bound to be a part of one name."""
    return text == HOLE + PART or _NAME.fullmatch(text) is not None


def pattern(text: str) -> str | None:
    """Return a text with a star for a part of a name, two for more; None where something else is not known of it."""
    matched = _PARTS.sub("*", text).replace(HOLE + DEEP, "**")
    return None if any(mark in matched for mark in (HOLE, PART, DEEP)) else matched


def of_pattern(text: str) -> str:
    """Return a name that a pattern matches, or the pattern itself, with parts that are not known for its wildcards."""
    return squeeze(_WILDCARD.sub(HOLE + PART, text))


_WILDCARD = expression(r"\*+|\?|\[[^]/]*(?:\]|(?=/)|\Z)")


def squeeze(text: str) -> str:
    """Make neighbouring unknown pieces one; of the whole nothing is known, whatever is known of the last one."""
    return _SEVERAL.sub(HOLE, text) if HOLE in text else text


_SEVERAL = expression(f"{HOLE}(?:[{OWN}{PART}{DEEP}]?{HOLE})+[{OWN}{PART}{DEEP}]?")


def shown(text: str) -> str:
    """Return a text for people: what is not known is an ellipsis."""
    return text if text.isascii() else text.translate(_SHOWN)
