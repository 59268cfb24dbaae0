"""Every parameter of the supervisor, with its default, in one schema.

Read from /etc/cbx/cbx.toml, then /etc/cbx/conf.d/*.toml in the order of their names, then the environment
(CBX_<SECTION>_<KEY>, for example CBX_TIMEOUTS_COMMAND_TIMEOUT_SECONDS=600). Frozen, and passed down from the daemon.
``reference()`` is the documented file with every default. Parameters that no part of this release acts on yet say so.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from cbx_sandbox.placement import HEAVIEST, IDLE, LEAST_NICE, NICEST, numbers
from cbx_sandbox.policy import USUAL_PORTS, Limits, Placement
from cbx_sandbox.shell.tiers import Tier

Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Size = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
SecondsOrNever = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Names = tuple[Annotated[str, Meta(min_length=1)], ...]
_T = TypeVar("_T", int, float)
LATER = "(kept for a later release)"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Instances(Section, frozen=True):
    """How many jobs run at once."""

    safe_parallel_max: Annotated[Count, Meta(description="jobs of SAFE_PARALLEL that run at once")] = 16
    conditional_parallel_max: Annotated[Count, Meta(description="jobs of CONDITIONAL_PARALLEL that run at once")] = 8
    sequential_max: Annotated[Count, Meta(description="jobs of SEQUENTIAL_REQUIRED that run at once")] = 4
    dangerous_isolated_max: Annotated[Count, Meta(description="jobs of DANGEROUS_ISOLATED that run at once")] = 2
    total_capacity_max: Annotated[Count, Meta(description="jobs that run at once, in all tiers together")] = 30
    instance_spawn_rate: Annotated[float, Meta(ge=0, description="starts a second at most; 0: unlimited")] = 0.0
    resource_safety_margin: Annotated[
        Share, Meta(description="share of the host's memory that no job is started into")
    ] = 0.1


class Resources(Section, frozen=True):
    """What each job may use; 0 is unlimited."""

    memory_per_instance_mb: Annotated[int, Meta(ge=0, description="memory in MiB")] = 512
    cpu_cores_per_instance: Annotated[float, Meta(ge=0, description="cores, a cap")] = 0.5
    io_bandwidth_mbps: Annotated[int, Meta(ge=0, description="disk bandwidth in MB/s, each direction and disk")] = 100
    network_connections_max: Annotated[int, Meta(ge=0, description="open connections of a job with an allowlist")] = 50
    file_descriptors_max: Annotated[Count, Meta(description="open descriptors of a process")] = 1024
    processes_max: Annotated[int, Meta(ge=0, description="processes and threads")] = 512
    tmp_mb: Annotated[Size, Meta(description="private temporary files in MiB")] = 256
    layer_mb: Annotated[
        Size, Meta(description="changes in one overlay in MiB; never more than a tenth of the free space")
    ] = 10240


class Timeouts(Section, frozen=True):
    """How long things may take, in seconds."""

    command_timeout_seconds: Annotated[SecondsOrNever, Meta(description="a command; 0: no limit")] = 300.0
    kill_after_seconds: Annotated[SecondsOrNever, Meta(description="between SIGTERM and the end of the group")] = 5.0
    lock_acquisition_timeout_seconds: Annotated[
        Seconds, Meta(description="a lock wanted by who holds another (a commit); a queued job is flagged after it")
    ] = 30.0
    commit_reader_grace_seconds: Annotated[
        SecondsOrNever, Meta(description="a commit waits so long for readers of its paths, then goes on beside them")
    ] = 2.0
    health_check_interval_seconds: Annotated[
        Seconds, Meta(description="between two looks at the host's heat and at the memory of what runs")
    ] = 10.0
    cleanup_timeout_seconds: Annotated[Seconds, Meta(description="for running jobs to end when the daemon stops")] = (
        60.0
    )
    recovery_timeout_seconds: Annotated[Seconds, Meta(description="for recovery at the daemon's start")] = 120.0
    idle_exit_seconds: Annotated[
        SecondsOrNever, Meta(description="the daemon ends itself after so long without jobs and callers; 0: never")
    ] = 300.0
    file_system_seconds: Annotated[
        Seconds, Meta(description="a look at files for a job; who asks for a mount that hangs is told after it")
    ] = 20.0
    first_frame_seconds: Annotated[Seconds, Meta(description="a caller has so long to send its request")] = 10.0


class Thresholds(Section, frozen=True):
    """From where on a figure is reported as a warning."""

    cpu_utilization_warning: Annotated[Share, Meta(description=f"share of the host {LATER}")] = 0.80
    memory_utilization_warning: Annotated[Share, Meta(description=f"share of the host {LATER}")] = 0.85
    error_rate_warning: Annotated[Share, Meta(description=f"share of failed jobs {LATER}")] = 0.05
    latency_p95_warning_ms: Annotated[Count, Meta(description=f"from submission to start {LATER}")] = 1000
    queue_depth_warning: Annotated[Count, Meta(description=f"waiting jobs {LATER}")] = 100


class Access(Section, frozen=True):
    """Who may ask."""

    group: Annotated[str, Meta(description="the group of the sockets; without it on the host they are root's")] = "cbx"
    connections_max: Annotated[Count, Meta(description="open connections to the exec socket, all callers")] = 1024
    connections_per_user_max: Annotated[Count, Meta(description="open connections of one user but root")] = 128
    queue_per_user_max: Annotated[Count, Meta(description="unfinished jobs of one user but root")] = 1000
    slots_per_user_max: Annotated[int, Meta(ge=0, description="running jobs of one user but root; 0: no limit")] = 0
    memory_per_user_max_mb: Annotated[
        int, Meta(ge=0, description="memory that one user's running jobs may be expected to take, in MiB; 0: no limit")
    ] = 0
    checkpoint_mb_per_user_max: Annotated[
        int, Meta(ge=0, description="changes held for one user but root, in MiB; 0: unlimited")
    ] = 0
    viewers: Annotated[Names, Meta(description="users and @groups who see everybody's jobs")] = ()
    operators: Annotated[Names, Meta(description="who see and steer everybody's jobs, and the queue")] = ()
    auditors: Annotated[Names, Meta(description="who see everybody's jobs and the audit trail")] = ()
    host_effects: Annotated[Names, Meta(description="who may have a job change the host itself: --host-effects")] = ()
    admins: Annotated[Names, Meta(description="who may all that root may; their own jobs run as themselves")] = ()


class History(Section, frozen=True):
    """How long ended jobs are remembered; never forgotten is one whose changes are held."""

    jobs_max: Annotated[Count, Meta(description="jobs remembered, the newest")] = 100_000
    days_max: Annotated[float, Meta(gt=0, description="days that they are remembered")] = 90.0
    audit_days_max: Annotated[
        float, Meta(ge=0, description="days that the audit trail is kept, then trimmed from its beginning; 0: for ever")
    ] = 365.0
    undo_hours: Annotated[float, Meta(ge=0, description="hours that what a commit replaced is kept")] = 24.0
    undo_max: Annotated[int, Meta(ge=0, description="commits of which it is kept, the newest")] = 1000


class Retention(Section, frozen=True):
    """How long changes are held that nobody decides on, and how much of them; a pinned checkpoint has no age."""

    held_days: Annotated[float, Meta(ge=0, description="days until they are rolled back; 0: never")] = 7.0
    held_per_user_max: Annotated[
        int,
        Meta(ge=0, description="checkpoints held for one user but root, then no overlay is made for him; 0: unlimited"),
    ] = 1000
    held_mb_max: Annotated[
        int,
        Meta(
            ge=0, description="changes held for all users, in MiB, then all jobs but root's are refused; 0: unlimited"
        ),
    ] = 0
    free_mb_min: Annotated[
        int,
        Meta(
            ge=0,
            description="space in MiB to be free where changes are kept; below 1 GiB a tenth will do",
        ),
    ] = 64


class Scheduling(Section, frozen=True):
    """Who is started when."""

    strategy: Annotated[
        Literal["weighted-round-robin", "shortest-first", "resource-aware", "critical-path"],
        Meta(description="the order of those that could be started: weighted-round-robin, shortest-first, ..."),
    ] = "weighted-round-robin"
    program_order: Annotated[
        bool, Meta(description="jobs wait for earlier ones of their session that change what they use")
    ] = True
    resources: Annotated[
        dict[Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_.-]{0,63}$")], Count],
        Meta(description="how many there are of what jobs ask for with --resource NAME[:N]"),
    ] = msgspec.field(default_factory=dict)
    preemption: Annotated[bool, Meta(description="a critical job that finds no slot freezes a lesser one")] = True
    waiting_in_memory_max: Annotated[
        int, Meta(ge=0, description="jobs that wait as they are; more that need no client are read again when started")
    ] = 500


class Retries(Section, frozen=True):
    """Detached jobs that failed, and may succeed at another try."""

    retries_max: Annotated[
        int, Meta(ge=0, description="retries of a job that asks for no number, where it says that it failed for now")
    ] = 3
    base_seconds: Annotated[
        Seconds, Meta(description="the longest wait before the first one; it doubles each time")
    ] = 1.0
    cap_seconds: Annotated[Seconds, Meta(description="the longest wait before any")] = 60.0
    program_burst: Annotated[Count, Meta(description="retries at once of one program of a user's; more wait")] = 20
    program_seconds: Annotated[Seconds, Meta(description="between two retries of that program then")] = 2.0
    transient: Annotated[
        dict[str, tuple[Annotated[int, Meta(ge=1, le=255)], ...]],
        Meta(description="exit statuses with which a program says that it has not begun, and may at another time"),
    ] = msgspec.field(default_factory=lambda: {"curl": (5, 6, 7)})


class Breakers(Section, frozen=True):
    """A user's program that fails several times in a row with one host is left alone for a while."""

    failures_max: Annotated[int, Meta(ge=0, description="failures in a row that open a breaker; 0: none does")] = 5
    open_seconds: Annotated[Seconds, Meta(description="until one job tries it again")] = 30.0


class Sandbox(Section, frozen=True):
    """How jobs are boxed when they do not say so."""

    strict: Annotated[bool, Meta(description="refuse a job if any of its limits cannot be enforced here")] = False
    network: Annotated[
        Literal["none", "allowlist", "host"], Meta(description="network of jobs predicted to need one")
    ] = "host"
    reads: Annotated[Literal["live", "wait"], Meta(description=f"do SAFE readers wait for writers {LATER}")] = "live"
    output_log_mb: Annotated[Size, Meta(description="kept output of a detached job in MiB")] = 64
    hide: Annotated[tuple[str, ...], Meta(description="paths that no job sees")] = ()
    job_users: Annotated[
        str, Meta(description="users that jobs can run as: FIRST-LAST, or what the names begin with, as cbx-job-")
    ] = "cbx-job-"
    run_as: Annotated[
        Literal["submitter", "pool"], Meta(description="whom jobs run as: their submitter, or one of the job users")
    ] = "submitter"


class Network(Section, frozen=True):
    """What jobs with an allowlist may reach."""

    allow: Annotated[tuple[str, ...], Meta(description="hosts that each of them may reach, as for --allow-host")] = ()
    ports: Annotated[tuple[Port, ...], Meta(description="ports of a host that is allowed without any")] = USUAL_PORTS
    bandwidth_mbps: Annotated[int, Meta(ge=0, description="Mbit/s of one job, both directions; 0: unlimited")] = 0
    sets: Annotated[
        dict[str, tuple[str, ...]], Meta(description="hosts that --allow-host @NAME stands for; these are there")
    ] = msgspec.field(default_factory=dict)


class Incidents(Section, frozen=True):
    """What becomes of a running job that does what no job should."""

    freeze: Annotated[bool, Meta(description="it is frozen until somebody resumes or kills it")] = True


class Health(Section, frozen=True):
    """What is looked at while jobs run."""

    slow_down: Annotated[bool, Meta(description="use fewer slots while the host is too hot, where it shows that")] = (
        True
    )
    sysfs: Annotated[str, Meta(description="where the host's /sys is", min_length=1)] = "/sys"
    memory_window_seconds: Annotated[
        Seconds, Meta(description="a job whose memory grows for so long, steadily, is told of")
    ] = 600.0
    memory_growth_mb_per_minute: Annotated[float, Meta(gt=0, description="by so much in MiB at the least")] = 1.0


class Learning(Section, frozen=True):
    """What earlier runs teach."""

    observe_every: Annotated[
        int,
        Meta(ge=0, description="one in so many runs of a command is looked at, CONDITIONAL over an overlay; 0: none"),
    ] = 0
    reads: Annotated[
        Literal["never", "sampled", "always"],
        Meta(description="whose reads are looked at: never, sampled (those, and --observe), always (over any overlay)"),
    ] = "sampled"
    correct_tiers: Annotated[
        Literal["none", "safe", "all"],
        Meta(description="detached jobs of this tier that fail are run once more in the next: none, safe or all"),
    ] = "safe"
    predictions_per_user_max: Annotated[Count, Meta(description="predictions kept of each user, the newest")] = 5000
    lessons_per_user_max: Annotated[Count, Meta(description="commands remembered of each user, those used last")] = 1000


class TierLimits(Section, frozen=True):
    """One tier's own values; what is not set comes from [resources] and [timeouts]."""

    memory_per_instance_mb: Annotated[int, Meta(ge=0)] | None = None
    cpu_cores_per_instance: Annotated[float, Meta(ge=0)] | None = None
    io_bandwidth_mbps: Annotated[int, Meta(ge=0)] | None = None
    processes_max: Annotated[int, Meta(ge=0)] | None = None
    tmp_mb: Size | None = None
    layer_mb: Size | None = None
    command_timeout_seconds: SecondsOrNever | None = None


class Tiers(Section, frozen=True):
    """Values per tier."""

    safe_parallel: TierLimits = TierLimits()
    conditional_parallel: TierLimits = TierLimits()
    sequential_required: TierLimits = TierLimits()
    dangerous_isolated: TierLimits = TierLimits()


class Place(Section, frozen=True):
    """One kind of jobs: where they run and what they weigh."""

    cpus_allowed: Annotated[str, Meta(description="CPUs that they run on, as 0-3,8; empty: all")] = ""
    mems_allowed: Annotated[str, Meta(description="memory nodes that they take memory from; empty: all")] = ""
    nice: (
        Annotated[int, Meta(ge=LEAST_NICE, le=NICEST, description="nice value; their groups weigh as it says")] | None
    ) = None
    cpu_weight: Annotated[int, Meta(ge=IDLE, le=HEAVIEST, description="1 to 10000, 100 is usual; 0: idle")] | None = (
        None
    )
    io_weight: Annotated[int, Meta(ge=IDLE, le=HEAVIEST, description="the same for disks with weights")] | None = None

    def __post_init__(self) -> None:
        """Read the lists. Raises ValueError."""
        self.placement()

    def placement(self) -> Placement:
        """As a job takes it."""
        return Placement(
            cpus=numbers(self.cpus_allowed) if self.cpus_allowed else None,
            nodes=numbers(self.mems_allowed) if self.mems_allowed else None,
            nice=self.nice,
            cpu_weight=self.cpu_weight,
            io_weight=self.io_weight,
        )


class Placements(Section, frozen=True):
    """Where jobs run that do not ask for it: the first of deferred, low, detached, their tier and usual that says."""

    usual: Place = Place()
    safe_parallel: Place = Place()
    conditional_parallel: Place = Place()
    sequential_required: Place = Place()
    dangerous_isolated: Place = Place()
    detached: Place = Place()
    low: Place = Place()
    deferred: Place = Place()


class Settings(Section, frozen=True):
    """All of it."""

    instances: Instances = Instances()
    resources: Resources = Resources()
    timeouts: Timeouts = Timeouts()
    thresholds: Thresholds = Thresholds()
    access: Access = Access()
    history: History = History()
    retention: Retention = Retention()
    scheduling: Scheduling = Scheduling()
    retries: Retries = Retries()
    breakers: Breakers = Breakers()
    sandbox: Sandbox = Sandbox()
    network: Network = Network()
    incidents: Incidents = Incidents()
    health: Health = Health()
    learning: Learning = Learning()
    tiers: Tiers = Tiers()
    placement: Placements = Placements()

    def placed(self, tier: Tier) -> Placement:
        """Where jobs of ``tier`` run that do not ask for it, whatever else they are."""
        own: Place = getattr(self.placement, tier.value.lower())
        return own.placement().over(self.placement.usual.placement())

    def limits(self, tier: Tier) -> Limits:
        """The limits of a job of ``tier`` that asked for none."""
        own: TierLimits = getattr(self.tiers, tier.value.lower())
        resources = self.resources
        memory = _first(own.memory_per_instance_mb, resources.memory_per_instance_mb)
        io = _first(own.io_bandwidth_mbps, resources.io_bandwidth_mbps)
        return Limits(
            memory=(memory << 20) or None,
            cpus=_first(own.cpu_cores_per_instance, resources.cpu_cores_per_instance) or None,
            pids=_first(own.processes_max, resources.processes_max) or None,
            io_bytes_per_second=(io * 1_000_000) or None,
            nofile=resources.file_descriptors_max,
            timeout=_first(own.command_timeout_seconds, self.timeouts.command_timeout_seconds) or None,
            kill_after=self.timeouts.kill_after_seconds,
            layer_bytes=_first(own.layer_mb, resources.layer_mb) << 20,
            tmp_bytes=_first(own.tmp_mb, resources.tmp_mb) << 20,
        )


def _first(own: _T | None, common: _T) -> _T:
    return common if own is None else own
