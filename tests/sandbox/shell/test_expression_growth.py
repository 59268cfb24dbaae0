"""No expression of the package tries every end for every beginning, whatever it is fed with.

A quarter of a million characters would keep such a one busy for minutes, and the test's timeout ends it; any other is
through them at once.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from itertools import chain
from pathlib import Path

import pytest

import cbx_sandbox.shell
from cbx_sandbox.shell import witness
from cbx_sandbox.shell.expressions import Lazy

LENGTH = 250_000
BOUNDED = 20_000  # characters that the caller shows it at most; a quadratic one is through in seconds
SHOWN_LITTLE = {"witness._NOT_FOR_BASHLEX", "witness._NOT_FOR_TREE_SITTER"}
ONCE = frozenset({"match", "fullmatch"})
WHOLE = ONCE | {"findall", "finditer", "search", "split", "sub"}
LETTERS = (*"aA1_ \n\t'\"`\\[({<-=/.$%*+~:@;,#!", "'\\", '"\\')


def _methods(path: Path) -> dict[str, set[str]]:
    """Return which methods a module calls of each of its names."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in WHOLE and isinstance(node.value, ast.Name):
            found.setdefault(node.value.id, set()).add(node.attr)
    return found


def _expressions():
    for module in pkgutil.walk_packages(cbx_sandbox.shell.__path__, "cbx_sandbox.shell."):
        loaded = importlib.import_module(module.name)
        methods = _methods(Path(loaded.__file__)) if loaded.__file__ else {}
        for name, value in vars(loaded).items():
            if isinstance(value, Lazy):
                called = methods.get(name, WHOLE)
                yield pytest.param(value, called, id=f"{module.name.removeprefix('cbx_sandbox.shell.')}.{name}")


def _own(pattern: str) -> list[str]:
    """Return beginnings of what an expression looks for: its words, with what may stand around them."""
    words = dict.fromkeys(re.findall(r"(?<![\\\w])[A-Za-z]{2,}", pattern))
    return [f"{word}{after}" for word in list(words)[:2] for after in (" ", "(", "[", "\n")]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("expression", "called"), [*_expressions()])
def test_an_expression_takes_no_longer_than_a_text_is_long(
    expression: re.Pattern[str], called: set[str], request: pytest.FixtureRequest
) -> None:
    """One letter, and beginnings of its own, over and over."""
    little = request.node.callspec.id in SHOWN_LITTLE
    length = BOUNDED if little else LENGTH
    for piece in chain(LETTERS, _own(expression.pattern)):
        for ending in ("", "\0!"):
            text = piece * (length // len(piece)) + ending
            for method in called & ONCE:
                getattr(expression, method)(text)
            if called - ONCE:
                expression.sub("", text)


@pytest.mark.parametrize("text", ["(echo '<(')", "(echo 'a <(b')", "(echo a'>(b'c)"])
def test_what_bashlex_takes_for_a_substitution_is_not_for_it(text: str) -> None:
    """CPython before 3.11.5 misses it with a possessive repeat around a look-ahead."""
    assert witness._NOT_FOR_BASHLEX.search(text)
