"""What travels over the HTTP socket: bodies of requests and answers, each as one type.

The OpenAPI description is generated from these, and tests hold real answers against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cbx_supervisor.model.attempt import Attempt
from cbx_supervisor.model.prediction import Prediction
from cbx_supervisor.model.result import Who

Signal = Literal["ALRM", "CONT", "HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "TSTP", "USR1", "USR2", "WINCH"]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request may say."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is answered."""


# ── requests ──


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


Resolution = Literal["abort", "ours", "theirs", "merge"]


class Commit(Body, frozen=True):
    """How to commit a checkpoint: paths are absolute, and each stands for what is beneath it, too."""

    allow_privileged: bool = False
    on_conflict: Resolution = "abort"
    resolve: dict[str, Resolution] = {}
    only: list[str] = []
    without: list[str] = []
    dry_run: bool = False


class Mark(Body, frozen=True):
    """A pin keeps a checkpoint until somebody decides; what is not given stays."""

    pinned: bool | None = None
    label: Annotated[str, Meta(max_length=200)] | None = None


class Nothing(Body, frozen=True):
    """The request says nothing."""


# ── answers ──


class Unfinished(Answer, frozen=True):
    """A job that is not over: its result as far as it is known."""

    job: int
    command: str
    state: str
    exit_code: None
    signal: None
    reason: None
    status: None
    tier: str | None
    identity: Who
    workdir: str
    submitted: str | None
    message: str
    prediction: Prediction | None = None
    attempts: tuple[Attempt, ...] = ()


class Submitted(Answer, frozen=True):
    """The job is on disk. ``duplicate``: it was already, by this idempotency key."""

    job: int
    state: str
    duplicate: bool


class SubmittedTogether(Answer, frozen=True):
    """All of them are on disk, in the order in which they were asked for."""

    jobs: list[Submitted]


class Jobs(Answer, frozen=True):
    """Jobs, the newest first."""

    jobs: list[dict[str, Any]]


class Cancelled(Answer, frozen=True):
    """Whether there was something to cancel."""

    job: int
    state: str
    cancelled: bool


class Steered(Answer, frozen=True):
    """Whether the job could be paused, resumed or put elsewhere; it could not if it is over, or already is."""

    job: int
    state: str
    changed: bool


class QueueShown(Answer, frozen=True):
    """How jobs are started now, and how many wait."""

    strategy: str
    paused: bool
    draining: bool
    preemption: bool
    running: int
    waiting: int
    frozen: list[int]


class Signalled(Answer, frozen=True):
    """Whether there was something to signal."""

    job: int
    state: str
    signalled: bool


class Waited(Answer, frozen=True):
    """One thing that a job waits for."""

    kind: str
    text: str


class Why(Answer, frozen=True):
    """What a job waits for."""

    job: int
    state: str
    live: bool
    waits_for: list[Waited]


class Happened(Answer, frozen=True):
    """The data of an event: a job is in this state now. ``status`` is what a client exits with, once it is over."""

    job: int
    state: str
    uid: int
    status: int | None


class Output(Answer, frozen=True):
    """The data of an event: bytes that an attempt of a job has written, as base64; ``over``: the job is, too."""

    attempt: int
    data: bytes
    over: bool


class Pool(Answer, frozen=True):
    """The slots of one tier."""

    tier: str
    running: int
    slots: int
    waiting: int


class Counted(Answer, frozen=True):
    """A resource that the configuration counts."""

    name: str
    used: int
    size: int
    waiting: int


class Pools(Answer, frozen=True):
    """The slots of all tiers, and the resources that are counted."""

    pools: list[Pool]
    resources: list[Counted]
    running: int
    total: int


class Breaker(Answer, frozen=True):
    """Failures in a row of a user's program with one host; ``seconds`` until an open breaker is tried again."""

    uid: int
    name: str
    state: Literal["closed", "open", "half-open"]
    failures: int
    seconds: float | None


class BreakersShown(Answer, frozen=True):
    """The breakers that remember a failure."""

    breakers: list[Breaker]


class Lock(Answer, frozen=True):
    """One lock; owners below zero are commits of checkpoints."""

    owner: int
    mode: str
    device: int
    path: str


class Locks(Answer, frozen=True):
    """The locks that are held."""

    locks: list[Lock]


class CheckpointShown(Answer, frozen=True):
    """A checkpoint."""

    id: int
    state: str
    job: int
    command: str | None
    uid: int
    created: str
    decided: str | None
    changes: dict[str, int] | None
    targets: list[str]
    message: str
    pinned: bool
    label: str
    expires: str | None


class Conflict(Answer, frozen=True):
    """A path that somebody else changed: what told, when by its file system's clock, and what would be done."""

    path: str
    change: str
    reason: str
    proof: str
    at_ns: int | None
    seconds_after_start: float | None
    resolution: Resolution
    why: str
    path_base64: str | None = None
    change_base64: str | None = None


class SavepointShown(Answer, frozen=True):
    """A moment to go back to."""

    name: str
    at: str


class TransactionShown(Answer, frozen=True):
    """A transaction. ``state`` is open, or what became of its checkpoint, which has the same number."""

    id: int
    state: str
    uid: int
    label: str
    directories: list[str]
    begun: str
    touched: str
    expires: str | None
    running: int | None
    savepoints: list[SavepointShown]
    steps: list[dict[str, Any]]
    message: str


class Transactions(Answer, frozen=True):
    """Transactions, the newest first."""

    transactions: list[TransactionShown]


class CheckpointPreview(Answer, frozen=True):
    """What a commit would make, leave out for what is there, and leave waiting."""

    changes: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    left: list[dict[str, Any]]
    conflicts: list[Conflict]
    refused: str


class Taken(Answer, frozen=True):
    """Bytes on disk of one checkpoint that waits."""

    id: int
    uid: int
    bytes: int
    pinned: bool


class CheckpointUsage(Answer, frozen=True):
    """What held checkpoints take on disk, the largest first, and what is free where they are kept."""

    checkpoints: list[Taken]
    users: dict[str, int]
    bytes: int
    free: int


class OperationShown(Answer, frozen=True):
    """A commit, an undo or a redo. ``paths`` are the first of those that it changed, of ``more`` than that.

    ``undoable``: what it replaced is kept, as far as is known. ``under``: checkpoints that changed the same later on,
    which have to be undone before.
    """

    id: int
    at: str
    kind: Literal["commit", "undo", "redo"]
    uid: int
    checkpoint: int
    state: str
    job: int
    command: str | None
    changes: dict[str, int] | None
    paths: list[str]
    more: int
    undoable: bool
    under: list[int]


class Operations(Answer, frozen=True):
    """What was done to the live tree through checkpoints, the newest first."""

    operations: list[OperationShown]


class CheckpointRemoved(Answer, frozen=True):
    """It is forgotten."""

    id: int
    removed: bool


class Checkpoints(Answer, frozen=True):
    """Checkpoints, the newest first."""

    checkpoints: list[CheckpointShown]


class SettingsState(Answer, frozen=True):
    """Where the settings come from and what is wrong with them."""

    directory: str
    needs_restart: list[str]
    problem: str | None


class Config(Answer, frozen=True):
    """The settings in force, by their dotted names."""

    settings: dict[str, Any]
    state: SettingsState


class Change(Answer, frozen=True):
    """A setting that is another one now, or would be after a reload."""

    key: str
    before: Any
    after: Any
    needs_restart: bool


class Changes(Answer, frozen=True):
    """What a reload changed, or would change."""

    changed: list[Change]


class AuditEntry(Answer, frozen=True):
    """Who did what. ``record`` is the detail as it was hashed, ``previous`` and ``hash`` chain the entry: SHA-256."""

    id: int
    at: float
    uid: int | None
    pid: int | None
    action: str
    subject: str
    detail: dict[str, Any]
    record: str
    previous: str
    hash: str


class Audit(Answer, frozen=True):
    """Entries of the audit trail, the newest first, or those ``after`` one, the oldest first.

    ``last`` is the highest number that was ever given.
    """

    entries: list[AuditEntry]
    last: int


class Utilised(Answer, frozen=True):
    """Slot-seconds since the supervisor's start, while jobs waited; ``share`` is busy over busy and idle."""

    busy: float
    idle: float
    backlogged: float
    share: float


class Attention(Answer, frozen=True):
    """A job that ended in a way that a person has to look at."""

    job: int
    uid: int
    since: str
    why: str


class Status(Answer, frozen=True):
    """The supervisor and its load, and what waits for a person."""

    supervisor: dict[str, Any]
    jobs: dict[str, int]
    utilisation: Utilised
    attention: list[Attention]
    settings: SettingsState
    rules: dict[str, Any]
    limits: dict[str, int]


class Problem(Answer, frozen=True):
    """An error, RFC 9457. ``exit_status`` is what the command line ends with because of it."""

    type: str
    title: str
    status: int
    detail: str | None
    hint: str | None
    exit_status: int
