"""cbx as a service of systemd's, for real: installed, started, read anew, restarted and killed while jobs run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.daemon.durable.campaign import Campaign
from tests.vm.places import IN_GUEST

from cbx_supervisor.cli import installation

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]

PATIENCE = 120.0
# Jobs, kills, jobs at once, seconds between kills. The guest is told by the host which of its tests to run.
CAMPAIGNS = {}
if os.environ.get("CBX_CHAOS") == "1" or IN_GUEST:
    CAMPAIGNS = {"small": (10, 2, 5, (3.0, 8.0)), "full": (500, 20, 30, (2.0, 12.0))}
DROP_IN = "/etc/systemd/system/cbx-supervisor.service.d/test.conf"


def sh(line, check=True):
    """Its output; of a command that fails, that is in the message."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=300)
    assert not check or done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}\n{_journal()}"
    return done.stdout.strip() if check else done


def _journal():
    units = "-u cbx-supervisor -u cbx-launcher"
    return subprocess.run(["sh", "-c", f"journalctl {units} -n 40 --no-pager"], capture_output=True, text=True).stdout  # noqa: PLW1510


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"it did not come true\n{_journal()}"
        time.sleep(0.2)
    return value


def pid_of(unit):
    return int(sh(f"systemctl show -P MainPID {unit}"))


def state_of(job):
    return json.loads(sh(f"cbx-sandbox show --json {job}"))["state"]


@pytest.fixture(scope="module")
def service():
    """The service, installed and running; nothing of it afterwards."""
    sh("cbx-sandbox install-service --enable")
    yield
    sh("cbx-sandbox install-service --uninstall")
    assert sh("systemctl is-active cbx-supervisor cbx-launcher cbx.socket", check=False).returncode != 0
    assert not Path("/etc/systemd/system/cbx-supervisor.service").exists()
    left = "cbx-launcher.service cbx-supervisor.service cbx.socket cbx-exec.socket"
    assert sh(f"systemctl list-unit-files --no-legend {left}", check=False).stdout == ""
    assert sh("cbx-sandbox install-service --uninstall") == ""


@pytest.mark.usefixtures("service")
class TestService:
    """In this order."""

    def test_units_are_right_and_hardened(self):
        """By systemd's own word; the daemon is at 6.5 or better. An unhardened unit, the control, is not."""
        units = " ".join(f"/etc/systemd/system/{name}" for name in installation.UNITS)
        assert sh(f"systemd-analyze verify {units} 2>&1") == ""
        assert sh("systemd-analyze security --threshold=65 cbx-supervisor.service", check=False).returncode == 0
        assert sh("systemd-analyze security --threshold=65 cbx-launcher.service", check=False).returncode != 0

    def test_jobs_of_every_tier_run_and_are_held_to_their_limits(self, tmp_path, monkeypatch):
        """The supervisor's hardening keeps nothing from jobs, nor from committing what they changed."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / ".git").mkdir()
        assert sh("cbx-sandbox run -q -- id -u") == "0"
        sh("cbx-sandbox run -q -c 'echo text > file'")
        assert (tmp_path / "file").read_text() == "text\n"
        sh("cbx-sandbox run -q --tier dangerous --commit auto -- rm file")
        assert not (tmp_path / "file").exists()
        assert sh("cbx-sandbox run -q --timeout 2s -- sleep 100", check=False).returncode == 124
        hungry = "cbx-sandbox run -q -m 64M -- python3 -c 'x = bytearray(1 << 28)'"
        assert sh(hungry, check=False).returncode == 137
        assert sh("systemctl is-active cbx-launcher cbx-supervisor") == "active\nactive"
        group = sh("cbx-sandbox run -q -- cat /proc/self/cgroup")
        assert "cbx.slice/cbx-launcher.service" in group or group.endswith("0::/")
        assert (
            Path(f"/proc/{pid_of('cbx-launcher')}/cgroup").read_text().startswith("0::/cbx.slice/cbx-launcher.service/")
        )
        missing = json.loads(sh("cbx-sandbox status --json"))["supervisor"]["missing"]
        assert missing == {}, "a limit cannot be set below the unit's group"

    def test_a_job_runs_as_one_of_the_users_that_were_made_for_that(self, tmp_path, monkeypatch):
        """Where its submitter's home is shut to others; what it writes is the submitter's."""
        (tmp_path / ".git").mkdir()
        monkeypatch.chdir(tmp_path)
        assert sh("cbx-sandbox run -q --user pool -- id -un") == "cbx-job-1"
        sh("cbx-sandbox run -q --user pool -c 'id -un > who'")
        assert (tmp_path / "who").read_text() == "cbx-job-1\n"
        assert (tmp_path / "who").stat().st_uid == os.getuid()
        assert sh("find / -xdev -user cbx-job-1") == ""

    def test_a_service_is_stopped_by_who_may_and_says_so(self, tmp_path, monkeypatch):
        """Refused without the word for it (the control); with it systemd's socket is there, and the result tells."""
        monkeypatch.chdir(tmp_path)
        sh("systemd-run -q --unit cbx-victim sleep 600")
        stop = "systemctl stop cbx-victim.service"
        assert sh(f"cbx-sandbox run -q -- {stop}", check=False).returncode == 126
        assert sh("systemctl is-active cbx-victim") == "active"
        told = json.loads(sh(f"cbx-sandbox run --json --host-effects service -- {stop}").splitlines()[-1])
        assert sh("systemctl is-active cbx-victim", check=False).stdout == "inactive\n"
        assert "reversible" in {entry["name"] for entry in told["guarantees"]["missing"]}

    def test_the_journal_has_a_copy_of_the_audit_trail(self):
        """Each entry, with the hashes that the export has; the copy is made beside the work, so it comes soon."""
        job = sh("cbx-sandbox run --json -- true").splitlines()[-1]
        subject = f"job {json.loads(job)['job']}"
        exported = [json.loads(line) for line in sh("cbx-sandbox audit export").splitlines()]
        mine = {entry["hash"] for entry in exported if entry["subject"] == subject}
        assert mine

        def copied():
            lines = sh("journalctl -o json SYSLOG_IDENTIFIER=cbx-audit --no-pager").splitlines()
            return {json.loads(line)["CBX_AUDIT_HASH"] for line in lines}

        until(lambda: mine <= copied())

    def test_a_job_cannot_command_the_supervisor(self):
        """Who calls from a job's group is refused, also below the unit's; the control calls from outside."""
        detached = sh("cbx-sandbox submit -- sleep 600")
        until(lambda: state_of(detached) == "running")
        found = sh("cat /sys/fs/cgroup/cbx.slice/cbx-launcher.service/jobs/*/payload/cgroup.procs | head -1")
        group = Path(f"/proc/{found}/cgroup").read_text().strip().removeprefix("0::")
        call = f"sh -c 'echo $$ > /sys/fs/cgroup{group}/cgroup.procs; exec cbx-sandbox status'"
        assert sh(call, check=False).returncode == 125
        sh("cbx-sandbox status")
        sh(f"cbx-sandbox cancel --kill {detached}")

    def test_reload_reads_the_settings_anew(self):
        """By systemd; the process stays the same."""
        before = pid_of("cbx-supervisor")
        Path("/etc/cbx").mkdir(exist_ok=True)
        Path("/etc/cbx/cbx.toml").write_text("[instances]\nsafe_parallel_max = 7\n")
        sh("systemctl reload cbx-supervisor")
        until(lambda: "instances.safe_parallel_max = 7" in sh("cbx-sandbox config show"))
        assert pid_of("cbx-supervisor") == before
        Path("/etc/cbx/cbx.toml").unlink()
        sh("cbx-sandbox config reload")

    def test_a_restart_leaves_running_jobs_alone(self, tmp_path):
        """Detached ones and one whose client waits; and after a stop the next caller starts it by the socket."""
        go = tmp_path / "go"
        line = f"until [ -e {go} ]; do sleep 1; done; exit"
        detached = sh(f"cbx-sandbox submit --timeout 0 -- sh -c '{line} 7'")
        waiting = subprocess.Popen(["cbx-sandbox", "run", "-q", "--timeout", "0", "--", "sh", "-c", f"{line} 8"])
        until(lambda: state_of(detached) == "running")
        until(lambda: json.loads(sh("cbx-sandbox status --json"))["jobs"]["running"] == 2)
        before = pid_of("cbx-supervisor")
        sh("systemctl restart cbx-supervisor")
        assert pid_of("cbx-supervisor") not in {0, before}
        assert state_of(detached) == "running"
        # As an upgrade does it: the launcher, and with it the jobs, stay.
        before, launcher = pid_of("cbx-supervisor"), pid_of("cbx-launcher")
        sh("cbx-sandbox install-service --enable")
        assert pid_of("cbx-supervisor") not in {0, before}
        assert pid_of("cbx-launcher") == launcher
        assert state_of(detached) == "running"
        go.touch()
        assert sh(f"cbx-sandbox wait -q {detached}", check=False).returncode == 7
        assert waiting.wait(PATIENCE) == 8
        # Not while somebody waits: he would have it started again at once.
        sh("systemctl stop cbx-supervisor")
        assert pid_of("cbx-supervisor") == 0
        sh("cbx-sandbox status")
        assert pid_of("cbx-supervisor") not in {0, before}

    def test_it_is_back_after_kill_9_and_when_it_hangs(self, tmp_path):
        """Restarted by systemd: when it has died, and when it says nothing any more. Jobs go on."""
        Path(DROP_IN).parent.mkdir(exist_ok=True)
        Path(DROP_IN).write_text("[Service]\nWatchdogSec=10\n")
        sh("systemctl daemon-reload && systemctl restart cbx-supervisor")
        go = tmp_path / "go"
        detached = sh(f"cbx-sandbox submit --timeout 0 -- sh -c 'until [ -e {go} ]; do sleep 1; done; exit 9'")
        until(lambda: state_of(detached) == "running")
        for number in (signal.SIGKILL, signal.SIGSTOP):
            before = pid_of("cbx-supervisor")
            os.kill(before, number)
            until(lambda gone=before: pid_of("cbx-supervisor") not in {0, gone})
            until(lambda: sh("systemctl is-active cbx-supervisor", check=False).stdout == "active\n")
            assert state_of(detached) == "running"
        Path(DROP_IN).unlink()
        sh("systemctl daemon-reload")
        go.touch()
        assert sh(f"cbx-sandbox wait -q {detached}", check=False).returncode == 9

    if CAMPAIGNS:

        @pytest.mark.timeout(7200)
        @pytest.mark.parametrize("size", CAMPAIGNS)
        def test_nothing_is_lost_when_it_is_killed_at_random(self, size):
            """Jobs of all kinds; systemd starts the next supervisor. Only `make chaos-vm` runs this."""
            jobs, kills, at_once, every = CAMPAIGNS[size]
            campaign = Campaign(jobs, kills, 1, at_once=at_once, every=every, service=True)
            try:
                faults = campaign.run()
            finally:
                campaign.clean()
            print(json.dumps(campaign.figures()))
            assert faults == []
            assert len(campaign.recoveries) == kills

    def test_stopping_the_launcher_ends_the_jobs(self):
        """That is the policy: nothing of them is left, and no success is made up."""
        detached = sh("cbx-sandbox submit -- sleep 600")
        until(lambda: state_of(detached) == "running")
        sh("systemctl stop cbx-launcher")
        assert sh("pgrep -f 'sleep 60[0]'", check=False).returncode != 0
        sh("systemctl start cbx-supervisor")
        until(lambda: state_of(detached) not in {"running", "starting"})
        result = json.loads(sh(f"cbx-sandbox show --json {detached}"))
        assert (result["state"], result["status"] == 0) in {("lost", False), ("cancelled", False), ("exited", False)}
        assert sh("cbx-sandbox run -q -- echo again") == "again"
