"""The commands of a plain text: words, quotes without substitutions, redirections, and | ; && || & between commands.

For such a text a scanner is as good a witness as a whole parser, and takes a hundredth of its time.
"""

from __future__ import annotations

import re

from cbx_sandbox.shell.expressions import expression

_TOKEN = expression(
    r"(?P<redirection>\d*(?:>>|>\||[<>]&?)(?![<>&|(]))"
    r"|(?P<separator>&&|\|\||;(?![;&])|\|(?!&)|\n|&(?!>))"
    # the rest of a name is letters as others are: with two ways to read them, every variable would double the time
    r"""|(?P<word>(?:[\w./:=,@%+~^*?-]|\$[A-Za-z_]|'[^']*'|"[^"$`\\]*(?:\$[A-Za-z_][^"$`\\]*)*")+)"""
    r"|[ \t]+",
)
_ASSIGNMENT = expression(r"[A-Za-z_]\w*\+?=", re.ASCII)
_RESERVED = frozenset(
    "case coproc do done elif else esac fi for function if in select then time until while".split()
)  # of those that are made of letters: a text with others is not plain


def commands(text: str) -> list[str] | None:
    """Return the first word of every command, as it is written; None where the text is not plain."""
    found: list[str] = []
    position = 0
    begins, target = True, False  # a command begins here; the next word belongs to a redirection
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        position = token.end()
        match token.lastgroup:
            case "separator":
                begins, target = True, False
            case "redirection":
                target = True
            case "word" if target:
                target = False
            case "word" if begins and not _ASSIGNMENT.match(token[0]):
                if token[0] in _RESERVED:
                    return None
                found.append(token[0])
                begins = False
    return found
