"""Two independent parsers look over the reader's shoulder; of a plain text, a scanner in place of the slower one.

A command that one of them finds and the reader did not makes the text opaque. Where tree-sitter-bash's tree has an
error, and where bashlex cannot parse a construct, that is no evidence either way. Both have known misreadings, named
here; everything else they say counts.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from tree_sitter import Language, Parser

from cbx_sandbox.shell import bundled, plain
from cbx_sandbox.shell.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node, Tree

MAX_TEXT = 20_000  # bytes shown to tree-sitter; bashlex, which is slower than linear, sees less
MAX_BASHLEX = 2_000
MAX_NESTING = 40
_OPENERS = expression(r"[({`]")
# What bashlex is known to misread: it looks for commands inside text that is quoted for later.
_NOT_FOR_BASHLEX = expression(
    r"\(\(|\[\[|\bcase\b|=\(|\w\[|<<|\bcoproc\b|\bselect\b|\btime\b|\$\[|\\\n|\$\{|[@+!?*]\(|\$'"
    r"|\A[^']*+'(?:[^$`]*+[$`]|(?>.*?[<>]\())[^']*+'",
    re.DOTALL,
)
_NOT_FOR_TREE_SITTER = expression(
    r"`[^`]*`[^`]*`|\bcoproc\b|<<|\r|[@+!?*]\(|[^\s;&|][<>]\(|\w\[[^][]*\]\+?=|\$\(\(.*\$\(\(|(?m:^[^\S\n]*[0-9])"
)
_NOT_NAMES = frozenset(
    {"time", "coproc", "!", "{", "}", "[[", "]]", "select", "function", "then", "do", "fi", "done", "esac"}
)
_STRUCTURE = expression(r"[;&|<>()$`\n]")


def unseen(text: str, seen: frozenset[str]) -> str | None:
    """Return a command that a witness finds and that is not among those seen."""
    if len(_OPENERS.findall(text)) > MAX_NESTING:
        return None
    for name in _witnessed(text):
        if name not in seen and name not in _NOT_NAMES:
            return name
    return None


def _witnessed(text: str) -> Iterator[str]:
    if len(text) <= MAX_TEXT and not _NOT_FOR_TREE_SITTER.search(text):
        yield from _tree_sitter(text)
    names = plain.commands(text)
    if names is not None:
        yield from names
    elif len(text) <= MAX_BASHLEX and _STRUCTURE.search(text) and not _NOT_FOR_BASHLEX.search(text):
        yield from _bashlex(text)


@cache
def _language() -> Language:
    return Language(bundled.extension("tree_sitter_bash", "_binding").language())


def _tree_sitter(text: str) -> Iterator[str]:
    # A parser keeps state between calls, and several threads may analyse: each call has its own, which costs little.
    tree: Tree = Parser(_language()).parse(text.encode("utf-8", "surrogatepass"))
    if tree.root_node.has_error:
        return
    stack: list[Node] = [tree.root_node]
    while stack:
        node = stack.pop()
        if node.type == "command_name" and node.text:
            yield _decoded(node.text)
        stack.extend(node.children)


def _decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8", "surrogatepass")  # bytes that are no text come back as they went
    except UnicodeDecodeError:
        return name.decode("utf-8", "replace")  # a part of such a byte: a name that nobody has seen


def _bashlex(text: str) -> Iterator[str]:
    from cbx_sandbox.shell import bashlex_tables  # noqa: PLC0415 -- most texts have no structure to be witnessed

    try:
        stack: list[Any] = list(bashlex_tables.load().parse(text))
    except Exception:  # noqa: BLE001 -- it fails in many ways on what it does not know, all of them no evidence
        return
    while stack:
        node = stack.pop()
        if node.kind == "command":
            first = next((part for part in node.parts if part.kind == "word"), None)
            if first is not None:
                yield text[slice(*first.pos)]
        for name in ("parts", "list"):
            stack.extend(getattr(node, name, ()))
        for name in ("command", "output", "heredoc"):
            inner = getattr(node, name, None)
            if hasattr(inner, "kind"):
                stack.append(inner)
