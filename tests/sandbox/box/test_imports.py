"""What the launcher has in memory: each job's init and payload are forked from it, and copy what they touch."""

import subprocess
import sys

LITTLE = "import sys, cbx_sandbox.box.launcher; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_the_launcher_imports_no_part_that_plans():
    """Neither the library of the plans' types, nor parsers, nor an event loop."""
    ran = subprocess.run([sys.executable, "-I", "-c", LITTLE], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "cbx_sandbox" in loaded
    assert not loaded & {"msgspec", "asyncio", "sqlite3", "bashlex", "tree_sitter", "click", "cbx_supervisor"}
