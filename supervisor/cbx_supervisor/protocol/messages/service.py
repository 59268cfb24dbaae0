"""What is answered about the supervisor itself: settings, audit, status, errors."""

from __future__ import annotations

from typing import Any

from cbx_supervisor.protocol.messages.base import Answer


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


class SettingsChanged(Answer, frozen=True):
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


class IncidentsShown(Answer, frozen=True):
    """Entries of the audit trail, the newest first."""

    incidents: list[AuditEntry]


class Incident(Answer, frozen=True, forbid_unknown_fields=False):
    """What was to see of a running job. Further members: processes, mounts, counters, as the kernel told of them."""

    job: int
    uid: int
    at: float
    what: str
    frozen: bool
    evidence: str
    log: str | None


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
    places: dict[str, Any] | None
    health: dict[str, Any]
    utilisation: Utilised
    attention: list[Attention]
    settings: SettingsState
    rules: dict[str, Any]
    redaction: dict[str, Any]
    limits: dict[str, int]


class Problem(Answer, frozen=True):
    """An error, RFC 9457. ``exit_status`` is what the command line ends with because of it."""

    type: str
    title: str
    status: int
    detail: str | None
    hint: str | None
    exit_status: int
