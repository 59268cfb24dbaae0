"""Cases 120, 128, 129: daemons of the host that could be asked to act for a job, and what Landlock keeps from them.

The daemons are stand-ins of the tests' own, where the real ones listen: each does what it is told, with its rights. A
deed is a file that only the stand-in can have made.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import pytest
from tests.root.box.harness import CONDITIONAL, DANGEROUS, NOBODY, ROOT, SAFE, SEQUENTIAL, native, python, without

from cbx_sandbox.box import operations as ops
from cbx_sandbox.linux.landlock import ABI_SCOPES, ABI_TCP
from cbx_sandbox.policy import NetworkMode

pytestmark = [pytest.mark.root, pytest.mark.vm]

IDENTITIES = pytest.mark.parametrize("identity", [ROOT, NOBODY], ids=["root", "user"])

# Where they listen: below a directory of the test's own that stands for the place named first; "@" is abstract.
PLACES = {
    "docker": ("/run", "docker.sock"),
    "containerd": ("/run", "containerd/containerd.sock"),
    "system bus": ("/run", "dbus/system_bus_socket"),
    "systemd": ("/run", "systemd/private"),
    "session bus": ("/run", "user/0/bus"),
    "gpg-agent in run": ("/run", "user/0/gnupg/S.gpg-agent"),
    "gpg-agent": ("/var/tmp", ".gnupg/S.gpg-agent"),
    "ssh-agent": ("/tmp", "ssh-XXXXXX/agent.1"),
    "tmux": ("/tmp", "tmux-0/default"),
    "X11": ("/tmp", ".X11-unix/X0"),
    "X11, abstract": ("@", "/tmp/.X11-unix/X0"),
    "Gradle": ("/var/tmp", ".gradle/daemon.sock"),
    "database": ("/tmp", ".s.PGSQL.5432"),
}


class Deputies:
    """Stand-ins for all of ``PLACES``; every connection that says "act" has a file made."""

    def __init__(self) -> None:
        self.directories = {
            place: tempfile.mkdtemp(prefix="cbx-test-", dir=place) for place in ("/run", "/tmp", "/var/tmp")
        }
        self.deeds = f"{self.directories['/var/tmp']}/deeds"
        os.mkdir(self.deeds, 0o700)
        self.addresses: dict[str, str] = {}
        self.listening: dict[str, socket.socket] = {}
        self.threads: list[threading.Thread] = []
        for name, (place, path) in PLACES.items():
            self.addresses[name] = self._address(place, path)
            self.listening[name] = socket.socket(socket.AF_UNIX)
            self.listening[name].bind(self.addresses[name])
            if place != "@":
                os.chmod(self.addresses[name], 0o777)
            self.listening[name].listen()
            self.threads.append(threading.Thread(target=self._serve, args=(name,), daemon=True))
            self.threads[-1].start()

    def _address(self, place: str, path: str) -> str:
        if place == "@":
            return f"\0{os.path.basename(self.deeds)}-{os.getpid()}{path}"
        os.chmod(self.directories[place], 0o755)
        address = f"{self.directories[place]}/{path}"
        os.makedirs(os.path.dirname(address), exist_ok=True)
        return address

    def _serve(self, name: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening[name].accept()
                with connection, contextlib.suppress(OSError):
                    if connection.recv(16) == b"act":
                        open(f"{self.deeds}/{name}", "w", encoding="ascii").close()
                        connection.sendall(b"done")

    def acted(self) -> set[str]:
        """Who did what it was told, since it was last asked."""
        found = set(os.listdir(self.deeds))
        for name in found:
            os.unlink(f"{self.deeds}/{name}")
        return found

    def attack(self) -> str:
        """Ask every one of them."""
        return f"""
def ask(address):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(address)
        s.sendall(b"act")
        assert s.recv(16) == b"done"
for name, address in {self.addresses!r}.items():
    attempt(name, lambda: ask(address))
say()
"""

    def close(self) -> None:
        """Nobody listens any more."""
        for listening in self.listening.values():
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for thread in self.threads:
            thread.join()  # with another thread alive nobody can go back to his old mounts (setns(2))
        for directory in self.directories.values():
            shutil.rmtree(directory)


@pytest.fixture(scope="module")
def deputies(own_mounts):
    """Stand-ins for the daemons of a host."""
    made = Deputies()
    yield made
    made.close()


IN_RUN = {name for name, (place, _) in PLACES.items() if place == "/run"}
ABSTRACT = {name for name, (place, _) in PLACES.items() if place == "@"}
ELSEWHERE = set(PLACES) - IN_RUN - ABSTRACT


def test_case_129_control_natively_every_deputy_acts(deputies):
    """For whoever asks: that is what the boxes are held against."""
    assert set(native(python(deputies.attack()), uid=NOBODY.uid).answers.values()) == {"done"}
    assert deputies.acted() == set(PLACES)


@IDENTITIES
@pytest.mark.parametrize("network", list(NetworkMode))
def test_case_129_what_only_reads_reaches_no_deputy(box, deputies, identity, network):
    """It gets no local socket at all; without filter, private /run, network and Landlock each of them acts."""
    answers = box.attack(deputies.attack(), box.policy(SAFE, identity=identity, network=network))
    assert set(answers.values()) == {"EAFNOSUPPORT"}
    assert deputies.acted() == set()
    policy = box.policy(SAFE, identity=identity, network=NetworkMode.HOST)
    box.attack(deputies.attack(), policy, seccomp=False, landlock=False, alter=without(ops.RunDirectory))
    assert deputies.acted() == set(PLACES)


@IDENTITIES
def test_case_128_129_below_overlays_nobody_answers(box, deputies, identity):
    """DANGEROUS: the files of the sockets are there, the daemons are not; abstract ones are in another namespace."""
    answers = box.attack(deputies.attack(), box.policy(DANGEROUS, identity=identity))
    assert {answers[name] for name in ELSEWHERE | ABSTRACT} == {"ECONNREFUSED"}
    assert {answers[name] for name in IN_RUN} == {"ENOENT"}
    assert deputies.acted() == set()


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL])
@pytest.mark.parametrize("network", list(NetworkMode))
def test_case_129_elsewhere_sockets_outside_run_are_in_reach_and_said_to_be(box, deputies, tier, network):
    """What the result calls missing (no-deputies) is what is missing, and no more: not /run, not abstract sockets."""
    directory = box.sacrifice(mode=0o777)
    grants = {"direct" if tier is CONDITIONAL else "overlay": [directory]}
    policy = box.policy(tier, identity=NOBODY, network=network, **grants)
    answers = box.attack(deputies.attack(), policy)
    assert {answers[name] for name in IN_RUN} == {"ENOENT"}
    assert {answers[name] for name in ELSEWHERE} == {"done"}
    scoped = box.ready.landlock >= ABI_SCOPES
    if network is not NetworkMode.HOST:
        assert {answers[name] for name in ABSTRACT} <= {"EPERM", "ECONNREFUSED"}
    else:
        assert {answers[name] for name in ABSTRACT} == ({"EPERM"} if scoped else {"done"})
    expected = ELSEWHERE if scoped or network is not NetworkMode.HOST else ELSEWHERE | ABSTRACT
    assert deputies.acted() == expected


def test_case_120_without_its_scopes_the_host_s_abstract_sockets_answer(box, deputies):
    """The control for a job with the host's network: the same without Landlock."""
    directory = box.sacrifice(mode=0o777)
    policy = box.policy(CONDITIONAL, identity=NOBODY, network=NetworkMode.HOST, direct=[directory])
    box.attack(deputies.attack(), policy, landlock=False)
    assert deputies.acted() == ELSEWHERE | ABSTRACT


# ── Landlock by itself: where other layers would hide what it does ──

CONFINE = """
import json, os, signal, socket, sys
from cbx_sandbox.linux import landlock, privileges
abi, tcp, port, name, pid = int(sys.argv[1]), sys.argv[2] == "tcp", int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
privileges.no_new_privs()
if abi:
    root = os.open("/", os.O_PATH)
    landlock.restrict(abi, [root], tcp=tcp)
answers = {}
def attempt(what, call):
    try:
        call()
        answers[what] = "done"
    except OSError as error:
        answers[what] = error.errno
def listening():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
def own():
    child = os.fork()
    if child == 0:
        signal.pause()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
def own_abstract():
    s, c = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    s.bind("\\0" + name + "-own")
    s.listen()
    c.connect("\\0" + name + "-own")
attempt("signal", lambda: os.kill(pid, signal.SIGUSR1))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0" + name))
attempt("connect", lambda: socket.socket().connect(("127.0.0.1", port)))
attempt("bind", listening)
attempt("own signal", own)
attempt("own abstract", own_abstract)
print(json.dumps(answers))
"""


@pytest.mark.parametrize("abi", [0, 1, 3, ABI_TCP, ABI_SCOPES, 7])
@pytest.mark.parametrize("tcp", ["tcp", "no-tcp"])
def test_case_120_what_each_version_of_landlock_takes_away(box, abi, tcp):
    """Signals and abstract sockets to the outside (6), ports (4); never those of the job's own. 0 is the control."""
    abi = min(abi, box.ready.landlock)  # an older kernel is held to what it has
    name = f"cbx-test-scope-{os.getpid()}"
    with socket.socket() as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        abstract.bind(f"\0{name}")
        abstract.listen()
        outside = subprocess.Popen(["sleep", "600"])
        try:
            words = [str(abi), tcp, str(listening.getsockname()[1]), name, str(outside.pid)]
            ran = subprocess.run([sys.executable, "-c", CONFINE, *words], capture_output=True, text=True, check=True)
            hit = outside.poll() is not None or (abi < ABI_SCOPES and outside.wait(30) == -signal.SIGUSR1)
        finally:
            outside.kill()
            outside.wait()
    scoped, ported = abi >= ABI_SCOPES, abi >= ABI_TCP and tcp == "no-tcp"
    outer = 1 if scoped else "done"
    port = 13 if ported else "done"
    expected = {"signal": outer, "abstract": outer, "connect": port, "bind": port}
    assert json.loads(ran.stdout) == expected | {"own signal": "done", "own abstract": "done"}
    assert hit == (not scoped)
