"""Expressions that are compiled late are expressions, and do what compiled ones do."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import cbx_sandbox.shell
from cbx_sandbox.shell import variables
from cbx_sandbox.shell.expressions import Lazy, expression
from cbx_sandbox.shell.inner import justfile


def test_it_does_what_a_compiled_one_does() -> None:
    """With its flags, and for what is asked seldom."""
    late, early = expression(r"(?P<x>a)b", re.IGNORECASE), re.compile(r"(?P<x>a)b", re.IGNORECASE)
    for _ in range(2):
        assert late.findall("AB ab") == early.findall("AB ab")
        assert late.sub("-", "xABx") == early.sub("-", "xABx")
        assert late.groupindex == early.groupindex
    assert late.flags == early.flags


def test_every_expression_can_be_compiled() -> None:
    """A mistake in one would otherwise be found when a command first needs it."""
    late = [
        (module.name, name, value)
        for module in pkgutil.walk_packages(cbx_sandbox.shell.__path__, "cbx_sandbox.shell.")
        for name, value in vars(importlib.import_module(module.name)).items()
        if isinstance(value, Lazy)
    ]
    assert len(late) > 100
    assert [(module, name) for module, name, value in late if not value.pattern] == []


@pytest.mark.parametrize(
    ("late", "text"),
    [
        (variables._ASSIGNED, "X" * 1_000_000),
        (variables._ASSIGNED, "a[" * 500_000),
        (justfile._HEADER, "a" + " " * 256_000 + "x"),
        (justfile._PARAMETER, "*" * 1_000_000),
    ],
    ids=["a name", "subscripts", "blanks", "stars"],
)
def test_an_expression_takes_no_longer_than_a_text_is_long(late: re.Pattern[str], text: str) -> None:
    """What tries every end for every beginning would be at it for hours, and nothing else runs meanwhile."""
    assert late.findall(text) == []
