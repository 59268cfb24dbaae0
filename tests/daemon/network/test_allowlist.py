"""What a job with an allowlist reaches and what it does not; each refusal has a control: the way was open."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.law.conftest import PYTHON, outside
from tests.daemon.network import conftest as the

pytestmark = pytest.mark.root


def decided(usage, allowed):
    return {(d["host"], d["port"], d["protocol"]) for d in usage["decisions"] if d["allowed"] is allowed}


@pytest.fixture
def tools(tmp_path_factory):
    """nft and ip under other names."""
    directory = tmp_path_factory.mktemp("tools")
    for name in ("nft", "ip"):
        shutil.copy(shutil.which(name, path="/usr/sbin:/usr/bin"), directory / f"my-{name}")
    return directory


@pytest.fixture(scope="module")
def open_ways(world):
    """The control of every refusal here: from the host itself each of these targets answers."""
    targets = [(the.WEB, 80), (the.WEB, 22), (the.OTHER, 80), (the.PRIVATE, 80), (the.METADATA, 80), (the.WEB_6, 80)]
    targets += [("other.test", 80), ("rebind.test", 80), ("meta.test", 80), ("evil-web.test", 80)]
    code = the.PRELUDE + f"say([connect(*target) for target in {targets!r}])"
    answers = json.loads(world.on_host(PYTHON, "-I", "-c", code).stdout)
    assert all("hello from" in answer or "SSH-2.0" in answer for answer in answers), answers


@pytest.mark.usefixtures("open_ways")
class TestNames:
    @pytest.mark.vm
    def test_case_131_only_what_is_on_the_list_answers(self, net):
        """Other names, other ports, look-alikes and plain addresses are refused, whatever the spelling."""
        asked = [
            ("web.test", 80), ("WEB.Test", 80), ("web.test.", 80), ("git.test", 22),
            ("web.test", 22), ("web.test", 443), ("other.test", 80), ("evil-web.test", 80), ("web.test.evil.test", 80),
            ("sub.web.test", 80), ("nowhere.test", 80), (the.WEB, 80), (the.OTHER, 80), (the.WEB_6, 80),
        ]  # fmt: skip
        got, usage = net.job(["web.test:80", "git.test:22"], f"say([connect(*target) for target in {asked!r}])")
        assert all("hello from " + the.WEB in answer for answer in got[:3])
        assert got[3].startswith("SSH-2.0")  # a server that speaks first
        assert got[4:6] == ["ECONNREFUSED"] * 2
        assert got[6:11] == ["EAI"] * 5
        assert got[11:] == ["ECONNREFUSED"] * 3
        assert {("web.test", 80, "tcp"), ("git.test", 22, "tcp")} == decided(usage, allowed=True)
        refused = decided(usage, allowed=False)
        assert {("web.test", 22, "tcp"), ("other.test", None, "dns"), (the.OTHER, 80, "tcp")} <= refused
        assert usage["connections"] == 4
        assert usage["received_bytes"] > 4 * 13
        assert usage["lookups"] >= 11

    def test_case_132_an_empty_list_is_nothing(self, net):
        got, usage = net.job([], f"say([connect('web.test', 80), connect({the.WEB!r}, 80)])")
        assert got == ["EAI", "ECONNREFUSED"]
        assert usage["connections"] == 0

    def test_a_wildcard_covers_what_is_below(self, net):
        asked = [("sub.web.test", 80), ("web.test", 80), ("evil-web.test", 80)]
        got, _ = net.job(["*.web.test"], f"say([connect(*target) for target in {asked!r}])")
        assert the.OTHER in got[0]
        assert got[1:] == ["EAI", "EAI"]

    def test_addresses_and_prefixes_are_reached_as_they_are(self, net):
        asked = [(the.WEB, 80), (the.WEB, 22), (the.WEB_6, 80), (the.OTHER, 80), (the.PRIVATE, 80)]
        allow = [f"{the.WEB.rsplit('.', 1)[0]}.0/24:80", "[2606:2800::/32]:80", f"{the.PRIVATE}:80"]
        got, usage = net.job(allow, f"say([connect(*target) for target in {asked!r}])")
        assert ["hello" in answer for answer in got] == [True, False, True, False, True]
        assert (the.PRIVATE, 80, "tcp") in decided(usage, allowed=True)

    def test_a_name_of_ipv6_alone_is_reached(self, net):
        got, _ = net.job(["six.test", "both.test"], "say([connect('six.test', 80), connect('both.test', 80)])")
        assert [the.WEB_6 in answer for answer in got] == [True, True]

    def test_a_set_stands_for_its_hosts(self, own):
        configuration = Path(own.environment["CBX_CONFIG_DIR"])
        configuration.mkdir()
        (configuration / "cbx.toml").write_text(
            '[network]\nallow = ["other.test"]\n[network.sets]\nmine = ["web.test:80"]\n'
        )
        own.start("--idle-exit", "60")
        shell = the.Net(own)
        got, _ = shell.job(
            ["@mine"], "say([connect('web.test', 80), connect('other.test', 80), connect('git.test', 80)])"
        )
        assert [the.WEB in got[0], the.OTHER in got[1], got[2]] == [True, True, "EAI"]
        shell.close()

    def test_what_cannot_be_read_is_refused_with_its_text(self, net):
        for entry in ("http://web.test", "web.test:0", "web.test:http", "@nothing", "a..b", "198.18.0.1", "1.2.3"):
            done = net.run("--allow-host", entry, "true")
            assert done.returncode == 125, entry
            assert entry.encode() in done.stderr
        done = net.run("--network", "none", "--allow-host", "web.test", "true")
        assert b"exclude each other" in done.stderr


@pytest.mark.usefixtures("open_ways")
class TestWhereNamesMayNotLead:
    NAMES = ("rebind.test", "loop.test", "meta.test", "mapped.test")

    @pytest.mark.vm
    def test_case_126_133_an_allowed_name_does_not_lead_inside(self, net):
        """Loopback, private, metadata and the host itself, with everything allowed by name."""
        asked = [(name, 80) for name in (*self.NAMES, "self.test", "mixed.test")]
        asked += [
            (the.METADATA, 80),
            (the.PRIVATE, 80),
            ("127.0.0.1", 80),
            ("0.0.0.0", 80),
            ("::1", 80),
            (the.HOST, 80),
        ]
        allow = ["*:*", "0.0.0.0/0:*", "[::/0]:*"]
        got, usage = net.job(allow, f"say([connect(*target) for target in {asked!r}])")
        assert got[:4] == ["EAI"] * 4
        assert got[4] in {"ECONNRESET", "closed", "EPIPE"}
        assert the.WEB in got[5]  # the address that it may lead to
        assert got[6:11] == ["ECONNREFUSED"] * 5
        assert got[11] in {"ECONNRESET", "closed", "EPIPE"}
        why = {d["host"]: d["why"] for d in usage["decisions"] if not d["allowed"]}
        assert the.PRIVATE in why["rebind.test"]
        assert why["self.test"] == "leads to this host itself"

    def test_an_entry_of_the_address_itself_opens_it(self, net, world):
        """The control: nothing but that rule stood in the way."""
        server = subprocess.Popen(
            world.host_command([PYTHON, "-I", "-m", "http.server", "80", "--bind", the.HOST]),
            cwd=world.directory / "etc/apt",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            code = the.PRELUDE + f"say(connect({the.HOST!r}, 80))"
            until(lambda: b"200 OK" in world.on_host(PYTHON, "-I", "-c", code).stdout)
            asked = "say([connect('self.test', 80)])"
            assert "HTTP/1" in net.job(["self.test", the.HOST], asked)[0][0]
            assert "HTTP/1" not in net.job(["self.test", "8.8.0.0/16"], asked)[0][0]
        finally:
            server.kill()
            server.wait()
        allow = ["rebind.test", the.PRIVATE, "meta.test", f"{the.METADATA}:80"]
        got, _ = net.job(allow, "say([connect('rebind.test', 80), connect('meta.test', 80)])")
        assert [the.PRIVATE in got[0], the.METADATA in got[1]] == [True, True]


@pytest.mark.usefixtures("open_ways")
class TestWaysAround:
    def test_case_134_136_other_protocols_and_resolvers(self, net):
        """No UDP, no ICMP, no raw sockets; whichever resolver is asked, the same one answers."""
        code = """
        query = bytes.fromhex('123401000001000000000000') + b'\\x05other\\x04test\\0' + bytes.fromhex('00010001')
        text = bytes.fromhex('123401000001000000000000') + b'\\x03web\\x04test\\0' + bytes.fromhex('00100001')
        def ask(data, server, kind=socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as made:
                made.settimeout(20)
                made.connect((server, 53))
                if kind == socket.SOCK_STREAM:
                    made.sendall(len(data).to_bytes(2, 'big') + data)
                    made.recv(2)
                else:
                    made.send(data)
                answer = made.recv(512)
            return [answer[3] & 15, answer[7]]
        def raw(*kind):
            try:
                socket.socket(*kind).close()
                return 'made'
            except OSError as error:
                return name(error)
        say([
            ask(query, '9.9.9.9'), ask(query, '127.0.0.53'), ask(query, '8.8.8.8', socket.SOCK_STREAM),
            ask(text, '9.9.9.9'),
            connect('web.test', 443, b'x', socket.SOCK_DGRAM), connect('1.1.1.1', 123, b'x', socket.SOCK_DGRAM),
            raw(socket.AF_INET, socket.SOCK_RAW, 1), raw(socket.AF_PACKET, socket.SOCK_RAW, 0),
        ])
        """
        got, usage = net.job(["web.test:443"], code)
        assert got[:3] == [[3, 0]] * 3  # no such name
        assert got[3] == [0, 0]  # text records of an allowed name: an empty answer
        assert got[4:6] == ["EPERM"] * 2
        assert set(got[6:]) <= {"EPERM", "EAFNOSUPPORT"}
        assert ("1.1.1.1", 123, "udp") in decided(usage, allowed=False)

    CHANGES = (
        ("nft", "flush", "ruleset"),
        ("nft", "add", "rule", "inet", "cbx", "gate", "accept"),
        ("ip", "route", "replace", "default", "dev", "lo", "mtu", "1400"),
        ("ip", "link", "set", "lo", "mtu", "1400"),
    )

    @pytest.mark.parametrize("tier", ["safe", "dangerous"])
    @pytest.mark.parametrize("change", CHANGES, ids="-".join)
    def test_the_rules_cannot_be_changed_from_inside(self, net, tools, tier, change):
        """Root inside has no say in its own network; under names that the analysis does not know."""
        tool, *arguments = change
        done = net.run("--allow-host", "web.test", "--commit", "never", tools / f"my-{tool}", *arguments, tier=tier)
        assert done.returncode not in {0, 125, 126, 127}, done.stderr
        # nft's kind of socket is not there at all, ip's may look and not change.
        assert b"Protocol not supported" in done.stderr if tool == "nft" else b"not permitted" in done.stderr

    def test_the_rules_can_be_changed_where_nothing_forbids_it(self, tools):
        """The control: the same programs, as root of a namespace that is laid out the same."""
        rules = "table inet cbx { chain gate { type filter hook output priority -150; policy drop; }; }"
        for tool, *arguments in self.CHANGES:
            attack = " ".join((str(tools / f"my-{tool}"), *arguments))
            line = f"ip link set lo up && ip route add default dev lo && nft '{rules}' && {attack}"
            assert outside(["unshare", "-n", "sh", "-c", line]).returncode == 0, attack

    @pytest.mark.parametrize(
        ("match", "answer"),
        [("@nh,128,32 0x06060606", "connected"), ("meta nfproto ipv4 ip daddr 6.6.6.6", "ECONNREFUSED")],
        ids=["control", "as-ours"],
    )
    def test_case_138_an_address_of_ipv6_is_not_taken_for_one_of_ipv4(self, match, answer):
        """Where IPv4 has the target IPv6 has bytes of the sender, which a match without a version sees."""
        code = """
import errno, socket
server = socket.socket(socket.AF_INET6)
server.bind(("fd00::606:606:0:1", 0))
server.listen()
try:
    socket.create_connection(server.getsockname()[:2], 20, (server.getsockname()[0], 0))
    print("connected")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
        refuse = "tcp flags & rst == rst accept; meta l4proto tcp reject with tcp reset"
        gate = f"type filter hook output priority 0; {match} accept; {refuse}"
        script = f"""
ip link set lo up && ip address add fd00::606:606:0:1/128 dev lo nodad &&
    nft 'table inet cbx {{ chain gate {{ {gate}; }}; }}' && exec {PYTHON} -I -c '{code}'"""
        done = outside(["unshare", "-n", "sh", "-c", script])
        assert done.stdout.split() == [answer.encode()], done.stderr

    def test_case_135_a_tls_name_that_is_not_allowed(self, net):
        """The connection's name and the one in TLS; what is not TLS passes."""
        hellos = {name: _hello(name).hex() for name in ("web.test", "hidden.test", "WEB.test")}
        code = f"""
hellos = {hellos!r}
def say_hello(server, cut=None):
    data = bytes.fromhex(hellos[server])
    with socket.create_connection(('web.test', 443)) as made:
        try:
            made.sendall(data[:cut] if cut else data)
            if cut: import time; time.sleep(0.2); made.sendall(data[cut:])
            return len(made.recv(65536)) > 0
        except OSError as error:
            return name(error)
say([say_hello('web.test'), say_hello('WEB.test'), say_hello('web.test', 7),
     say_hello('hidden.test'), say_hello('hidden.test', 7),
     connect('web.test', 443, b'no TLS at all')])
"""
        got, usage = net.job(["web.test:443"], code)
        assert got[:3] == [True] * 3
        assert [answer in (False, "ECONNRESET") for answer in got[3:5]] == [True, True]
        assert got[5] == "no TLS at all"
        assert any("hidden.test" in d["why"] for d in usage["decisions"])

    def test_the_control_of_that(self, world):
        """The server itself takes any name."""
        code = (
            the.PRELUDE + f"say(connect({the.WEB!r}, 443, bytes.fromhex({_hello('hidden.test').hex()!r})) != 'closed')"
        )
        assert world.on_host(PYTHON, "-I", "-c", code).stdout.strip() == b"true"

    def test_git_and_curl_by_name(self, net, world):
        """Programs that know nothing of proxies."""
        done = net.call(
            *("run", "--tier", "safe", "--allow-host", "web.test", "--", "bash", "-c"),
            "exec 3<>/dev/tcp/web.test/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
        )
        assert b"hello from " + the.WEB.encode() in done.stdout, done.stderr


def _hello(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
