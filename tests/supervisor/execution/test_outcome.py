"""What init recorded, as exit status, state and one line for people."""

from __future__ import annotations

import json

import pytest

from cbx_sandbox import runner
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.policy import Identity
from cbx_supervisor.execution import outcome as outcomes
from cbx_supervisor.model import result as results


def outcome(reason="exited", code=0, number=None, **more):
    record = {
        "job": "7", "reason": reason, "exit_code": code, "signal": number, "frozen": True, "unkillable": 0,
        "wall_seconds": 1.5, "usage": {"cpu_seconds": 0.5, "memory_peak_bytes": 5 << 20, "new_figure": 1},
    }  # fmt: skip
    return {**record, **more}


def planned(line="ls"):
    identity = Identity(1000, 1000, (1000,), "u", "/home/u")
    request = runner.Request(identity, "/work/project", {}, line=line)
    return runner.plan(request, StaticFacts(), runner.Defaults(), runner.HostReport())


def ran(record, line="ls"):
    return outcomes.ran(
        7, planned(line), runner.HostReport(), record, missing={}, started=1.0, ended=2.5, leaks=[], changes=None,
        checkpoint=None, note="",
    )  # fmt: skip


EXEC = {"failure": {"step": "exec", "errno": 2, "text": "No such file or directory"}}
SETUP = {"failure": {"step": "overlay over /x", "errno": 28, "text": "No space left on device"}}


@pytest.mark.parametrize(
    ("record", "state", "reason", "status"),
    [
        (outcome(), "exited", "exited", 0),
        (outcome(code=3), "exited", "exited", 3),
        (outcome(code=None, number=15), "exited", "exited", 143),
        (outcome("timeout", None, 9), "exited", "timeout", 124),
        (outcome("timeout", 0), "exited", "timeout", 124),
        (outcome("oom", None, 9), "exited", "oom", 137),
        (outcome("oom", 0), "exited", "oom", 137),
        (outcome("disk", None, 9), "exited", "disk", 137),
        (outcome("cancelled", None, 15), "cancelled", "cancelled", 143),
        (outcome("cancelled", 0), "cancelled", "cancelled", 143),
        (outcome("not-started", 127, **EXEC), "failed-to-start", "error", 127),
        (outcome("not-started", 126, **EXEC), "failed-to-start", "error", 126),
        (outcome("not-started", None, **SETUP), "failed-to-start", "error", 125),
        (outcome("not-started", 0), "failed-to-start", "error", 125),
        (None, "lost", "lost", 125),
    ],
)
def test_every_end_has_its_status(record, state, reason, status):
    """A job that was not seen to succeed never has status 0."""
    result = ran(record)
    assert (result.state, result.reason, result.status) == (state, reason, status)
    assert result.message
    assert "\n" not in result.message


def test_an_oom_names_limit_peak_and_option():
    """So that the reader knows what to do."""
    message = ran(outcome("oom", None, 9)).message
    assert all(word in message for word in ("512 MiB", "5 MiB", "--memory"))


def test_a_result_survives_the_store():
    """Encoded and decoded it is the same, also with a command that is no text."""
    result = ran(outcome(), "ls \udcff")
    raw = results.encode(result)
    assert results.decode(raw) == result
    assert json.loads(raw)["command"] == r"ls \xff"
    assert json.loads(raw)["started"] == "1970-01-01T00:00:01.000Z"


def test_figures_that_nobody_knows_do_not_break_it():
    """A newer init may count more, a broken one nonsense."""
    assert ran(outcome()).usage.cpu_seconds == 0.5
    broken = outcome(usage={"cpu_seconds": "much"})
    assert ran(broken).usage.wall_seconds == 1.5
