"""Jobs straight through a launcher, without a supervisor; and the same attacks run natively, as controls."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import select
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cbx_sandbox.box import operations as ops
from cbx_sandbox.box import plan
from cbx_sandbox.box.launcher_client import Control, Ended, Failed, LauncherClient, Ready, Reaped, Started, Terminal
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.checkpoint import homes, layers
from cbx_sandbox.environment import DEFAULT_PATH
from cbx_sandbox.linux import mountinfo, removal
from cbx_sandbox.policy import CommitMode, Grant, Identity, Limits, LockMode, NetworkMode, Policy
from cbx_sandbox.shell.tiers import Tier

SCALE = float(os.environ.get("CBX_TIME_SCALE", "1"))
PATIENCE = 30.0 * SCALE  # s for one job: only a hung one takes as long
OUTPUT_BYTES = 64 << 20
SAFE, CONDITIONAL = Tier.SAFE_PARALLEL, Tier.CONDITIONAL_PARALLEL
SEQUENTIAL, DANGEROUS = Tier.SEQUENTIAL_REQUIRED, Tier.DANGEROUS_ISOLATED

PYTHON = ("/usr/bin/python3", "-I", "-S", "-c")
ROOT = Identity(0, 0, (0,), "root", "/root")
NOBODY = Identity(61234, 61234, (61234,), "nobody-here", "/")

# What every attack begins with. `attempt` answers "done" or the name of the error; `say` ends with all answers.
PRELUDE = """
import ctypes, errno, fcntl, json, os, signal, socket, stat, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def syscall(number, *arguments):
    convert = lambda a: ctypes.c_long(a) if isinstance(a, int) else a
    result = libc.syscall(ctypes.c_long(number), *map(convert, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
answers = {}
def attempt(name, call):
    try:
        call()
        answers[name] = "done"
    except OSError as error:
        answers[name] = errno.errorcode.get(error.errno, str(error.errno))
    return answers[name] == "done"
def write(path, text="attack", flags=os.O_WRONLY):
    fd = os.open(path, flags)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
def say(**more):
    answers.update(more)
    print(json.dumps(answers), flush=True)
"""


def python(code: str) -> list[str]:
    """The argument vector of an attack written in Python."""
    return [*PYTHON, PRELUDE + code]


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """A job, or a native control, that has ended."""

    outcome: Outcome
    out: str
    err: str
    missing: dict[str, str]

    @property
    def code(self) -> int | None:
        """The command's own exit code."""
        return self.outcome["exit_code"]

    @property
    def failure(self) -> dict[str, Any] | None:
        """Why the box could not be built."""
        return self.outcome.get("failure")  # type: ignore[return-value]

    @property
    def answers(self) -> dict[str, Any]:
        """What an attack said at its end."""
        assert self.code == 0, (self.outcome, self.out, self.err)
        answers: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return answers


@dataclasses.dataclass(frozen=True, slots=True)
class Native:
    """A control: the same without a box."""

    code: int
    out: str
    err: str

    @property
    def answers(self) -> dict[str, Any]:
        """What an attack said at its end."""
        assert self.code == 0, (self.code, self.out, self.err)
        answers: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return answers


def native(argv: Sequence[str], *, uid: int = 0, stdin: int = subprocess.DEVNULL, **options: Any) -> Native:
    """Run ``argv`` on this machine: aim it at sacrificial files only."""
    who: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    ran = subprocess.run(
        list(argv), stdin=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE, **who, **options
    )
    return Native(ran.returncode, ran.stdout, ran.stderr)


class NotStartedError(Exception):
    """The launcher refused: nothing of the job is left."""


@dataclasses.dataclass(slots=True)
class Job:
    """A job that runs."""

    harness: Harness
    name: str
    pid: int
    control: Control
    missing: dict[str, str]
    group: str  # the name of its groups: its own, or that of the box in waiting that it took
    pipes: dict[str, int]
    lease: int | None
    text: dict[str, bytearray]
    terminal: int | None = None
    outcome: Outcome | None = None
    reaped: Reaped | None = None

    def wait(self, patience: float = PATIENCE) -> Ran:
        """Until it has ended, its output is read, and its groups are gone. Nothing of it may be left."""
        self._until(lambda: self.outcome and self.reaped and not self.pipes, patience)
        self.close()
        assert self.outcome is not None
        self.harness.assert_nothing_left(self)
        out, err = (bytes(self.text[name]).decode(errors="replace") for name in ("stdout", "stderr"))
        return Ran(self.outcome, out, err, self.missing)

    def read_until(self, marker: str, name: str = "stdout", patience: float = PATIENCE) -> str:
        """Until its output holds ``marker``; returns the output so far."""
        self._until(lambda: marker.encode() in self.text[name], patience)
        return bytes(self.text[name]).decode(errors="replace")

    def _until(self, done: Callable[[], Any], patience: float) -> None:
        deadline = time.monotonic() + patience
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, f"{self.name} hangs: {self.outcome}, {self.text}"
            self._step(left)

    def _step(self, patience: float) -> None:
        if self.name in self.harness.reaped:
            patience = 0.0
        watched: list[Any] = [*self.pipes.values(), self.harness.client]
        if self.outcome is None:
            watched.append(self.control)
        ready, _, _ = select.select(watched, [], [], min(patience, 1.0))
        self.harness.receive()
        self.reaped = self.reaped or self.harness.reaped.pop(self.name, None)
        if self.control in ready:
            self._listen()
        for name, fd in list(self.pipes.items()):
            if fd in ready:
                data = os.read(fd, 1 << 20)
                if not data:
                    os.close(self.pipes.pop(name))
                elif len(self.text[name]) < OUTPUT_BYTES:
                    self.text[name] += data

    def _listen(self) -> None:
        try:
            message = self.control.receive()
        except EOFError:
            # Init ended without a word: what the supervisor calls lost.
            self.outcome = Outcome(
                job=self.name, reason="lost", exit_code=None, signal=None, frozen=False, unkillable=0,
                wall_seconds=0.0, usage={},
            )  # fmt: skip
            return
        match message:
            case Terminal(master):
                self.terminal = master
            case Ended(outcome):
                self.outcome = outcome

    def close_output(self) -> None:
        """The reader of its output goes away."""
        for fd in self.pipes.values():
            os.close(fd)
        self.pipes.clear()

    def end_lease(self) -> None:
        """The client is gone."""
        assert self.lease is not None
        os.close(self.lease)
        self.lease = None

    def close(self) -> None:
        """Let go of it."""
        self.control.close()
        for fd in (self.lease, self.terminal):
            if fd is not None:
                os.close(fd)
        self.lease = self.terminal = None


class Harness:
    """A launcher of its own, whose groups are called ``cbx-test-<pid>-<n>``; and a place for sacrifices."""

    numbers = itertools.count()
    checkpoints = itertools.count(os.getpid() * 100_000)  # layers on other mounts lie in a directory that all share

    def __init__(self) -> None:
        self.name = f"cbx-test-{os.getpid()}-{next(self.numbers)}"
        # On the disk's own file system, reachable for every user: layers and their targets lie on one mount.
        self.home = tempfile.mkdtemp(prefix="cbx-test-", dir="/var/tmp")
        os.chmod(self.home, 0o755)
        self.state = f"{self.home}/state"
        os.mkdir(self.state, 0o700)
        self.count = itertools.count(1)
        self.events: dict[str, list[Started | Failed | Reaped]] = {}
        self.reaped: dict[str, Reaped] = {}
        self.placed: list[layers.LayerSpec] = []
        self.jobs: list[Job] = []
        self.client = LauncherClient(self.name)
        self.ready = self._ready()

    def _ready(self) -> Ready:
        select.select([self.client], [], [], PATIENCE)
        ready = self.client.receive()
        assert isinstance(ready, Ready), ready
        return ready

    def close(self) -> None:
        """End what runs, the launcher, and every trace."""
        for job in self.jobs:
            if job.reaped is None:
                job.control.kill()
                job.close()
        self.client.close()
        try:
            self.client.process.wait(PATIENCE)
        finally:
            self.client.process.kill()
            self.client.process.wait()
            left = self.groups_left()
            for path in left:
                for directory, _, _ in os.walk(path, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(directory)
            for layer in self.placed:
                if not plan.below(layer.root, (self.home,)):
                    layers.remove(layer)
            remove(self.home)
        assert not left, f"the launcher left its groups behind: {left}"

    # ── places ──

    def sacrifice(self, name: str = "", mode: int = 0o755) -> str:
        """A new directory that attacks may aim at."""
        path = tempfile.mkdtemp(prefix=f"{name or 'sacrifice'}-", dir=self.home)
        os.chmod(path, mode)
        return path

    def victim(self, text: str = "precious\n", mode: int = 0o666) -> str:
        """A new file that attacks may aim at, in a directory of its own: everybody could write to it."""
        path = os.path.join(self.sacrifice("victim", 0o777), "file")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def view(self) -> plan.HostView:
        """The host as plans see it: the state directory is hidden, and so are layers on other mounts."""
        table = tuple(mountinfo.visible(mountinfo.read()))
        own = [f"{mount.target.rstrip('/')}/{homes.OWN_DIRECTORY}" for mount in table if mount.holds_files]
        return plan.HostView(table, hidden=(self.state, *(path for path in own if os.path.lexists(path))))

    # ── jobs ──

    def policy(
        self,
        tier: Tier = SAFE,
        *,
        identity: Identity = ROOT,
        direct: Sequence[str] = (),
        overlay: Sequence[str] = (),
        shifted: bool | None = None,
        environment: dict[str, str] | None = None,
        workdir: str = "/",
        network: NetworkMode = NetworkMode.NONE,
        host_proc: bool = False,
        hide: Sequence[str] = (),
        readonly: Sequence[str] = (),
        tmpfs: Sequence[str] = (),
        **limits: Any,
    ) -> Policy:
        """What a job may do; the defaults are those of a job that root submits."""
        limits = {"timeout": PATIENCE, "cpus": None} | limits
        grants = [Grant(path, LockMode.X, overlay=False) for path in direct]
        grants += [Grant(path, LockMode.U, overlay=True) for path in overlay]
        dangerous = tier is DANGEROUS
        return Policy(
            tier=tier,
            identity=identity,
            workdir=workdir,
            network=network,
            grants=tuple(grants),
            environment=environment if environment is not None else {"PATH": DEFAULT_PATH, "TMPDIR": ops.TMPDIR},
            limits=Limits(**limits),
            commit=CommitMode.NEVER,
            overlay_all=dangerous,
            shifted=(dangerous and identity.uid == 0) if shifted is None else shifted,
            host_proc=host_proc,
            hide=tuple(hide),
            readonly=tuple(readonly),
            tmpfs=tuple(tmpfs),
        )

    def start(
        self,
        argv: Sequence[str],
        policy: Policy,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        lease: bool = False,
        landlock: bool = True,
        seccomp: bool = True,
        alter: Callable[[list[ops.Operation]], list[ops.Operation]] | None = None,
        alter_spec: Callable[[BoxSpec], None] | None = None,
        go: bool = True,
        before_launch: Callable[[], None] | None = None,
        name: str | None = None,
    ) -> Job:
        """Start a job. ``alter`` switches protections off, for controls; ``before_launch`` runs once all is planned.

        Raises NotStartedError if the launcher refused it.
        """
        number = next(self.count)
        name = name or f"job-{number}"
        self.checkpoint = self._layers(policy)
        places = [plan.OverlayPlace(layer.target, layer.root, layer.redirect_dir) for layer in self.checkpoint]
        locks, locked = self._lock(policy)
        steps = plan.operations(policy, self.view(), places, locked)
        if alter:
            steps = alter(steps)
        given = dict(locks)
        given["stdin"] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if stdin is None else os.dup(stdin)
        pipes, text = {}, {"stdout": bytearray(), "stderr": bytearray()}
        for stream in text:
            if stream == "stdout" and stdout is not None:
                given[stream] = os.dup(stdout)
            else:
                pipes[stream], given[stream] = os.pipe2(os.O_CLOEXEC)
        held = None
        if lease:
            given["lease"], held = os.pipe2(os.O_CLOEXEC)
        spec = plan.spec(
            policy, name, list(argv), steps,
            descriptors=list(given), record=f"{self.state}/record-{number}",
            landlock=self.ready.landlock if landlock else 0, cpusets=self.ready.placement["by"] == "cpuset",
        )  # fmt: skip
        if not seccomp:
            spec["seccomp"] = ""
        if alter_spec:
            alter_spec(spec)
        if before_launch:
            before_launch()
        self.client.launch(spec, list(given.values()))
        for fd in given.values():
            os.close(fd)
        started = self._answer(name)
        if isinstance(started, Failed):
            for fd in (*pipes.values(), *([held] if held is not None else [])):
                os.close(fd)
            raise NotStartedError(f"{started.errno}: {started.text}")
        os.close(started.pidfd)
        group = _group_of(started.pid) or name
        control = Control(started.control)
        if go:
            control.go()
        job = Job(self, name, started.pid, control, started.missing, group, pipes, held, text)
        self.jobs.append(job)
        return job

    def run(self, argv: Sequence[str], policy: Policy | None = None, **options: Any) -> Ran:
        """Run a job to its end."""
        return self.start(argv, policy or self.policy(), **options).wait()

    def attack(self, code: str, policy: Policy | None = None, **options: Any) -> dict[str, Any]:
        """Run an attack written in Python; returns its answers."""
        return self.run(python(code), policy, **options).answers

    def upper(self, target: str) -> str:
        """Where the last job's writes to ``target`` went."""
        return next(layer.upper for layer in self.checkpoint if layer.target == target)

    def written(self, path: str) -> str:
        """Where the last job's overlay keeps ``path``."""
        inside = [layer for layer in self.checkpoint if plan.below(path, (layer.target,))]
        best = max(inside, key=lambda layer: len(layer.target))
        return os.path.join(best.upper, os.path.relpath(path, best.target))

    def _layers(self, policy: Policy) -> list[layers.LayerSpec]:
        view, number = self.view(), next(Harness.checkpoints)
        targets = plan.overlay_targets(policy, view)
        for mount in homes.fresh(targets, self.state, view.mounts):
            homes.claim(mount, self.state)
        placed = layers.place(
            targets, self.state, view.mounts,
            checkpoint=number, redirect_dir=not policy.overlay_all,
        )  # fmt: skip
        for layer in placed:
            layers.create(layer)
        self.placed += placed
        return placed

    def _lock(self, policy: Policy) -> tuple[dict[str, int], list[plan.LockedDirectory]]:
        descriptors, locked = {}, []
        for grant in policy.grants:
            fd = os.open(grant.path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            descriptors[f"lock:{grant.path}"] = fd
            if grant.direct:
                found = os.fstat(fd)
                locked.append(plan.LockedDirectory(grant.path, found.st_dev, found.st_ino))
        return descriptors, locked

    def _answer(self, name: str) -> Started | Failed:
        deadline = time.monotonic() + PATIENCE
        while not self.events.get(name):
            assert time.monotonic() < deadline, f"the launcher does not answer for {name}"
            select.select([self.client], [], [], 1.0)
            self.receive()
        event = self.events[name].pop(0)
        assert isinstance(event, Started | Failed), event
        return event

    def receive(self) -> None:
        """Take in what the launcher says."""
        while (event := self.client.receive()) is not None:
            assert not isinstance(event, Ready)
            if isinstance(event, Reaped):
                # A short job may be over before its start was looked at.
                self.reaped[event.job] = event
            else:
                self.events.setdefault(event.job, []).append(event)

    # ── what is left ──

    def groups(self, job: str) -> list[str]:
        """Every group of the job that exists."""
        return [path for path in self.groups_left() if os.path.basename(path) == job]

    def groups_left(self) -> list[str]:
        """Every group of this launcher, on every hierarchy."""
        found = []
        for mount in mountinfo.read():
            if mount.kind in {"cgroup", "cgroup2"}:
                for directory, _, _ in os.walk(f"{mount.target}/{self.name}"):
                    found.append(directory)  # a generator would race with what it walks
        return found

    def processes(self, job: str) -> list[int]:
        """Processes that live in a group of the job."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{entry}/cgroup", encoding="utf-8") as file:
                    # In a group that is gone nothing lives: a zombie whose new parent is slow to reap it.
                    lines = [line for line in file if not line.endswith(" (deleted)\n")]
                    if any(f"/{self.name}/" in line and f"/{job}/" in line.rstrip() + "/" for line in lines):
                        found.append(int(entry))
        return found

    def assert_nothing_left(self, job: Job) -> None:
        """No group, process or mount of the job."""
        assert job.outcome is not None
        assert job.reaped is not None
        assert job.reaped.leaks == []
        assert (job.reaped.status == 0) == (job.outcome["reason"] != "lost")
        assert job.outcome["unkillable"] == 0
        self.assert_no_trace(job.name)
        self.assert_no_trace(job.group)
        assert not os.path.exists(f"/proc/{job.pid}"), "init is still there"

    def assert_no_trace(self, job: str) -> None:
        """No group, process or mount that tells of the job's name or layers."""
        assert self.groups(job) == []
        assert self.processes(job) == []
        mounts = [mount.target for mount in mountinfo.read() if f"{self.state}/" in mount.root + mount.target]
        assert mounts == []


@contextlib.contextmanager
def launcher() -> Iterator[Harness]:
    """A harness for the time of a with-block."""
    harness = Harness()
    try:
        yield harness
    finally:
        harness.close()


def remove(path: str) -> None:
    """Remove a tree of sacrifices, however deep or odd."""
    parent = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        removal.remove_tree(parent, os.fsencode(os.path.basename(path)))
    finally:
        os.close(parent)
    if os.path.lexists(path):
        shutil.rmtree(path)


def _group_of(pid: int) -> str | None:
    """The name of the groups in which a job's init lives: ``<launcher>/jobs/<name>/init``."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("0::") and "/jobs/" in line:
                return line.rpartition("/jobs/")[2].split("/")[0]
    return None


def without(*kinds: type[ops.Operation]) -> Callable[[list[ops.Operation]], list[ops.Operation]]:
    """Leave steps of these kinds out: a protection switched off, for a control."""
    return lambda steps: [step for step in steps if not isinstance(step, kinds)]


def read(path: str) -> str:
    """The content of a file."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def is_whiteout(path: str) -> bool:
    """True if an overlay's upper layer says here that something was removed."""
    found = os.lstat(path)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
