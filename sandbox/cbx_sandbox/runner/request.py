"""What a run is planned from: what is asked for, what is configured, what this host can enforce."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from cbx_sandbox.policy import NOWHERE, USUAL_PORTS, CommitMode, Identity, Limits, NetworkMode, Placement
from cbx_sandbox.shell.tiers import Tier


class Options(Struct, frozen=True):
    """What the caller asked for by name; None is "as configured". Sizes in bytes, times in seconds."""

    timeout: float | None = None
    kill_after: float | None = None
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    network: NetworkMode | None = None
    allow_hosts: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    workdir: str | None = None
    set_environment: Mapping[str, str] = field(default_factory=dict)
    clear_environment: bool = False
    writable: tuple[str, ...] = ()
    readonly: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    tier: Tier | None = None
    commit: CommitMode | None = None
    strict: bool = False
    allow_missing: frozenset[str] = frozenset()
    allow_privileged: bool = False
    seccomp_log: bool = False
    pooled: bool = False  # as a job user
    itself: bool = False  # as a user that root named: never as a job user
    host_effects: frozenset[str] = frozenset()
    agreed: bool = False  # to what a check wants to be asked about
    allow_checks: frozenset[str] = frozenset()  # codes of checks that root overrides, or "all"
    viewing: bool = False  # looks around in a checkpoint's view: nothing can be written
    observe: bool = False  # what it reads, and what it changes where that can be looked at
    placement: Placement = NOWHERE
    placed: Placement = NOWHERE  # by the configuration, for what kind of job it is
    within: tuple[str, ...] = ()  # the directories of a transaction: it writes into their layers, and nowhere else


class Watching(enum.StrEnum):
    """Of which jobs is looked at what they read: of those that ask for it, and of more of those with an overlay."""

    NEVER = "never"
    SAMPLED = "sampled"  # those whose turn it is to be looked at
    ALWAYS = "always"


class Request(Struct, frozen=True):
    """A command to run: either a shell line or an argument vector, by whom, where, with which environment."""

    identity: Identity
    cwd: str
    environment: Mapping[str, str]
    argv: tuple[str, ...] | None = None
    line: str | None = None
    options: Options = field(default_factory=Options)
    submitter_is_root: bool = False

    @property
    def text(self) -> str:
        """The command as one line, for people."""
        import shlex  # noqa: PLC0415  # for people only: not on the way to a job

        return self.line if self.line is not None else shlex.join(self.argv or ())


class Defaults(Struct, frozen=True):
    """What is configured: limits for each tier, where predicted network use leads, what allowlists begin with."""

    limits: Mapping[Tier, Limits] = field(default_factory=lambda: dict.fromkeys(Tier, Limits()))
    predicted_network: NetworkMode = NetworkMode.HOST
    allow_hosts: tuple[str, ...] = ()
    host_sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ports: Sequence[int] = USUAL_PORTS
    strict: bool = False
    pooled: bool = False  # jobs run as job users when they do not say so
    observe_every: int = 0  # one in so many runs of a command is looked at, CONDITIONAL ones over an overlay; 0: none
    watch_reads: Watching = Watching.SAMPLED
    placement: Mapping[Tier, Placement] = field(default_factory=lambda: dict.fromkeys(Tier, NOWHERE))


class Places(Struct, frozen=True):
    """Where jobs can be placed: CPUs and memory nodes, and ``by`` what they are held to them: "cpuset" or "seccomp".

    None: it is not known which there are.

    ``missing`` are the weights that count for nothing here, with the reason.
    """

    by: str
    cpus: tuple[int, ...] | None = None
    nodes: tuple[int, ...] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


class HostReport(Struct, frozen=True):
    """What this host can enforce: from the launcher, which tried it.

    ``missing`` maps a limit to the reason; ``unshifted`` says why ids cannot be shifted, None if they can.
    ``places`` is None where the launcher is of an earlier release, and places no job.
    """

    missing: Mapping[str, str] = field(default_factory=dict)
    hybrid: bool = False
    landlock: int = 0
    unshifted: str | None = None
    places: Places | None = None

    @property
    def cpusets(self) -> bool:
        """Whether cpusets hold jobs to their place."""
        return self.places is not None and self.places.by == "cpuset"
