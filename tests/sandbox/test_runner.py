"""Planning a run, and what becomes of its changes afterwards."""

import json

import pytest
from msgspec.structs import replace

from cbx_sandbox import runner
from cbx_sandbox.errors import DeniedError, UnavailableError, UsageError
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.policy import CommitMode, Identity, LockMode, NetworkMode
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.tiers import Reason, Tier

USER = Identity(1000, 1000, (1000,), "user", "/home/user")
ROOT = Identity(0, 0, (0,), "root", "/root")
FACTS = StaticFacts(
    env={"PATH": "/usr/bin:/bin", "HOME": "/home/user"},
    files={
        "/": "dir", "/etc": "dir", "/etc/hosts": "file", "/tmp": "dir", "/usr": "dir", "/home": "dir",
        "/home/user": "dir", "/work": "dir", "/work/project": "dir", "/work/project/src": "dir",
        "/work/project/src/a.c": "file", "/work/project/file": "file", "/work/other": "dir",
    },
)  # fmt: skip
HOST = runner.HostReport(landlock=3)
SAFE, CONDITIONAL = Tier.SAFE_PARALLEL, Tier.CONDITIONAL_PARALLEL
SEQUENTIAL, DANGEROUS = Tier.SEQUENTIAL_REQUIRED, Tier.DANGEROUS_ISOLATED


def plan(line, *, identity=USER, root=False, host=HOST, defaults=None, at_least=None, closed=(), **options):
    """The plan of one line in /work/project."""
    request = runner.Request(
        identity=identity, cwd="/work/project", environment={"PATH": "/usr/bin:/bin"}, line=line,
        options=runner.Options(**options), submitter_is_root=root,
    )  # fmt: skip
    facts = replace(FACTS, closed=frozenset(closed))
    return runner.plan(request, facts, defaults or runner.Defaults(), host, at_least=at_least)


def outcome(code=0, **changes):
    """How a job ended."""
    made = {
        "job": "1", "reason": "exited", "exit_code": code, "signal": None, "frozen": True, "unkillable": 0,
        "wall_seconds": 1.0, "usage": {},
    }  # fmt: skip
    return made | changes


# ── the tier's policy ──


def test_a_safe_job_has_no_lock_no_layer_and_no_network():
    """It reads."""
    policy = plan("cat src/a.c").policy
    assert (policy.tier, policy.grants, policy.network) == (SAFE, (), NetworkMode.NONE)
    assert (policy.overlay_all, policy.shifted, policy.host_proc) == (False, False, False)


def test_a_sequential_job_has_an_update_lock_and_an_overlay():
    """Writes go to a layer until they are committed."""
    policy = plan("rm file").policy
    assert policy.tier is SEQUENTIAL
    assert [(grant.path, grant.mode, grant.overlay) for grant in policy.grants] == [("/work/project", LockMode.U, True)]
    assert policy.commit is CommitMode.AUTO


def test_a_dangerous_job_is_held_and_shifted_for_root_only():
    """A user's job stays that user."""
    for identity, shifted in ((ROOT, True), (USER, False)):
        policy = plan("rm -rf --no-preserve-root /", identity=identity).policy
        assert (policy.tier, policy.overlay_all, policy.shifted) == (DANGEROUS, True, shifted)
        assert policy.commit is CommitMode.HOLD
        assert policy.network is NetworkMode.NONE


def test_where_ids_cannot_be_shifted_nobody_s_are():
    """And the result says so."""
    host = runner.HostReport(landlock=3, unshifted="id-mapped mounts of / are refused")
    planned = plan("rm -rf --no-preserve-root /", identity=ROOT, host=host)
    assert planned.policy.shifted is False
    said = runner.guarantees(planned, host, {}, outcome())
    assert {"name": "shifted-ids", "why": host.unshifted} in said["missing"]


def test_a_conditional_tier_writes_live_under_an_exclusive_lock():
    """Asked for by root: what would be an overlay is a live directory."""
    policy = plan("rm file", tier=CONDITIONAL, root=True).policy
    assert [(grant.mode, grant.overlay, grant.direct) for grant in policy.grants] == [(LockMode.X, False, True)]


def test_looking_at_processes_needs_landlock():
    """Only it keeps /proc/PID/root of the user's own processes shut."""
    assert plan("ps aux").policy.host_proc is True
    assert plan("ps aux", host=runner.HostReport(landlock=0)).policy.host_proc is False


# ── what the caller asked for ──


@pytest.mark.parametrize("asked", [SAFE, CONDITIONAL, SEQUENTIAL])
def test_only_root_chooses_a_laxer_tier(asked):
    """Everybody may choose a stricter one."""
    with pytest.raises(DeniedError):
        plan("rm -rf --no-preserve-root /", tier=asked)
    assert plan("rm file", tier=DANGEROUS).policy.tier is DANGEROUS
    assert plan("rm file", tier=SAFE, root=True).policy.tier is SAFE


def test_an_earlier_finding_raises_the_tier_and_gives_its_reason():
    """Hard links that leave the lock set, for example."""
    reason = Reason("links", "a file has other names", SEQUENTIAL)
    planned = plan("cat file", at_least=reason)
    assert planned.policy.tier is SEQUENTIAL
    assert reason in planned.reasons
    assert plan("rm -rf --no-preserve-root /", at_least=reason).policy.tier is DANGEROUS


def test_a_safe_job_with_a_writable_path_is_conditional():
    """--rw is a grant."""
    policy = plan("cat file", writable=("/work/other",)).policy
    assert policy.tier is CONDITIONAL
    assert [grant.path for grant in policy.grants] == ["/work/other"]


@pytest.mark.parametrize("path", ["/work/project/file", "/work/missing", "/proc", "/run/x", "/"])
def test_what_cannot_be_granted_is_refused(path):
    """Files, what is not there, every box's own places, and the whole machine."""
    with pytest.raises(UsageError):
        plan("cat file", writable=(path,))


@pytest.mark.parametrize("option", ["hide", "readonly", "tmpfs"])
def test_the_root_cannot_be_covered(option):
    """A mount over it would change nothing, and a write rule for it would allow everything."""
    with pytest.raises(UsageError):
        plan("cat file", **{option: ("/",)})


def test_a_limit_that_was_asked_for_and_cannot_be_held_refuses_the_job():
    """Unless it was not asked for by name, or root accepts it; `strict` asks for all of them."""
    host = runner.HostReport(missing={"memory": "no memory controller"}, landlock=3)
    with pytest.raises(UnavailableError, match="memory"):
        plan("cat file", memory=1 << 20, host=host)
    assert plan("cat file", host=host).policy.limits.memory is not None
    assert plan("cat file", memory=1 << 20, host=host, allow_missing=frozenset({"memory"}))
    with pytest.raises(UnavailableError):
        plan("cat file", host=host, strict=True)
    with pytest.raises(UnavailableError):
        plan("cat file", host=host, defaults=runner.Defaults(strict=True))


def test_a_time_limit_of_nothing_is_none():
    """As timeout(1) has it."""
    assert plan("cat file", timeout=0).policy.limits.timeout is None
    assert plan("cat file", timeout=7.0).policy.limits.timeout == 7.0


@pytest.mark.parametrize("line", ["systemctl restart ssh", "kill 1", "sysctl -w vm.swappiness=1", "iptables -F"])
def test_changes_of_the_host_itself_are_refused(line):
    """They cannot be rolled back, and inside they would act on a copy."""
    with pytest.raises(DeniedError):
        plan(line)


def test_one_file_of_a_coarse_directory_is_written_through_an_overlay():
    """And is all that is expected to change there."""
    planned = plan("echo x >> /etc/hosts", identity=ROOT, root=True)
    assert planned.policy.tier.rank >= SEQUENTIAL.rank
    assert planned.expected["/etc"] == ("/etc/hosts",)


def test_the_plan_can_be_shown():
    """Plain JSON, for explain."""
    shown = json.loads(json.dumps(plan("rm file").describe()))
    assert shown["tier"] == "SEQUENTIAL_REQUIRED"
    assert shown["locks"] == [{"path": "/work/project", "mode": "U"}]


# ── what becomes of the changes ──


@pytest.mark.parametrize(
    ("mode", "ended", "fate"),
    [
        (CommitMode.AUTO, outcome(0), runner.Fate.COMMIT),
        (CommitMode.AUTO, outcome(1), runner.Fate.ROLL_BACK),
        (CommitMode.AUTO, outcome(None, signal=9), runner.Fate.ROLL_BACK),
        (CommitMode.AUTO, outcome(0, reason="oom"), runner.Fate.ROLL_BACK),
        (CommitMode.AUTO, outcome(0, reason="timeout"), runner.Fate.ROLL_BACK),
        (CommitMode.AUTO, outcome(0, reason="cancelled"), runner.Fate.ROLL_BACK),
        (CommitMode.AUTO, outcome(0, frozen=False), runner.Fate.HOLD),
        (CommitMode.HOLD, outcome(0), runner.Fate.HOLD),
        (CommitMode.HOLD, outcome(1), runner.Fate.HOLD),
        (CommitMode.NEVER, outcome(0), runner.Fate.ROLL_BACK),
        (CommitMode.NEVER, outcome(0, frozen=False), runner.Fate.ROLL_BACK),
    ],
)
def test_only_a_success_that_nobody_can_still_change_is_committed(mode, ended, fate):
    """Status 0, ended by itself, every overlay taken down without force."""
    planned = plan("rm file", commit=mode)
    assert runner.decide(planned, ended, ["/work/project/file"])[0] is fate


def test_a_change_that_was_not_predicted_is_held():
    """In a directory of many, next to the expected file; the file itself and what is above it are expected."""
    planned = plan("echo x >> /etc/hosts", identity=ROOT, root=True, commit=CommitMode.AUTO)
    assert runner.decide(planned, outcome(), ["/etc/hosts", "/etc"])[0] is runner.Fate.COMMIT
    fate, why = runner.decide(planned, outcome(), ["/etc/hosts", "/etc/shadow"])
    assert fate is runner.Fate.HOLD
    assert "/etc/shadow" in why


def test_guarantees_name_what_is_missing_with_the_reason():
    """Nothing is weakened silently."""
    host = runner.HostReport(missing={"io": "no io controller"}, landlock=0)
    said = runner.guarantees(plan("cat file", host=host), host, {"pids": "refused"}, outcome(unkillable=1))
    missing = {entry["name"]: entry["why"] for entry in said["missing"]}
    assert missing["io-limit"] == "no io controller"
    assert missing["process-limit"] == "refused"
    assert {"landlock-writes", "process-cleanup"} <= set(missing)
    assert not set(missing) & set(said["in_force"])
    assert "memory-limit" in said["in_force"]


@pytest.mark.parametrize(
    ("command", "options", "abi", "shown", "why"),
    [
        ("cat file", {}, 7, None, None),
        ("cat file", {}, 0, None, "FIFOs"),
        ("cat file", {"network": NetworkMode.HOST}, 7, None, "host's network"),
        ("touch file", {}, 7, None, "outside /run"),
        ("rm -rf --no-preserve-root /", {}, 7, [], None),
        ("rm -rf --no-preserve-root /", {}, 7, ["/media/disk"], "/media/disk"),
        ("rm -rf --no-preserve-root /", {}, 7, None, "not known"),
    ],
)
def test_deputies_are_out_of_reach_only_where_no_socket_of_theirs_is(command, options, abi, shown, why):
    """What only reads makes no named socket; under overlays over everything every socket is another one."""
    host = runner.HostReport(landlock=abi)
    said = runner.guarantees(plan(command, host=host, **options), host, {}, outcome(), shown=shown)
    missing = {entry["name"]: entry["why"] for entry in said["missing"]}
    assert ("no-deputies" in said["in_force"]) == (why is None)
    assert why is None or why in missing["no-deputies"]


@pytest.mark.parametrize("abi", range(8))
def test_landlock_promises_what_its_version_can(abi):
    """Writes from the first, TCP ports from the fourth, signals and abstract sockets from the sixth."""
    host = runner.HostReport(landlock=abi)
    for command, more in (("cat file", {"landlock-no-tcp"}), ("touch file", set())):
        said = runner.guarantees(plan(command, host=host), host, {}, outcome())
        names = {"landlock-writes": 1, "landlock-scopes": 6, "landlock-no-tcp": 4}
        held = {name for name, needs in names.items() if needs <= abi} - ({"landlock-no-tcp"} - more)
        absent = {entry["name"] for entry in said["missing"]}
        assert {name for name in said["in_force"] if name in names} == held
        assert absent & set(names) == set(names) - held - ({"landlock-no-tcp"} - more)


def test_logging_instead_of_refusing_is_no_promise():
    """Nor is it named as one."""
    host = runner.HostReport(landlock=7)
    assert "seccomp" in runner.guarantees(plan("cat file", host=host), host, {}, outcome())["in_force"]
    logged = runner.guarantees(plan("cat file", host=host, seccomp_log=True), host, {}, outcome())
    assert "seccomp" not in logged["in_force"]
    assert "seccomp" in {entry["name"] for entry in logged["missing"]}


def test_options_are_told_apart_from_defaults():
    """Only what was asked for by name is refused when it cannot be enforced."""
    assert plan("cat file").policy.explicit == frozenset()
    assert plan("cat file", memory=1, cpus=1.0).policy.explicit == {"memory", "cpus"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, None),
        ({"host_effects": frozenset({"process"})}, None),
        ({"host_effects": frozenset({"service"})}, "1"),
        ({"host_effects": frozenset({"service"}), "set_environment": {"SYSTEMCTL_FORCE_BUS": "0"}}, "0"),
    ],
)
def test_services_are_asked_for_by_the_bus(options, found):
    """The service manager itself answers only whom it can see."""
    request = runner.Request(ROOT, "/", {}, line="true", submitter_is_root=True, options=runner.Options(**options))
    assert runner.seen(request).get("SYSTEMCTL_FORCE_BUS") == found


# ── who may lock what ──


@pytest.mark.parametrize("line", ["rm file", "zz-unknown", "echo x > new"])
def test_a_user_gets_no_lock_where_he_may_not_write(line):
    """Predicted or not; the tier stays, and the plan says why. Root, and who may, get it (the control)."""
    planned = plan(line, closed=["/work/project"])
    assert planned.policy.grants == ()
    assert planned.policy.tier is SEQUENTIAL
    for options in ({"closed": ["/work/project"], "root": True, "identity": ROOT}, {}):
        assert [grant.path for grant in plan(line, **options).policy.grants] == ["/work/project"]


def test_a_withheld_directory_is_named():
    """In the reasons, where people look first."""
    said = [reason.text for reason in plan("rm file", closed=["/work/project"]).reasons]
    assert "user may not write /work/project: it stays read-only" in said
    assert not any("stays read-only" in reason.text for reason in plan("rm file").reasons)


def test_a_user_cannot_ask_for_a_lock_where_he_may_not_write():
    """He is told; root may, and where he may write he gets it (the controls)."""
    with pytest.raises(DeniedError, match="user may not write there"):
        plan("true", writable=("/work/other",), closed=["/work/other"])
    for options in ({"closed": ["/work/other"], "root": True, "identity": ROOT}, {}):
        grants = plan("true", writable=("/work/other",), **options).policy.grants
        assert [grant.path for grant in grants] == ["/work/other"]


# ── what is looked at ──

SAMPLED = runner.Defaults(observe_every=2)
ALWAYS = runner.Defaults(watch_reads=runner.Watching.ALWAYS)


@pytest.mark.parametrize(
    ("line", "defaults", "options", "reads"),
    [
        ("rm file", None, {}, False),
        ("rm file", SAMPLED, {}, True),
        ("rm file", ALWAYS, {}, True),
        ("rm file", None, {"observe": True}, True),
        ("cat file", SAMPLED, {}, False),  # no overlay
        ("cat file", ALWAYS, {}, False),
        ("cat file", None, {"observe": True}, True),
        ("make", None, {}, False),
        ("make", SAMPLED, {}, True),  # over an overlay, because it is its turn
        ("make", ALWAYS, {}, False),
        ("make", None, {"observe": True}, True),
        ("make", ALWAYS, {"writable": ("/work/project",)}, False),
        ("rm -rf /", ALWAYS, {"tier": DANGEROUS, "agreed": True, "allow_checks": frozenset({"all"})}, True),
    ],
)
def test_whose_reads_are_looked_at(line, defaults, options, reads):
    """Who asks for it, whose turn it is, or all that have an overlay; the tier is the same."""
    made = plan(line, defaults=defaults, root=True, **options)
    assert made.reads is reads
    asked = {name: value for name, value in options.items() if name != "observe"}
    assert made.policy.tier is plan(line, root=True, **asked).policy.tier


def test_where_nobody_is_to_be_looked_at_who_asks_is_told():
    """Everything else runs."""
    never = runner.Defaults(watch_reads=runner.Watching.NEVER, observe_every=1)
    assert not plan("rm file", defaults=never).reads
    with pytest.raises(UnavailableError, match="cannot look at what it reads"):
        plan("rm file", defaults=never, observe=True)


# ── changes of the host itself ──


def test_what_was_asked_for_by_name_is_lifted_and_nothing_else():
    """Root's ids are the host's then; a job without that is as it was (the control)."""
    made = plan("kill 1234", identity=ROOT, root=True, host_effects=frozenset({"process"})).policy
    assert (made.host_effects, made.host_proc, made.network) == ({HostKind.PROCESS}, True, NetworkMode.NONE)
    assert (made.overlay_all, made.shifted) == (True, False)
    plain = plan("rm -rf /work", identity=ROOT, root=True).policy
    assert (plain.host_effects, plain.host_proc, plain.shifted) == (frozenset(), False, True)


@pytest.mark.parametrize("identity", [USER, ROOT])
def test_the_processes_of_the_host_are_shared_behind_landlock_alone(identity):
    """Nothing else keeps a user's job out of /proc/PID/root of that user's processes. Other kinds need none of it."""
    without, effects = runner.HostReport(landlock=0), frozenset({"process", "service"})
    with pytest.raises(UnavailableError, match="no Landlock") as refused:
        plan("cat file", identity=identity, host=without, host_effects=effects)
    assert (refused.value.exit_status, "lsm=" in (refused.value.hint or "")) == (125, True)
    behind = plan("cat file", identity=identity, host=runner.HostReport(landlock=1), host_effects=effects)
    assert HostKind.PROCESS in behind.policy.host_effects
    other = plan("cat file", identity=identity, host=without, host_effects=frozenset({"service"}))
    assert other.policy.host_effects == {HostKind.SERVICE}


def test_a_job_that_may_change_the_host_is_not_safe():
    """A socket that has a name is what services and daemons are asked by."""
    made = plan("cat file", host_effects=frozenset({"service"}))
    assert made.policy.tier is SEQUENTIAL
    assert "host-effects" in {reason.code for reason in made.reasons}
    assert plan("cat file").policy.tier is SAFE


@pytest.mark.parametrize("kind", ["network", "kernel"])
def test_what_changes_the_network_or_its_settings_has_the_host_s(kind):
    """Settings are those of the network that one is in; what asks for another one contradicts itself."""
    effects = frozenset({kind})
    assert plan("cat file", host_effects=effects).policy.network is NetworkMode.HOST
    for other in ({"network": NetworkMode.NONE}, {"allow_hosts": ("x.org",)}, {"publish": ("8080:80",)}):
        with pytest.raises(UsageError):
            plan("cat file", host_effects=effects, **other)


def test_a_kind_that_is_not_known_or_a_look_that_changes_is_refused():
    """So that nothing is lifted by mistake."""
    with pytest.raises(UsageError, match="no such kind"):
        plan("cat file", host_effects=frozenset({"processes"}))
    with pytest.raises(UsageError, match="a look changes nothing"):
        plan("cat file", host_effects=frozenset({"process"}), viewing=True)
