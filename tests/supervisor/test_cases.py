"""Which tests show how a supervisor behaves in the known cases: every case has tests that are there, or a reason."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
CASES = tomllib.loads((TESTS / "daemon/durable/cases.toml").read_text())


def _functions(path):
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_case_is_shown_or_decided_otherwise():
    """The 124 that are known of supervisors and schedulers, and some of our own."""
    all_ = [(name, shown) for cases in CASES.values() for name, shown in cases.items()]
    assert all(shown for _, shown in all_)
    assert len({name for name, _ in all_}) == len(all_) >= 124


def test_the_tests_that_are_named_are_there():
    """A test that was renamed or removed leaves no case behind that only seems to be shown."""
    lists = [shown for cases in CASES.values() for shown in cases.values() if isinstance(shown, list)]
    named = {test for tests in lists for test in tests}
    files = {name.partition("::")[0] for name in named}
    there = {f"{file}::{function}" for file in files for function in _functions(file)}
    assert named - there == set()
    assert len(named) > 50
