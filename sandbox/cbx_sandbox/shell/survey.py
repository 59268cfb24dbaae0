"""Questions about a syntax tree that need no shell to answer."""

from __future__ import annotations

import re

from msgspec import Struct

from cbx_sandbox.shell.syntax import Sequence, Simple, Test, Word

_WAITING = frozenset({"wait", "sleep", "read", "inotifywait", "exit", "break", "return"})


def command_names(node: object, text: str, names: set[str]) -> None:
    """Collect the words that stand where a program's name stands, as they are written."""
    stack: list[object] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, Simple):
            if item.words:
                first = item.words[0]
                names.add(text[first.start : first.end])
                if isinstance(first, Word) and first.start == first.end:  # read inside back-ticks
                    names.add("".join(getattr(part, "value", "") for part in first.parts))
            stack += [*item.assigns, *item.words, *item.redirects]
        elif isinstance(item, tuple):
            stack += item
        elif isinstance(item, Word):
            stack += item.parts
        elif isinstance(item, Struct):
            stack += [getattr(item, name) for name in item.__struct_fields__]


def endless(condition: Sequence | None) -> bool:
    """Whether a loop's condition is one that always holds, written down."""
    if condition is None:
        return False
    command = condition.items[-1][0] if len(condition.items) == 1 else None
    if isinstance(command, Simple) and len(command.words) == 1 and isinstance(command.words[0], Word):
        return "".join(getattr(part, "value", "") for part in command.words[0].parts) in {
            "true",
            ":",
            "false",
        }  # until false
    return isinstance(command, Test) and len(command.words) == 1


def background(body: Sequence) -> bool:
    """Whether something is started in the background, and nothing in between takes time."""
    names: set[str] = set()
    for command, operator in body.items:
        if operator != "&":
            _first_words(command, names)
    return any(operator == "&" for _, operator in body.items) and ("disown" in names or not names & _WAITING)


def forever(header: str) -> bool:
    """Whether the header of an arithmetic loop has no condition, or one that always holds."""
    return re.fullmatch(r"[^;]*;\s*(?:1|true)?\s*;[^;]*", header) is not None


def _first_words(command: object, names: set[str]) -> None:
    if isinstance(command, Simple) and command.words and isinstance(command.words[0], Word):
        names.add("".join(getattr(part, "value", "") for part in command.words[0].parts))
