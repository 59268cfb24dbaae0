"""bashlex's tables lie beside the code: they are what bashlex makes. CBX_WRITE_TABLES=1 writes them there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cbx_sandbox.shell
from cbx_sandbox.shell import bashlex_tables

STORED = Path(cbx_sandbox.shell.__file__).parent / bashlex_tables.NAME

MADE = (
    "import json; from cbx_sandbox.shell import bashlex_tables as t; print(json.dumps(t.made(), separators=(',', ':')))"
)
LOADED = "import json; from cbx_sandbox.shell import bashlex_tables as t; t.load(); print(json.dumps(t.made()))"
# Another grammar: the checksum does not fit, so bashlex makes its own.
OTHER = """
from cbx_sandbox.shell import bashlex_tables as t
t.checksum = lambda productions: "x"
print(t.load().parse("a | b"))
"""
TEXTS = [
    "a | b && ! c; d &",
    "for x in 1 2; do e $(f | g) > h; done",
    "if a; then b; elif c; then d; fi",
    "f() { a; }; (b)",
]
PARSED = f"for text in {TEXTS!r}: print([node.dump() for node in parse(text)])"


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_stored_tables_are_those_that_bashlex_makes():
    """In the same numbers of states."""
    made = python(MADE)
    if os.environ.get("CBX_WRITE_TABLES"):
        STORED.write_text(made.strip())
    stored = json.loads(STORED.read_text())
    assert stored["grammar"] == json.loads(made)["grammar"], "write them anew: CBX_WRITE_TABLES=1 pytest " + __file__
    assert stored == json.loads(python(LOADED))


def test_another_grammar_is_read_all_the_same():
    """Slowly."""
    assert "CommandNode" in python(OTHER)


def test_it_is_the_one_bashlex():
    """Who imports it in the usual way gets the same."""
    code = "from cbx_sandbox.shell import bashlex_tables as t; m = t.load(); import bashlex; assert bashlex is m"
    python(code)
    python("import bashlex; from cbx_sandbox.shell import bashlex_tables as t; assert t.load() is bashlex")


def test_texts_are_parsed_alike():
    """With the stored tables and with those that it makes."""
    stored = python(f"from cbx_sandbox.shell import bashlex_tables as t; parse = t.load().parse\n{PARSED}")
    assert stored == python(f"from bashlex import parse\n{PARSED}")
    assert "FunctionNode" in stored
