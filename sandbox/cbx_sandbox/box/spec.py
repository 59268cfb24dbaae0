"""What the supervisor tells the launcher about one job. Plain JSON objects: the launcher and init import little."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

# Behind the name of a filter: what it has no group for is allowed and written to the audit log.
LOGGED = "+log"
# Netlink's packet rules, too: for a job that may change the host's network.
RULES = "+rules"


class LimitSpec(TypedDict):
    """Limits of one job; None is unlimited. Bytes, seconds, cores."""

    memory: int | None
    swap: int | None
    cpus: float | None
    pids: int | None
    io_bytes_per_second: int | None
    nofile: int
    fsize: int | None
    layer_bytes: int | None
    timeout: float | None
    kill_after: float


class IdentitySpec(TypedDict):
    """Credentials of the payload. ``shifted``: root of a user namespace whose ids mean nothing outside.

    ``capabilities``: what is kept beside that, by number.
    ``instead_of``: the uid and gid of the submitter that a job user works for. Its files belong to the job user where
    an operation says so.
    """

    uid: int
    gid: int
    groups: list[int]
    shifted: bool
    instead_of: NotRequired[list[int]]
    capabilities: NotRequired[list[int]]


class PlacementSpec(TypedDict):
    """Where a job runs and what it weighs (cbx_sandbox/placement); None is as usual.

    ``fixed`` names what a filter keeps as it is: "cpus", "nodes" (where no cpuset does) and "io".
    """

    cpus: list[int] | None
    nodes: list[int] | None
    nice: int | None
    cpu_weight: int | None
    io_weight: int | None
    fixed: list[str]


class TerminalSpec(TypedDict):
    """Size of the private terminal."""

    rows: int
    columns: int


class BoxSpec(TypedDict):
    """One job, as the launcher starts it.

    ``job`` names the cgroup: making it is the token of the start. Descriptors travel beside the object, in the order
    of ``descriptors``: "stdin", "stdout", "stderr", "lease", "log" (instead of the two that are written, at most
    ``log_bytes``), "user" (the loan of a job user), "reads" (a memory file for what is read through the mounts at
    ``reads``) and one "lock:PATH" for each locked directory, "show:PATH" for each that is only to be seen.
    ``operations`` are executed in order (box/operations); ``writable`` are the paths of the Landlock write rules, in
    the view of the job. ``landlock`` is the ABI to use, 0 for none; ``tcp`` is False where no port may be used at all.
    ``seccomp`` names the filter (box/profiles), "" for none. ``placement`` is there if something of it is asked for.
    ``shared`` names namespaces that are the host's ("pid", "uts", "ipc"); ``signals``: Landlock lets signals out.
    """

    job: str
    argv: list[str]
    environment: dict[str, str]
    workdir: str
    identity: IdentitySpec
    limits: LimitSpec
    network: str
    own_network: bool
    terminal: TerminalSpec | None
    descriptors: list[str]
    operations: list[dict[str, Any]]
    writable: list[str]
    record: str
    landlock: int
    tcp: bool
    seccomp: str
    log_bytes: NotRequired[int]
    reads: NotRequired[list[str]]
    placement: NotRequired[PlacementSpec]
    hostname: NotRequired[str]
    shared: NotRequired[list[str]]
    signals: NotRequired[bool]
