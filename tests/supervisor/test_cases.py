"""Which tests show how a supervisor behaves in the known cases: the table names tests that are there."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
CASES = tomllib.loads((TESTS / "daemon/durable/cases.toml").read_text())


def _functions(path):
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_tests_that_are_named_are_there():
    """A test that was renamed or removed leaves no case behind that only seems to be shown."""
    named = {test for cases in CASES.values() for tests in cases.values() for test in tests}
    files = {name.partition("::")[0] for name in named}
    there = {f"{file}::{function}" for file in files for function in _functions(file)}
    assert named - there == set()
    assert len(named) > 50
