"""The hot path of `run` stays cheap: what it imports is what it costs."""

import subprocess
import sys
from pathlib import Path

import cbx_supervisor

ROOT = Path(cbx_supervisor.__file__).parents[1]
DEAR = {
    "argparse", "ast", "click", "collections", "contextlib", "dataclasses", "enum", "functools", "inspect", "json",
    "os", "pathlib", "re", "selectors", "shutil", "signal", "site", "socket", "struct", "subprocess", "typing",
}  # fmt: skip


def test_only_what_is_built_in_is_imported():
    """No module of the standard library that is read from a file, and few of our own."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); old = set(sys.modules); import cbx_supervisor.client.run;"
    code += "print(*sorted(set(sys.modules) - old))"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert not loaded & DEAR
    ours = {name for name in loaded if name.startswith("cbx_supervisor")}
    assert loaded - ours <= {"_socket", "posix", "select", "sys", "_signal"}
    assert len(ours) <= 13, ours
