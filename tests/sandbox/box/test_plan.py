"""From a policy to operations: what is mounted in which order, without touching anything."""

import itertools
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from cbx_sandbox.box import jobusers, plan, userns
from cbx_sandbox.box import operations as ops
from cbx_sandbox.linux import mountinfo
from cbx_sandbox.policy import CommitMode, Grant, Identity, Limits, LockMode, NetworkMode, Policy
from cbx_sandbox.shell.tiers import Tier

IDENTITY = Identity(1000, 1000, (1000,), "user", "/home/user")


def policy(tier=Tier.SAFE_PARALLEL, grants=(), **changes):
    """A policy with nothing special."""
    overlay_all = tier is Tier.DANGEROUS_ISOLATED
    made = Policy(
        tier=tier, identity=IDENTITY, workdir="/", network=NetworkMode.NONE, grants=tuple(grants), environment={},
        limits=Limits(), commit=CommitMode.AUTO, overlay_all=overlay_all,
    )  # fmt: skip
    return replace(made, **changes)


def view(*targets, read_only=(), hidden=(), keep=()):
    """A host with ext4 mounts at ``targets``, and the usual kernel mounts."""
    lines = [f"{i} 1 8:{i} / {t} {'ro' if t in read_only else 'rw'} - ext4 /dev/x rw" for i, t in enumerate(targets, 1)]
    lines += ["90 1 0:90 / /proc rw - proc proc rw", "91 1 0:91 / /sys rw - sysfs sysfs rw"]
    lines += ["92 1 0:92 / /dev rw - devtmpfs dev rw", "93 1 0:93 / /run rw - tmpfs run rw"]
    return plan.HostView(tuple(mountinfo.parse("\n".join(lines))), hidden=tuple(hidden), keep_in_run=tuple(keep))


def kinds(steps):
    """The names of the operations."""
    return [type(step).__name__ for step in steps]


def overlay(path):
    """An update lock with an overlay."""
    return Grant(path, LockMode.U, overlay=True)


def direct(path):
    """An exclusive lock."""
    return Grant(path, LockMode.X, overlay=False)


PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def test_the_tree_is_closed_before_anything_is_opened():
    """Read-only as a whole first; write access comes after, one lock at a time."""
    steps = plan.operations(policy(grants=[direct("/w")]), view("/"), [], [plan.LockedDirectory("/w", 1, 2)])
    assert kinds(steps) == ["PrivateTree", "RunDirectory", "Devices", "Proc", "Sys", "DirectWrite"]
    assert steps[0] == ops.PrivateTree(read_only=True)


def test_every_box_below_dangerous_begins_with_the_standard_part():
    """Boxes in waiting are made of it before the job is known."""
    for grants, places, locked in (
        ((), [], []),
        ((overlay("/w"),), [plan.OverlayPlace("/w", "/l/0", redirect=True)], []),
        ((direct("/w"),), [], [plan.LockedDirectory("/w", 1, 2)]),
    ):
        made = policy(Tier.SEQUENTIAL_REQUIRED, grants, hide=("/h",), tmpfs=("/t",))
        standard = plan.standard(made, view("/"))
        assert plan.operations(made, view("/"), places, locked)[: len(standard)] == standard


def test_what_was_asked_for_comes_last():
    """A directory that is hidden by name stays hidden also below a grant."""
    made = policy(grants=[direct("/w")], hide=("/w/secret",), readonly=("/w/ro",), tmpfs=("/w/t",))
    steps = plan.operations(made, view("/"), [], [plan.LockedDirectory("/w", 1, 2)])
    assert steps[-3:] == [
        ops.ReadOnly("/w/ro"),
        ops.Tmpfs("/w/t", made.limits.tmp_bytes),
        ops.Hide("/w/secret", if_there=True),
    ]


def test_what_leads_to_a_covered_path_below_a_grant_is_pinned():
    """Outermost first, from below the grant on; what lies in no grant cannot be moved anyway."""
    hide, readonly = ("/w/a/b/secret", "/elsewhere/x/y", "/w/top", "/run/x/y"), ("/w/.git/hooks",)
    made = policy(grants=[direct("/w")], hide=hide, readonly=readonly)
    assert plan.pinned(made, view("/", hidden=["/w/c/state"])) == ["/w/.git", "/w/a", "/w/a/b", "/w/c"]
    steps = plan.operations(made, view("/"), [], [plan.LockedDirectory("/w", 1, 2)])
    pins = [at for at, step in enumerate(steps) if isinstance(step, ops.Pin)]
    writable = next(at for at, step in enumerate(steps) if isinstance(step, ops.DirectWrite))
    covers = steps.index(ops.ReadOnly("/w/.git/hooks"))
    assert writable < min(pins) <= max(pins) < covers
    assert plan.pinned(policy(grants=[overlay("/")], hide=("/etc/x",)), view("/")) == ["/etc"]
    assert not any(isinstance(step, ops.Pin) for step in plan.operations(policy(hide=hide), view("/"), [], []))


@given(hidden=PATHS, granted=st.lists(PATHS, min_size=1, max_size=3, unique=True), use_overlay=st.booleans())
def test_hidden_directories_are_hidden_again_over_what_covers_them(hidden, granted, use_overlay):
    """An overlay or live directory above a hidden one would show it: the last step over it is a mask."""
    grants = [overlay(path) if use_overlay else direct(path) for path in granted]
    places = [plan.OverlayPlace(path, f"/l{path}", redirect=True) for path in granted] if use_overlay else []
    locked = [] if use_overlay else [plan.LockedDirectory(path, 1, 2) for path in granted]
    steps = plan.operations(policy(grants=grants), view("/", hidden=[hidden]), places, locked)
    covers = {step.path: i for i, step in enumerate(steps) if isinstance(step, ops.Overlay | ops.DirectWrite)}
    masks = [i for i, step in enumerate(steps) if step == ops.Hide(hidden, if_there=True)]
    assert masks
    assert all(max(masks) > at for path, at in covers.items() if plan.below(hidden, (path,)))


@given(granted=st.lists(PATHS, max_size=5, unique=True))
def test_overlays_are_never_inside_overlays(granted):
    """A change would otherwise lie in two layers: the outermost of several takes all."""
    targets = plan.overlay_targets(policy(grants=[overlay(path) for path in granted]), view("/"))
    assert not any(plan.below(a, (b,)) for a, b in itertools.permutations(targets, 2))
    assert all(plan.below(path, tuple(targets)) for path in granted)


def test_a_dangerous_job_has_an_overlay_over_every_writable_mount():
    """The root first; what cannot be written, or has no place for a layer, is shown read-only."""
    host = view("/", "/srv", "/srv/deep", "/ro", "/odd", read_only=("/ro",))
    made = policy(Tier.DANGEROUS_ISOLATED)
    assert plan.overlay_targets(made, host) == ["/", "/odd", "/srv", "/srv/deep"]
    places = [plan.OverlayPlace(target, f"/l{target}", redirect=False) for target in ("/", "/srv", "/srv/deep")]
    steps = plan.operations(made, host, places, [])
    assert steps[0] == ops.PrivateTree(read_only=False)
    covering = [step for step in steps if isinstance(step, ops.Overlay | ops.ReadOnly)]
    assert covering[0].path == "/"
    assert [step.path for step in covering if isinstance(step, ops.ReadOnly)] == ["/odd", "/ro"]
    assert [step.path for step in covering if isinstance(step, ops.Overlay)] == ["/", "/srv", "/srv/deep"]
    assert [step.becomes_root for step in covering if isinstance(step, ops.Overlay)] == [True, False, False]
    assert steps[-1] == ops.Pivot()


def test_kernel_mounts_and_run_are_never_overlaid():
    """Each box makes them anew; nothing of the host's own shows."""
    targets = plan.overlay_targets(policy(Tier.DANGEROUS_ISOLATED), view("/", "/run/media", "/dev/shm"))
    assert targets == ["/"]


def test_a_dangerous_job_with_live_grants_is_a_mistake():
    """It writes to layers only."""
    with pytest.raises(AssertionError):
        plan.operations(policy(Tier.DANGEROUS_ISOLATED), view("/"), [], [plan.LockedDirectory("/w", 1, 2)])


def test_files_of_run_are_kept_only_with_the_host_s_network():
    """The resolver's file is of no use without."""
    host = view("/", keep=["/run/resolv.conf"])
    kept = {
        network: next(
            step for step in plan.standard(policy(network=network), host) if isinstance(step, ops.RunDirectory)
        )
        for network in NetworkMode
    }
    assert kept[NetworkMode.NONE].keep == ()
    assert kept[NetworkMode.HOST].keep == ("/run/resolv.conf",)


def test_write_rules_come_from_the_grants_that_write():
    """Read locks give none; a private tmpfs is writable; an overlaid root is writable as a whole."""
    read_lock = Grant("/r", LockMode.S, overlay=False)
    made = policy(grants=[read_lock, direct("/w"), overlay("/o")], tmpfs=("/t",))
    assert plan.writable_paths(made) == ["/w", "/o", "/t"]
    assert plan.writable_paths(policy(Tier.DANGEROUS_ISOLATED)) == ["/"]
    assert plan.writable_paths(policy()) == []


# ── travelling as JSON ──


def values(kind):
    """Something of a field's type."""
    if kind.startswith("tuple"):
        return st.lists(st.text(max_size=8), max_size=3).map(tuple)
    return {"bool": st.booleans(), "int": st.integers(0, 2**53), "str": st.text(max_size=12)}[kind]


OPERATIONS = st.sampled_from(sorted(ops.Operation.registry)).flatmap(
    lambda name: st.builds(
        ops.Operation.registry[name],
        **{field: values(kind) for field, kind in ops.Operation.registry[name].field_types.items()},
    )
)


@given(OPERATIONS)
def test_an_operation_survives_the_way_to_the_launcher(operation):
    """As JSON and back it does the same: equal, but for tuples that became lists."""
    again = ops.from_json(json.loads(json.dumps(operation.to_json())))
    assert type(again) is type(operation)
    assert again.to_json() == json.loads(json.dumps(operation.to_json()))
    assert again.describe() == operation.describe()


def test_every_operation_is_registered_and_described():
    """A step that could not travel, or that nobody could read, would be found only when it is used."""
    for name, kind in ops.Operation.registry.items():
        assert kind.__name__ == name
        assert kind.describe is not ops.Operation.describe
        assert kind.execute is not ops.Operation.execute
    concrete = {kind.__name__ for kind in ops.Operation.__subclasses__()}
    assert {name for name in concrete if getattr(ops, name, None)} == set(ops.Operation.registry)


@given(steps=st.lists(OPERATIONS, max_size=4), uid=st.integers(0, 2**32 - 2))
def test_a_spec_is_plain_json(steps, uid):
    """The launcher imports little: nothing else may be in it."""
    made = policy(identity=replace(IDENTITY, uid=uid))
    spec = plan.spec(made, "1", ["true"], steps, descriptors=["stdin"], record="/r", landlock=0)
    assert json.loads(json.dumps(spec))["identity"]["uid"] == uid
    assert len(spec["operations"]) == len(steps)


def test_a_shifted_job_has_no_supplementary_groups():
    """Their numbers would mean other groups inside."""
    spec = plan.spec(policy(shifted=True), "1", ["true"], [], descriptors=[], record="/r", landlock=0)
    assert spec["identity"]["groups"] == []


@given(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))
def test_two_ids_change_places_in_a_map_of_all_ids(own, other):
    """Each id has one meaning on each side; the other's own files are nobody's."""
    assume(own != other)
    ranges = [tuple(map(int, line.split())) for line in userns.exchange(own, other).splitlines()]
    assert ranges[0] == (own, other, 1)
    assert all(inside == outside for inside, outside, _ in ranges[1:])
    inside = sorted((first, first + count) for first, _, count in ranges)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(inside))
    assert sum(count for *_, count in ranges) == 2**32 - 2  # all but the other's, and the one that is none


def test_a_job_user_is_mapped_wherever_its_submitter_may_write_and_in_its_project():
    """What it is only shown comes before what it writes; what is hidden is hidden there again."""
    made = policy(grants=[direct("/w")], pooled=True, seen=("/p", "/w/below", "/p/inner", "/", "/run/x"))
    locked = [plan.LockedDirectory("/w", 1, 2)]
    steps = plan.operations(made, view("/", hidden=["/p/cbx"]), [], locked)
    shown = [step for step in steps if isinstance(step, ops.Show)]
    assert [step.path for step in shown] == ["/p"]
    written = next(step for step in steps if isinstance(step, ops.DirectWrite))
    assert written.mapped
    assert steps.index(shown[0]) < steps.index(written)
    hidden = [index for index, step in enumerate(steps) if isinstance(step, ops.Hide)]
    assert hidden[-1] > steps.index(shown[0])
    everything = policy(Tier.DANGEROUS_ISOLATED, pooled=True)
    places = [plan.OverlayPlace("/", "/layer", redirect=False)]
    overlays = [s for s in plan.operations(everything, view("/"), places, []) if isinstance(s, ops.Overlay)]
    assert [(step.mapped, step.shifted) for step in overlays] == [(True, False)]


def test_a_job_user_stands_for_its_submitter_in_the_order_to_the_launcher():
    """Its own ids, no groups, and whose files are mapped to it."""
    user = jobusers.JobUser(7001, 7002, "cbx-job-1")
    spec = plan.spec(policy(pooled=True), "1", ["true"], [], descriptors=[], record="/r", landlock=0, user=user)
    assert spec["identity"] == {"uid": 7001, "gid": 7002, "groups": [], "shifted": False, "instead_of": [1000, 1000]}


@pytest.mark.parametrize("tier", Tier)
def test_each_tier_has_its_filter_and_only_what_reads_without_a_network_has_no_ports(tier):
    """By the name of the tier; logging has one of its own."""
    for network in NetworkMode:
        made = policy(tier=tier, network=network)
        spec = plan.spec(made, "1", ["true"], [], descriptors=[], record="/r", landlock=7)
        assert spec["seccomp"] == tier.value
        assert spec["tcp"] == (tier is not Tier.SAFE_PARALLEL or network is not NetworkMode.NONE)
    logged = plan.spec(policy(seccomp_log=True), "1", ["true"], [], descriptors=[], record="/r", landlock=7)
    assert logged["seccomp"].endswith("+log")


def test_mounts_that_a_dangerous_job_sees_as_they_are():
    """Those without an overlay; in other tiers it is the grants that tell."""
    made, seen = policy(overlay_all=True), view("/", "/media/disk")
    places = [plan.OverlayPlace("/", "/layer", redirect=False)]
    assert plan.shown_as_is(made, seen, places) == ["/media/disk"]
    assert plan.shown_as_is(policy(), seen, places) == []


@given(path=PATHS, ancestors=st.lists(PATHS, max_size=3))
def test_below_compares_whole_names(path, ancestors):
    """/ab is not below /a."""
    expected = any(path.split("/")[: len(a.split("/"))] == a.split("/") for a in ancestors)
    assert plan.below(path, tuple(ancestors)) == expected
    assert plan.below(path, ("/",))
    assert not plan.below(path + "x", (path,))


def test_reads_are_told_of_every_mount_of_files_and_of_none_that_may_hang():
    """Those that the box makes of its own, too; not what each box has of its own."""
    lines = "5 1 8:5 / /net rw - nfs4 server:/x rw\n6 5 8:6 / /net/disk rw - ext4 /dev/y rw"
    host = view("/", "/home")
    host = replace(host, mounts=(*host.mounts, *mountinfo.parse(lines)))
    made = policy(grants=[direct("/work"), overlay("/net/work")], readonly=("/srv",))
    watched, left = plan.watched(made, host, [plan.OverlayPlace("/other", "/layers/1", redirect=True)])
    assert watched == ["/", "/home", "/other", "/srv", "/work"]
    assert left == ["/net"]
