"""Signals that the client gets are the job's."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def until_listening(client):
    """The client's handlers are in place once its request was sent; nothing tells this side when.

    It may have sent it before who started it has put it into the list.
    """
    caught = 0
    while not client:
        time.sleep(0.01)
    while not caught >> (signal.SIGCONT - 1) & 1:  # the last that it makes
        time.sleep(0.01)
        lines = Path(f"/proc/{client[0].pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))


def relaying(seen, client, *numbers):
    """Send signals to the client, one by one, and note the frames that they become."""

    def behave(job):
        job.send("accepted", job=1)
        until_listening(client)
        for number in numbers:
            client[0].send_signal(number)
            seen.append(job.next())
        job.send("result", status=143, line="", json="{}")

    return behave


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_a_signal_is_forwarded(supervisor, name):
    """And the client goes on until the job has ended."""
    seen, client = [], []
    supervisor.behave = relaying(seen, client, getattr(signal, f"SIG{name}"))
    client.append(supervisor.start("x"))
    client[0].communicate(timeout=10)
    assert client[0].returncode == 143
    assert seen == [f"signal {name}"]


def test_a_second_interrupt_kills(supervisor):
    """Whoever presses Ctrl-C again means it."""
    seen, client = [], []

    supervisor.behave = relaying(seen, client, signal.SIGINT, signal.SIGINT)
    client.append(supervisor.start("x"))
    client[0].communicate(timeout=10)
    assert seen == ["signal INT", "kill"]


def test_a_third_interrupt_leaves(supervisor):
    """A supervisor that does not answer cannot hold anybody."""
    client = []

    def behave(job):
        job.send("accepted", job=1)
        until_listening(client)
        for _ in range(2):
            client[0].send_signal(signal.SIGINT)
            job.next()
        client[0].send_signal(signal.SIGINT)
        with pytest.raises(EOFError):
            job.next()

    supervisor.behave = behave
    client.append(supervisor.start("x"))
    _out, err = client[0].communicate(timeout=10)
    assert client[0].returncode == 130
    assert b"interrupted three times" in err


def test_an_ignored_signal_stays_ignored(supervisor, client):
    """nohup means: the hangup is not for us, so it is not for the job."""
    seen, started = [], []

    def behave(job):
        job.send("accepted", job=1)
        until_listening(started)
        started[0].send_signal(signal.SIGHUP)
        started[0].send_signal(signal.SIGTERM)
        seen.append(job.next())
        job.send("result", status=0, line="", json="{}")

    supervisor.behave = behave
    script = 'trap "" HUP; exec "$0" run -- x'
    started.append(subprocess.Popen(["sh", "-c", script, client], env=supervisor.environment))
    assert started[0].wait(10) == 0
    assert seen == ["signal TERM"]


def test_stop_and_continue_reach_the_job(supervisor):
    """Ctrl-Z stops both, fg brings both back."""
    seen, client = [], []

    def behave(job):
        job.send("accepted", job=1)
        until_listening(client)
        client[0].send_signal(signal.SIGTSTP)
        seen.append(job.next())
        stat = Path(f"/proc/{client[0].pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
        client[0].send_signal(signal.SIGCONT)
        seen.append(job.next())
        job.send("result", status=0, line="", json="{}")

    supervisor.behave = behave
    client.append(supervisor.start("x"))
    client[0].communicate(timeout=10)
    assert client[0].returncode == 0
    assert seen == ["signal TSTP", "signal CONT"]
