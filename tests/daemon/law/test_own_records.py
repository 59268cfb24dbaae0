"""What cbx writes down of a job is out of that job's reach: its database, audit trail, logs, layers and records."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.daemon.law.conftest import script

pytestmark = pytest.mark.root

ATTACK = """
import errno, json, os, sys
state, runtime = sys.argv[1:3]
answers = {}
def attempt(name, path, flags):
    try:
        os.close(os.open(path, flags, 0o600))
        answers[name] = "done"
    except OSError as error:
        answers[name] = errno.errorcode[error.errno]
for name in ("cbx.db", "cbx.db-wal", "logs/supervisor.log", "layers", "secrets", "logs/1.log"):
    attempt(name, os.path.join(state, name), os.O_RDONLY)
attempt("append", os.path.join(state, "cbx.db"), os.O_WRONLY | os.O_APPEND)
attempt("record", os.path.join(runtime, "jobs", "1.json"), os.O_WRONLY | os.O_CREAT)
attempt("socket", os.path.join(runtime, "exec.sock"), os.O_PATH)
print(json.dumps(answers))
"""


@pytest.mark.parametrize("tier", ["safe", "conditional", "sequential", "dangerous"])
def test_case_160_a_job_cannot_touch_what_is_written_down_of_it(shell, tmp_path, tier):
    """As root, in every tier: not seen, not opened. The control, the same without a box, opens the database."""
    paths = shell.supervisor.paths
    attack = [*script(ATTACK), paths.state, paths.runtime]
    option = {"conditional": ["--rw", str(tmp_path)], "sequential": ["--rw", str(tmp_path)]}.get(tier, [])
    ran = shell.run(*option, "--", *attack, tier=tier, cwd=tmp_path)
    answers = json.loads(ran.stdout.splitlines()[0])
    assert set(answers.values()) <= {"ENOENT", "EACCES", "EROFS", "EPERM"}, (tier, answers)
    free = subprocess.run(attack, capture_output=True, check=True)
    assert {json.loads(free.stdout)[name] for name in ("cbx.db", "append", "socket")} == {"done"}
    verified = shell.call("audit", "verify", "--json")
    assert json.loads(verified.stdout)["intact"] is True
