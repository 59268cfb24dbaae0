"""What one run may see, touch, reach and use.

The lock set stands in the same object as the mounts made from it: :attr:`Policy.grants` is the only list from
which the lock table, the writable mounts and the Landlock write rules are made, so they cannot disagree.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct

from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.tiers import Tier

T = TypeVar("T")
POOL = "pool"  # in the place of a user's name: whoever of the job users is free
USUAL_PORTS = (80, 443)  # of an allowed host that names none


class LockMode(enum.StrEnum):
    """Modes of a lock: intention to read or write below, read, update (overlay), exclusive, append, cooperative."""

    IS = "IS"
    IX = "IX"
    S = "S"
    U = "U"
    X = "X"
    A = "A"
    C = "C"


class NetworkMode(enum.StrEnum):
    """Where a job's sockets lead: an own namespace, alone or leading to listed hosts; the host's network."""

    NONE = "none"
    HOST = "host"
    ALLOWLIST = "allowlist"


class CommitMode(enum.StrEnum):
    """What happens to an overlay's change set when the command ends."""

    AUTO = "auto"
    HOLD = "hold"
    NEVER = "never"


class Identity(Struct, frozen=True):
    """Who the job is: its submitter."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str = "/bin/sh"


class Limits(Struct, frozen=True):
    """Resource limits; ``None`` means not limited. Sizes in bytes, times in seconds, CPU in cores."""

    memory: int | None = 512 << 20
    swap: int | None = 0
    cpus: float | None = 0.5
    pids: int | None = 512
    io_bytes_per_second: int | None = 100_000_000
    nofile: int = 1024
    fsize: int | None = None
    layer_bytes: int | None = 10 << 30  # of one overlay's changes; never more than a tenth of the free space
    timeout: float | None = 300.0
    kill_after: float = 5.0
    tmp_bytes: int = 256 << 20


class Grant(Struct, frozen=True):
    """One entry of the lock set: a directory, how it is locked, and whether writes go to an overlay over it.

    ``path`` is canonical (no symlinks). ``S`` grants are read locks: they give no right to write.
    """

    path: str
    mode: LockMode
    overlay: bool

    @property
    def direct(self) -> bool:
        """True if the job writes the live directory itself."""
        return self.mode is LockMode.X and not self.overlay


class Placement(Struct, frozen=True, omit_defaults=True):
    """Where a job runs and what it weighs; what is None is left as it is.

    Weights are 1 to 10000, or 0: idle (cbx_sandbox/placement).
    """

    cpus: tuple[int, ...] | None = None
    nodes: tuple[int, ...] | None = None
    nice: int | None = None
    cpu_weight: int | None = None
    io_weight: int | None = None

    def over(self, other: Placement) -> Placement:
        """This one, and what it leaves open as in the other."""
        if other == NOWHERE:
            return self
        return Placement(
            cpus=_first(self.cpus, other.cpus),
            nodes=_first(self.nodes, other.nodes),
            nice=_first(self.nice, other.nice),
            cpu_weight=_first(self.cpu_weight, other.cpu_weight),
            io_weight=_first(self.io_weight, other.io_weight),
        )


NOWHERE = Placement()  # in particular


def _first(own: T | None, other: T | None) -> T | None:
    return other if own is None else own


class Published(Struct, frozen=True):
    """A port of the host's that leads to one in the job's own network: where it listens, and to which port."""

    host: str
    host_port: int
    port: int


class Policy(Struct, frozen=True):
    """Everything that the box, the lock table and the checkpoint need to know of one run."""

    tier: Tier
    identity: Identity
    workdir: str
    network: NetworkMode
    grants: tuple[Grant, ...]
    environment: Mapping[str, str]
    limits: Limits
    commit: CommitMode
    overlay_all: bool = False  # DANGEROUS: an overlay over every writable mount
    shifted: bool = False  # root's DANGEROUS jobs: a user namespace with shifted ids
    pooled: bool = False  # it runs as a job user that is lent to it, its submitter's files mapped to that
    seen: tuple[str, ...] = ()  # directories of its submitter's that a job user may see as the submitter does
    host_proc: bool = False  # ps and top: the host's /proc, read-only
    hide: tuple[str, ...] = ()
    readonly: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    explicit: frozenset[str] = frozenset()  # limits that were asked for by name: refuse if they cannot be enforced
    allow_missing: frozenset[str] = frozenset()
    allow_privileged: bool = False
    seccomp_log: bool = False  # system calls that no profile has are allowed and logged
    allow: tuple[str, ...] = ()  # of an allowlist: its entries, with their ports
    publish: tuple[Published, ...] = ()
    placement: Placement = NOWHERE
    host_effects: frozenset[HostKind] = frozenset()  # layers that are lifted: nothing takes back what is done then

    @property
    def shows_run(self) -> bool:
        """True if the sockets of the host's daemons in /run are to be seen."""
        return bool(self.host_effects & {HostKind.SERVICE, HostKind.DAEMON})

    @property
    def relayed(self) -> bool:
        """True if a relay stands between the job's own network and the world."""
        return self.network is NetworkMode.ALLOWLIST or bool(self.publish)
