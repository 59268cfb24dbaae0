"""One job at a time through a launcher of one's own, without a supervisor: for the probes of ``doctor``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
from typing import Self

from cbx_sandbox.box import placing, plan
from cbx_sandbox.box.launcher_client import Control, Ended, Event, Failed, LauncherClient, Ready, Reaped, Started
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.environment import DEFAULT_PATH
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, mountinfo
from cbx_sandbox.policy import NOWHERE, CommitMode, Grant, Identity, Limits, NetworkMode, Placement, Policy
from cbx_sandbox.shell.tiers import Tier

PATIENCE = 90.0  # s for one job
_OUTPUT_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What became of one job."""

    outcome: Outcome
    output: str
    error: str
    leaks: list[str]


class Bench:
    """A launcher, its groups called ``name``; records go to ``directory``."""

    def __init__(self, name: str, directory: str) -> None:
        self.directory = directory
        self.client = LauncherClient(name)
        self.jobs = 0
        ready = self._event()
        assert isinstance(ready, Ready)
        self.ready = ready
        mounts = tuple(mountinfo.visible(mountinfo.read()))
        self.view = plan.HostView(mounts, single_files=mountinfo.single_files(mounts))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        assert self.client.process is not None
        self.client.process.wait()

    def why(self, limit: str, otherwise: str) -> str:
        """Why ``limit`` cannot be enforced: what the launcher knows, else what was seen."""
        return self.ready.missing.get(limit, otherwise)

    def run(
        self,
        argv: list[str],
        tier: Tier = Tier.SAFE_PARALLEL,
        *,
        grants: tuple[Grant, ...] = (),
        places: list[plan.OverlayPlace] | None = None,
        limits: Limits | None = None,
        shifted: bool = False,
        stdin: int | None = None,
        workdir: str = "/",
        network: NetworkMode = NetworkMode.NONE,
        seccomp_log: bool = False,
        placement: Placement = NOWHERE,
    ) -> Trial:
        """Run ``argv`` and wait. Raises CbxError if the box could not be built."""
        policy = Policy(
            tier=tier,
            identity=Identity(0, 0, (0,), "root", "/root"),
            workdir=workdir,
            network=network,
            grants=grants,
            environment={"PATH": DEFAULT_PATH},
            limits=limits or Limits(timeout=PATIENCE),
            commit=CommitMode.NEVER,
            overlay_all=tier is Tier.DANGEROUS_ISOLATED,
            shifted=shifted,
            seccomp_log=seccomp_log,
            placement=placement,
        )
        self.jobs += 1
        record = os.path.join(self.directory, f"record-{self.jobs}")
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        error_read, error_write = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                started = self._launched(policy, argv, places or [], record, (stdin, out_write, error_write))
            finally:
                os.close(out_write)
                os.close(error_write)
            outcome, leaks = self._finish(started)
            error = _read(error_read)
        finally:
            output = _read(out_read)
            os.close(out_read)
            os.close(error_read)
        os.unlink(record)
        if (failure := outcome.get("failure")) is not None and failure["step"] != "exec":
            raise CbxError(f"cannot build a box: {failure['step']}: {failure['text']}")
        return Trial(outcome, output, error, leaks)

    def _launched(
        self,
        policy: Policy,
        argv: list[str],
        places: list[plan.OverlayPlace],
        record: str,
        streams: tuple[int | None, int, int],
    ) -> Started:
        """Have the box built; ``streams`` are its stdin (None: nothing), stdout and stderr."""
        stdin, stdout, stderr = streams
        paths = [grant.path for grant in policy.grants]
        spec = plan.spec(
            policy,
            f"trial-{self.jobs}",
            argv,
            plan.operations(policy, self.view, places, []),
            descriptors=["stdin", "stdout", "stderr", *(f"lock:{path}" for path in paths)],
            record=record,
            landlock=self.ready.landlock,
            cpusets=self.ready.placement["by"] == placing.CPUSET,
        )
        with contextlib.ExitStack() as stack:
            locks = [stack.enter_context(files.directory(path, os.O_PATH)) for path in paths]
            if stdin is None:
                stdin = stack.enter_context(open(os.devnull, "rb")).fileno()
            self.client.launch(spec, [stdin, stdout, stderr, *locks])
            started = self._event()
        if isinstance(started, Failed):
            raise CbxError(f"cannot start a job: {started.text}")
        assert isinstance(started, Started)
        return started

    def _finish(self, started: Started) -> tuple[Outcome, list[str]]:
        os.close(started.pidfd)
        control = Control(started.control)
        try:
            control.go()
            select.select([control], [], [], PATIENCE)
            message = control.receive()
        finally:
            control.close()
        reaped = self._event()
        assert isinstance(message, Ended)
        assert isinstance(reaped, Reaped)
        return message.outcome, reaped.leaks

    def _event(self) -> Event:
        select.select([self.client], [], [], PATIENCE)
        event = self.client.receive()
        if event is None:
            raise CbxError("the launcher does not answer")
        return event


def _read(fd: int) -> str:
    # The job is dead: what it wrote is in the pipe, and a pipe holds no more than this.
    return os.read(fd, _OUTPUT_BYTES).decode(errors="replace")
