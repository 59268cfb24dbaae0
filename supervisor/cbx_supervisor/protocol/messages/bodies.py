"""What requests may say."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from cbx_supervisor.protocol.messages.base import Body

Signal = Literal["ALRM", "CONT", "HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "TSTP", "USR1", "USR2", "WINCH"]
Resolution = Literal["abort", "ours", "theirs", "merge"]


class Submit(Body, frozen=True):
    """A job that nobody waits for: a program with its arguments, or a shell line; options as those of ``run``.

    Its working directory and its environment are what is said here, nothing of the supervisor's or of the caller's.
    """

    cwd: str
    argv: list[str] = []
    line: str | None = None
    env: dict[str, str] = {}
    tier: str | None = None
    timeout: float | None = None
    kill_after: float | None = None
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    cpus_allowed: str | None = None
    mems_allowed: str | None = None
    nice: Annotated[int, Meta(ge=-20, le=19)] | None = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10_000)] | Literal["idle"] | None = None
    io_weight: Annotated[int, Meta(ge=1, le=10_000)] | Literal["idle"] | None = None
    network: Literal["none", "host"] | None = None
    rw: list[str] = []
    ro: list[str] = []
    hide: list[str] = []
    tmpfs: list[str] = []
    commit: Literal["auto", "hold", "never"] | None = None
    priority: str | None = None
    after: list[int] = []
    retries: Annotated[int, Meta(ge=0, le=100)] | None = None
    resource: list[str] = []
    session: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    unordered: bool = False
    user: str | None = None
    strict: bool = False
    observe: bool = False
    yes: bool = False
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    transaction: int | None = None


class Begin(Body, frozen=True):
    """What a transaction may change: directories, by absolute paths."""

    directories: Annotated[list[str], Meta(min_length=1, max_length=64)]
    label: Annotated[str, Meta(max_length=200)] = ""


class SavepointName(Body, frozen=True):
    """A savepoint; of several with one name the last one is meant."""

    name: str


class Batch(Body, frozen=True):
    """Jobs that are taken all or none; those without an environment of their own have this one."""

    jobs: Annotated[list[Submit], Meta(min_length=1, max_length=10_000)]
    env: dict[str, str] = {}


class Cancel(Body, frozen=True):
    """Ask with SIGTERM, or end at once; the reason is written down."""

    signal: Literal["TERM", "KILL"] = "TERM"
    reason: Annotated[str, Meta(max_length=500)] = ""


class Priority(Body, frozen=True):
    """What the job is to count as; critical is root's and admins' to give."""

    priority: Literal["critical", "high", "normal", "low", "deferred"]


class Queue(Body, frozen=True):
    """What is not given stays."""

    strategy: Literal["weighted-round-robin", "shortest-first", "resource-aware", "critical-path"] | None = None
    paused: bool | None = None
    draining: bool | None = None


class Move(Body, frozen=True):
    """Where to put a job that waits, in its line: first, last, or before another job."""

    first: bool = False
    last: bool = False
    before: Annotated[int, Meta(ge=1)] | None = None


class ResetBreaker(Body, frozen=True):
    """The breaker's name as it is listed, and whose it is: the caller's own if that is not said."""

    name: Annotated[str, Meta(min_length=1, max_length=1000)]
    uid: Annotated[int, Meta(ge=0)] | None = None


class Kill(Body, frozen=True):
    """A signal for the job's processes; KILL ends all of them at once."""

    signal: Signal = "KILL"


class Commit(Body, frozen=True):
    """How to commit a checkpoint: paths are absolute, and each stands for what is beneath it, too."""

    allow_privileged: bool = False
    on_conflict: Resolution = "abort"
    resolve: dict[str, Resolution] = {}
    only: list[str] = []
    without: list[str] = []
    in_place: list[str] = []
    dry_run: bool = False


class Mark(Body, frozen=True):
    """A pin keeps a checkpoint until somebody decides; what is not given stays."""

    pinned: bool | None = None
    label: Annotated[str, Meta(max_length=200)] | None = None


class Nothing(Body, frozen=True):
    """The request says nothing."""
