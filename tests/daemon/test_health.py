"""What the regular look finds: a job whose memory grows without end, and a host that is too hot."""

import http.client
import json
import os
import socket
import time
from pathlib import Path

import pytest
from tests.daemon.conftest import PATIENCE, until

from cbx_supervisor.execution import health

pytestmark = pytest.mark.root

LEAK = "import time; kept = []\nwhile True: kept.append(b'x' * (1 << 18)); time.sleep(0.05)"
FILLED = "import time; kept = b'x' * (16 << 20); print('full', flush=True); time.sleep(600)"
WATCHFUL = {
    "TIMEOUTS_HEALTH_CHECK_INTERVAL_SECONDS": "0.05",
    "HEALTH_MEMORY_WINDOW_SECONDS": "2",
    "HEALTH_MEMORY_GROWTH_MB_PER_MINUTE": "10",
}


def start(supervisor, code):
    """A detached job in Python; returns its number."""
    words = [("arg", word.encode()) for word in ("/usr/bin/python3", "-I", "-S", "-c", code)]
    number = supervisor.call(*words, ("detach", b"1"), ("tier", b"SAFE_PARALLEL")).job()
    until(lambda: supervisor.get(f"/v1/jobs/{number}")["state"] == "running")
    return number


def said(supervisor, job):
    """What the events of a job that runs say of its memory."""
    connection = http.client.HTTPConnection("cbx", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(supervisor.paths.http_socket)
    connection.request("GET", f"/v1/jobs/{job}/events?since=1")
    try:
        lines = iter(connection.getresponse().readline, b"")
        events = (json.loads(line.partition(b":")[2]) for line in lines if line.startswith(b"data:"))
        return next(event["growing"] for event in events if event["growing"])
    finally:
        connection.close()


@pytest.mark.vm  # other files tell of the memory there
def test_a_leak_is_told_while_it_runs_and_a_cache_that_was_filled_once_is_not(made):
    """In show, in status, as an event, in the log and in the result."""
    supervisor = made.start("--idle-exit", "120", **WATCHFUL)
    full, leak = start(supervisor, FILLED), start(supervisor, LEAK)
    shown = until(lambda: supervisor.get(f"/v1/jobs/{leak}")["growth"], 60)
    assert shown["bytes_per_second"] > (10 << 20) / 60
    assert shown["bytes"] > 1 << 20
    assert shown["limit_in_seconds"] > 0
    told = until(lambda: (found := supervisor.get("/v1/status")["health"])["growing"] and found)
    assert told["memory"] == "watched"
    assert [one["job"] for one in told["growing"]] == [leak]
    assert "its memory grows by" in said(supervisor, leak)
    supervisor.post(f"/v1/jobs/{leak}/cancel", {"signal": "KILL"})
    result = until(lambda: (found := supervisor.get(f"/v1/jobs/{leak}")).get("status") is not None and found)
    assert result["growth"]["bytes"] >= shown["bytes"] // 2
    assert "its memory grew by" in result["message"]
    # Its window has been full for as long as the other one's: it was looked at as often, and was never told of.
    assert supervisor.get(f"/v1/jobs/{full}")["growth"] is None
    log = supervisor.log.read_text()
    assert "memory grows" in log, log
    supervisor.post(f"/v1/jobs/{full}/cancel", {"signal": "KILL"})


def test_a_host_that_is_too_hot_starts_less_and_says_why(made, tmp_path):
    """The job that waits for that is told; when it is cool again it starts."""
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    for name, text in (
        ("type", "cpu"),
        ("temp", "99000"),
        ("trip_point_0_type", "passive"),
        ("trip_point_0_temp", "95000"),
    ):
        (zone / name).write_text(text)
    settings = {"HEALTH_SYSFS": str(tmp_path / "sys"), "INSTANCES_SAFE_PARALLEL_MAX": "2"}
    supervisor = made.start("--idle-exit", "120", **WATCHFUL, **settings)
    told = until(lambda: (found := supervisor.get("/v1/status")["health"])["share"] < 1 and found)
    assert told["hottest"] == {"zone": "cpu", "celsius": 99.0}
    first = start(supervisor, FILLED)
    words = [("arg", word) for word in (b"sleep", b"600")]
    waits = supervisor.call(*words, ("detach", b"1"), ("tier", b"SAFE_PARALLEL")).job()
    why = until(lambda: supervisor.get(f"/v1/jobs/{waits}/why")["waits_for"])
    assert why[0]["kind"] == "slot"
    assert "the limit is 1, lower than configured while the host is too hot: cpu has 99 °C" in why[0]["text"]
    (zone / "temp").write_text("40000")
    until(lambda: supervisor.get(f"/v1/jobs/{waits}")["state"] == "running")
    until(lambda: supervisor.get("/v1/status")["health"]["share"] == 1)
    for number in (first, waits):
        supervisor.post(f"/v1/jobs/{number}/cancel", {"signal": "KILL"})


def test_a_host_that_was_too_hot_is_not_slow_for_ever(made, tmp_path):
    """It goes on by the next look that shows something, and at once when nobody wants it to be slow."""
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    for name, text in (("type", "cpu"), ("trip_point_0_type", "passive"), ("trip_point_0_temp", "95000")):
        (zone / name).write_text(text)
    (zone / "temp").write_text("99000")
    supervisor = made.start("--idle-exit", "120", **WATCHFUL, HEALTH_SYSFS=str(tmp_path / "sys"))

    def share():
        return supervisor.get("/v1/status")["health"]["share"]

    until(lambda: share() < 1)
    away = zone.rename(tmp_path / "away")
    time.sleep(0.5)  # some looks; without one in between this shows nothing
    (away / "temp").write_text("40000")
    away.rename(zone)
    until(lambda: share() == 1)
    (zone / "temp").write_text("99000")
    until(lambda: share() < 1)
    os.makedirs(made.paths.config, mode=0o755, exist_ok=True)
    Path(made.paths.config, "cbx.toml").write_text("[health]\nslow_down = false\n")
    supervisor.post("/v1/config/reload")
    until(lambda: share() == 1)


def test_a_host_that_shows_nothing_says_so(made):
    """This one, whatever it is: all slots are used unless something is seen."""
    supervisor = made.start("--idle-exit", "120", **WATCHFUL)
    here = health.read("/sys")
    told = until(lambda: (found := supervisor.get("/v1/status")["health"])["shown"] is here.shows and found)
    assert told["throttled"] is None or here.throttled is not None
    assert here.shows or (told["share"], told["hottest"]) == (1.0, None)
