"""Which tests show the known cases of checkpoints: the table names tests, and rows of their tables, that are there."""

import re
import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
CASES = tomllib.loads((TESTS / "root/checkpoint/cases.toml").read_text())
ROWS = {"root/checkpoint/test_workloads.py": "root/checkpoint/workloads.py"}  # where the rows of a test are kept


def shown():
    """Every case number with the tests that show it, or why none does."""
    return {int(number): value for section in CASES.values() for number, value in section.items()}


def test_every_case_is_in_the_table():
    """All 160, each once: pytest -s prints those that nobody shows yet."""
    for number, tests in sorted(shown().items()):
        if not tests:
            print(f"{number:3} is shown by no test")
    numbers = [int(number) for section in CASES.values() for number in section]
    assert sorted(numbers) == list(range(1, 161))
    assert all(isinstance(value, list) or len(value) > 20 for value in shown().values())


def test_the_tests_that_are_named_are_there():
    """A test or a row that is renamed or removed takes its case with it."""
    for number, tests in shown().items():
        for named in tests if isinstance(tests, list) else ():
            place, _, row = named.partition(" ")
            path, _, name = place.partition("::")
            assert re.search(rf"^ *def {name}\(", (TESTS / path).read_text(), re.MULTILINE), (number, named)
            rows = (TESTS / ROWS.get(path, path)).read_text()
            assert not row or f'"{row}":' in rows, (number, named)
