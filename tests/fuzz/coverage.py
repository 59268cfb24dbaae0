"""Which parts of a text a tree accounts for, and whether the rest is only what holds commands together."""

from __future__ import annotations

import re

from msgspec import Struct

from cbx_sandbox.shell.syntax import Assign, Function, Redirect, Sequence, Word

# Blanks, comments, operators, reserved words, the names of loops, coprocs and functions, the operators of [[ ]].
_BETWEEN = re.compile(
    r"""(?x)
    (?: \s | \\\n | \#[^\n]* | \]\] | \[\[ | [;&|(){}!<>] | =~ | == | != | = | -(?:eq|ne|lt|le|gt|ge|nt|ot|ef)\b
      | \b(?:if|then|elif|else|fi|for|while|until|do|done|case|esac|in|select|function|time|coproc)\b
      | -p\b | -- | (?<=for\ )\S+ | (?<=for\t)\S+ | (?<=select\ )\S+ | (?<=coproc\ )\w+ )*
    """
)


def unaccounted(text: str, tree: Sequence) -> str | None:
    """Return the first part of a text that no node covers and that means something; None where there is none."""
    covered = bytearray(len(text))
    stack: list[object] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, (Word, Assign, Redirect, Function)):
            end = item.end
            if isinstance(item, Function):  # its body is held to account for itself
                end = item.start + len(re.match(r"(?:function\s+)?[^\s(]+\s*(?:\(\s*\))?", text[item.start :])[0])
            covered[item.start : end] = b"\1" * (end - item.start)
        if isinstance(item, (tuple, list)):
            stack += item
        elif isinstance(item, Struct) and not isinstance(item, Word):
            stack += [getattr(item, name) for name in item.__struct_fields__]
    at = 0
    while at < len(text):
        if covered[at]:
            at += 1
            continue
        stop = covered.find(b"\1", at)
        stop = len(text) if stop < 0 else stop
        rest = _BETWEEN.match(text, at, stop)
        if rest is None or rest.end() < stop:
            return text[at:stop]
        at = stop
    return None
