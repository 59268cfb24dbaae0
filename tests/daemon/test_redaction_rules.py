"""The administrator's forms of secrets in a running supervisor: nothing of them is stored, a broken file says so."""

from __future__ import annotations

import os
import pathlib

import pytest
from tests.daemon.conftest import until

from cbx_supervisor.model.redaction import REDACTED

pytestmark = pytest.mark.root

HOUSE = """[[rule]]
name = "badge"
before = ["badge"]
pattern = 'badge-(?P<secret>\\w+)'
matches = ["open badge-S3CR3T"]
"""
SECRET = "badge-Zx81Qq77"


def write(made, name, text, mode=0o644):
    os.makedirs(made.paths.redaction, mode=0o755, exist_ok=True)
    path = f"{made.paths.redaction}/{name}"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def stored(made):
    """Whatever the supervisor has written."""
    files = [path for path in pathlib.Path(made.paths.state).rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in [*files, made.log])


def test_what_a_rule_of_the_house_names_is_not_stored(made):
    """Neither in the database nor in the log; the control stores it."""
    made.start("--idle-exit", "120")
    made.run(f"true {SECRET}").end()
    made.stop()
    assert SECRET.encode() in stored(made)
    write(made, "10-house.toml", HOUSE)
    made.start("--idle-exit", "120")
    other = SECRET.replace("Zx", "Yw")
    job = made.run(f"true {other}").end()["result"]
    assert job["command"] == f"true badge-{REDACTED}"
    made.stop()
    assert other.encode() not in stored(made)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [(HOUSE.replace("secret>", "other>"), 0o644, b"no group"), (HOUSE, 0o666, b"others than root may write it")],
)
def test_a_broken_or_a_stranger_s_file_ends_the_start(made, text, mode, why):
    """Secrets would be stored that it is to take out; mended, it starts."""
    path = write(made, "10-house.toml", text, mode)
    process = made.spawn("--idle-exit", "120")
    assert process.wait(60) != 0
    assert why in made.log.read_bytes()
    assert path.encode() in made.log.read_bytes()
    write(made, "10-house.toml", HOUSE)
    made.start("--idle-exit", "120")
    assert made.get("/v1/status")["redaction"]["files"] == [path]


def test_a_file_that_breaks_later_changes_nothing_and_is_named(made):
    """The rules that were in force stay so."""
    write(made, "10-house.toml", HOUSE)
    made.start("--idle-exit", "120")
    broken = write(made, "20-broken.toml", "[[rule]]\n")
    made.post("/v1/config/reload")
    problems = until(lambda: made.get("/v1/status")["redaction"]["problems"])
    assert broken in problems[0]
    assert made.run(f"true {SECRET}").end()["result"]["command"] == f"true badge-{REDACTED}"
