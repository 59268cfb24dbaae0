"""A check's word is the supervisor's: denied, asked about, overridden, and written down."""

import json
import sqlite3

import pytest

pytestmark = pytest.mark.root


def audited(supervisor, job):
    """What the audit trail says of refusals and loosened rules of a job, oldest first."""
    with sqlite3.connect(supervisor.paths.database) as connection:
        rows = connection.execute("SELECT action, detail FROM audit WHERE subject = ? ORDER BY id", (f"job {job}",))
        return [(action, json.loads(detail)) for action, detail in rows if action in {"refused", "loosened"}]


def test_harm_is_refused_asked_about_and_overridden(supervisor, project):
    """126 without having run; yes or root's override runs it and is written down; data runs at once (the control)."""
    where = ("cwd", str(project).encode())
    call = supervisor.run("history -c; echo ran", where)
    asked = call.end()
    assert (asked["status"], asked["ask"]) == (126, b"1")
    agreed = supervisor.run("history -c; echo ran", where, ("yes", b"1"))
    job = agreed.job()
    assert agreed.end()["status"] == 0
    assert [(action, detail.get("agreed")) for action, detail in audited(supervisor, job)] == [
        ("loosened", ["history-wiping"])
    ]
    text = "echo echo ran | base64 | base64 -d | sh"
    denied = supervisor.run(text, where, ("yes", b"1")).end()
    assert (denied["status"], "ask" in denied) == (126, False)
    overridden = supervisor.run(text, where, ("allow_checks", b"obfuscated-run")).end()
    assert overridden["status"] == 0
    assert overridden["result"]["tier"] == "DANGEROUS_ISOLATED"
    assert supervisor.run(f"echo '{text}'", where).end()["status"] == 0
