"""Where cbx keeps things: one lock domain per host, and others for tests.

The client's hot path spells the same few names itself, since importing this costs it time; a test compares the two.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from cbx_sandbox.errors import DeniedError, UsageError


class Paths(NamedTuple):
    """The directories of one lock domain and what is in them."""

    runtime: str = "/run/cbx"
    state: str = "/var/lib/cbx"
    config: str = "/etc/cbx"
    lock: str = "/run/cbx.lock"
    cgroup: str = "cbx"

    @property
    def exec_socket(self) -> str:
        """Where ``run`` sends its descriptors."""
        return f"{self.runtime}/exec.sock"

    @property
    def http_socket(self) -> str:
        """Where everything else is asked, by HTTP."""
        return f"{self.runtime}/cbx.sock"

    @property
    def launcher_socket(self) -> str:
        """Where the launcher waits for the next supervisor."""
        return f"{self.runtime}/launcher.sock"

    @property
    def pid_file(self) -> str:
        """The supervisor's process id, for people."""
        return f"{self.runtime}/supervisor.pid"

    @property
    def redaction(self) -> str:
        """The administrator's own forms of secrets."""
        return f"{self.config}/redaction.d"

    @property
    def rules(self) -> str:
        """The administrator's own rules."""
        return f"{self.config}/rules.d"

    @property
    def jobs(self) -> str:
        """One directory per running job, with its exit record."""
        return f"{self.runtime}/jobs"

    @property
    def database(self) -> str:
        """Jobs, results, checkpoints, audit."""
        return f"{self.state}/cbx.db"

    @property
    def journaled(self) -> str:
        """The number of the audit entry that the system's journal got last."""
        return f"{self.state}/audit.sent"

    @property
    def layers(self) -> str:
        """Overlays' upper directories on the state directory's own file system."""
        return f"{self.state}/layers"

    @property
    def logs(self) -> str:
        """The output of detached jobs."""
        return f"{self.state}/logs"

    @property
    def incidents(self) -> str:
        """What was to see of jobs that had an incident: a file each."""
        return f"{self.state}/incidents"

    @property
    def secrets(self) -> str:
        """What unfinished jobs need and no record may hold: a file for each that has such."""
        return f"{self.state}/secrets"

    @property
    def log_file(self) -> str:
        """The supervisor's own log when it was started by a client."""
        return f"{self.logs}/supervisor.log"

    def log_of(self, job: int, attempt: int = 1) -> str:
        """The output of one attempt of a detached job."""
        return f"{self.logs}/{job}.log" if attempt == 1 else f"{self.logs}/{job}.{attempt}.log"


def from_environment(environment: Mapping[str, str], *, uid: int) -> Paths:
    """The usual places, or where root's CBX_RUNTIME_DIR, CBX_STATE_DIR and CBX_CONFIG_DIR put them.

    A runtime directory of its own is a lock domain of its own, with its own lock file and its own cgroups.
    """
    names = ("CBX_RUNTIME_DIR", "CBX_STATE_DIR", "CBX_CONFIG_DIR")
    moved = {name: environment[name] for name in names if environment.get(name)}
    if moved and uid != 0:
        raise DeniedError(f"cannot use {min(moved)}: only root may move cbx's directories", hint="unset it")
    for name, path in moved.items():
        if not posixpath.isabs(path) or posixpath.normpath(path) != path or path == "/":
            raise UsageError(f"cannot use {name}={path}: it must be a plain absolute path", hint="for example /tmp/cbx")
    paths = Paths()
    if "CBX_RUNTIME_DIR" in moved:
        runtime = moved["CBX_RUNTIME_DIR"]
        import hashlib  # noqa: PLC0415 -- only where something was moved

        digest = hashlib.sha256(os.fsencode(runtime)).hexdigest()[:8]
        paths = paths._replace(runtime=runtime, lock=f"{runtime}/lock", cgroup=f"cbx-{digest}")
    return paths._replace(
        state=moved.get("CBX_STATE_DIR", paths.state), config=moved.get("CBX_CONFIG_DIR", paths.config)
    )
