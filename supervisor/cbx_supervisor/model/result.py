"""What is told of a job that is over: the object of ``run --json``, ``show`` and ``wait``."""

from __future__ import annotations

from typing import Any

import msgspec

from cbx_supervisor.model.attempt import Attempt
from cbx_supervisor.model.growth import Growth
from cbx_supervisor.model.prediction import Prediction


class ReasonItem(msgspec.Struct, frozen=True):
    """Why the job was in its tier."""

    code: str
    text: str
    tier: str


class MissingGuarantee(msgspec.Struct, frozen=True):
    """A guarantee that did not hold for this job, and why."""

    name: str
    why: str


class Guarantees(msgspec.Struct, frozen=True):
    """What held while the job ran."""

    in_force: tuple[str, ...] = ()
    missing: tuple[MissingGuarantee, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """What an allowlist decided of a host and port: how often, and what went over it. Port None: a name looked up."""

    host: str
    port: int | None
    protocol: str
    allowed: bool
    why: str = ""
    count: int = 0
    addresses: tuple[str, ...] = ()
    sent_bytes: int = 0
    received_bytes: int = 0


class NetworkUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What went through the job's relay; ``published`` are connections to its published ports."""

    connections: int = 0
    published: int = 0
    refused: int = 0
    lookups: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    decisions: tuple[Decision, ...] = ()
    decisions_left_out: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What the job used. Absent figures are those that this host does not count."""

    wall_seconds: float = 0.0
    cpu_seconds: float | None = None
    memory_peak_bytes: int | None = None
    throttled_seconds: float | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    oom_kills: int | None = None
    pids_peak: int | None = None
    pressure: dict[str, float] | None = None
    network: NetworkUsage | None = None  # of jobs with an allowlist or published ports


class Changes(msgspec.Struct, frozen=True):
    """How much the job changed in its overlays."""

    added: int = 0
    changed: int = 0
    deleted: int = 0
    bytes: int = 0


class CheckpointRef(msgspec.Struct, frozen=True):
    """The job's checkpoint and what became of it."""

    id: int
    state: str


class Who(msgspec.Struct, frozen=True):
    """The submitter."""

    uid: int
    gid: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one job. ``status`` is what the client exits with, the rest is the truth behind it."""

    job: int
    command: str
    state: str
    reason: str
    status: int
    exit_code: int | None = None
    signal: str | None = None
    tier: str | None = None
    reasons: tuple[ReasonItem, ...] = ()
    usage: Usage = Usage()
    guarantees: Guarantees = Guarantees()
    changes: Changes | None = None
    checkpoint: CheckpointRef | None = None
    prediction: Prediction | None = None
    attempts: tuple[Attempt, ...] = ()  # where one job is asked for
    leaks: tuple[Any, ...] = ()
    growth: Growth | None = None  # of its memory, to the end
    identity: Who
    workdir: str
    started: str | None = None
    ended: str | None = None
    message: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Result)


def encode(result: Result) -> bytes:
    """One line of JSON."""
    return _encoder.encode(result)


def decode(raw: bytes | str) -> Result:
    """Read a result that was stored."""
    return _decoder.decode(raw)
