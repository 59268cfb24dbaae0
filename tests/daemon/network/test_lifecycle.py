"""Limits, published ports and ends: a relay lives as long as its job, and leaves nothing of it on the host."""

from __future__ import annotations

import json
import os
import signal

import pytest
from tests.daemon.conftest import PATIENCE, until
from tests.daemon.law.conftest import PYTHON, opened
from tests.daemon.network import conftest as the

from cbx_sandbox.network.keeper import RELAY_ID

pytestmark = pytest.mark.root


def relays(world):
    """The relays that run on the test's host."""
    inode = os.stat(world.host.partition("=")[2]).st_ino
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == inode and _uid(pid) == RELAY_ID:
                found.append(int(pid))
        except OSError:
            continue
    return found


def _uid(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("Uid:")).split()[1])


WAITING = """
import os, time
say(connect('web.test', 80))
sys.stdin.read()
say(connect('web.test', 80))
"""


def start(shell, code, *options):
    command = ["run", "--tier", "safe", "--allow-host", "web.test", *options, "--", *the.hidden(code)]
    return shell.start(*command, stdin=-1, stdout=-1)


class TestLimits:
    def test_open_connections(self, own):
        """The first four stay, the next is refused, and there is room again when one ends."""
        own.start("--idle-exit", "60", RESOURCES_NETWORK_CONNECTIONS_MAX="4")
        shell = the.Net(own)
        code = """
held = [socket.create_connection(('web.test', 443)) for _ in range(4)]
for one in held: one.sendall(b'x'); assert one.recv(1) == b'x'
more = connect('web.test', 443, b'y')
held.pop().close()
import time
for _ in range(100):
    again = connect('web.test', 443, b'z')
    if again == 'z': break
    time.sleep(0.05)
say([more, again])
"""
        got, usage = shell.job(["web.test:443"], code)
        shell.close()
        assert got[0] in {"ECONNRESET", "EPIPE", "closed"}
        assert got[1] == "z"
        assert any("more than 4 open connections" in d["why"] for d in usage["decisions"])

    def test_bandwidth(self, own):
        """A second's worth goes at once, what is beyond it waits: 2.5 s for 3.5 s worth, at least."""
        own.start("--idle-exit", "60", NETWORK_BANDWIDTH_MBPS="8")
        shell = the.Net(own)
        code = """
import time
with socket.create_connection(('web.test', 9000)) as made:
    made.sendall(b'3500000')
    began, count = time.monotonic(), 0
    while data := made.recv(65536): count += len(data)
say([count, time.monotonic() - began])
"""
        got, usage = shell.job(["web.test:9000"], code)
        shell.close()
        assert got[0] == 3500000
        assert got[1] > 2.0
        assert usage["received_bytes"] == 3500000
        assert usage["sent_bytes"] == 7

    def test_names(self, net):
        """Who looks up by the thousand is not answered."""
        code = """
answers = {}
for number in range(1100):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(20)
        made.connect(('9.9.9.9', 53))
        made.send(bytes.fromhex('123401000001000000000000') + b'\\x05other\\x04test\\0' + bytes.fromhex('00010001'))
        code = made.recv(512)[3] & 15
        answers[code] = answers.get(code, 0) + 1
say(answers)
"""
        got, usage = net.job(["web.test"], code)
        assert got["2"] > 0
        assert usage["lookups"] == 1100


class TestPublishing:
    SERVER = """
listener = socket.socket()
listener.bind(('0.0.0.0', 7000))
listener.listen()
say('ready')
for _ in range(2):
    connection, peer = listener.accept()
    connection.sendall(b'inside ' + connection.recv(100))
    connection.close()
"""

    def test_case_140_a_port_of_the_job(self, net, world):
        """Reachable where it was published, on the host's loopback, and nowhere else."""
        job = net.start(
            *("run", "--json", "--tier", "safe", "--publish", "7100:7000", "--publish", f"{the.HOST}:7200:7000", "--"),
            *the.hidden(self.SERVER),
            stdout=-1,
        )
        assert job.stdout.readline() == b'"ready"\n'
        asked = [("127.0.0.1", 7100), (the.HOST, 7200), ("127.0.0.1", 7000), ("127.0.0.1", 7200), (the.HOST, 7100)]
        code = the.PRELUDE + f"say([connect(host, port, b'hi') for host, port in {asked!r}])"
        got = json.loads(world.on_host(PYTHON, "-I", "-c", code).stdout)
        out, _err = job.communicate(timeout=PATIENCE)
        assert got == ["inside hi", "inside hi", "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED"]
        result = json.loads(out.splitlines()[-1])
        assert result["usage"]["network"]["published"] == 2
        assert "no-network" in result["guarantees"]["in_force"]

    def test_the_job_reaches_nothing_by_it(self, net):
        done = net.run("--json", "--publish", "7101:7000", *the.hidden(f"say(connect({the.WEB!r}, 80))"))
        assert json.loads(done.stdout.splitlines()[0]) == "ECONNREFUSED"

    def test_refusals(self, net):
        done = net.run("--publish", "80:80", "true", uid=65534)
        assert done.returncode == 126, done.stderr
        assert b"only root may" in done.stderr
        done = net.run("--publish", "7102", "true")
        assert (done.returncode, b"HOSTPORT:PORT" in done.stderr) == (125, True)
        done = net.run("--network", "host", "--publish", "7102:1", "true")
        assert b"exclude each other" in done.stderr


class TestEnds:
    def test_case_144_nothing_is_left_and_nothing_was_changed(self, net, world):
        """A sample: no namespace file, interface, rule or relay on the host, during the job or after it."""
        before = (world.links(), world.ruleset())
        job = start(net, WAITING)
        assert b"hello" in job.stdout.readline()
        assert len(relays(world)) == 1
        assert (world.links(), world.ruleset()) == before == (["lo", "world"], "")
        job.communicate(b"", timeout=PATIENCE)
        for _ in range(20):
            net.job(["web.test"], "say(connect('web.test', 80))")
        until(lambda: not relays(world))
        assert (world.links(), world.ruleset()) == before

    def test_case_139_two_jobs_do_not_meet(self, net):
        """Each has all addresses to itself; what one listens on, it reaches (the control), and the other cannot."""
        listens = """
listener = socket.socket()
listener.bind(('198.19.255.254', 7300))
listener.listen()
socket.create_connection(('198.19.255.254', 7300), 20).close()
say('ready')
sys.stdin.read()
"""
        job = start(net, listens)
        assert job.stdout.readline() == b'"ready"\n'
        got, _ = net.job(["web.test", "0.0.0.0/0:*"], "say(connect('198.19.255.254', 7300))")
        assert got == "ECONNREFUSED"
        job.communicate(b"", timeout=PATIENCE)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_the_supervisor_ends(self, own, world, number):
        """Killed or asked: no relay outlives its job, and the next supervisor serves as the first did."""
        own.start("--idle-exit", "60")
        shell = opened(own)
        job = start(shell, WAITING)
        assert b"hello" in job.stdout.readline()
        relay = relays(world)
        assert len(relay) == 1
        own.process.send_signal(number)
        own.process.wait(60)
        job.kill()  # its lease: init ends the job
        job.communicate(timeout=PATIENCE)
        until(lambda: not relays(world))
        own.start("--idle-exit", "60")
        again = the.Net(own)
        got, _ = again.job(["web.test"], "say(connect('web.test', 80))")
        assert the.WEB in got
        assert (world.links(), world.ruleset()) == (["lo", "world"], "")
        for one in (shell, again):
            one.close()

    def test_case_137_without_its_relay_a_job_has_no_network(self, net, world):
        """It fails closed; the result says what is known of it."""
        job = start(net, WAITING, "--json")
        assert b"hello" in job.stdout.readline()
        for relay in relays(world):
            os.kill(relay, signal.SIGKILL)
        until(lambda: not relays(world))
        out, _ = job.communicate(b"", timeout=PATIENCE)
        answer, result = (json.loads(line) for line in out.splitlines()[-2:])
        assert "hello" not in answer
        assert result["status"] == 0
        assert result["usage"]["network"] is None

    def test_two_supervisors_do_not_collide(self, shared, net, own):
        own.start("--idle-exit", "60")
        other = the.Net(own)
        first, second = (start(shell, WAITING) for shell in (net, other))
        assert [b"hello" in job.stdout.readline() for job in (first, second)] == [True, True]
        for job in (first, second):
            out, _ = job.communicate(b"", timeout=PATIENCE)
            assert b"hello" in out
        other.close()

    def test_the_keeper_is_replaced(self, own, world):
        """A keeper that was killed: the next job has a new one."""
        own.start("--idle-exit", "60")
        shell = the.Net(own)
        shell.job(["web.test"], "say(connect('web.test', 80))")
        children = f"/proc/{own.process.pid}/task/{own.process.pid}/children"
        with open(children) as file:
            keepers = [pid for pid in file.read().split() if b"network.keeper" in _command(pid)]
        assert len(keepers) == 1
        os.kill(int(keepers[0]), signal.SIGKILL)
        until(lambda: _gone(keepers[0]))
        got, _ = shell.job(["web.test"], "say(connect('web.test', 80))")
        assert the.WEB in got
        shell.close()


def _command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def _gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
