"""From a policy to the list of operations that builds its box: pure, so ``explain`` can show it without privileges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from cbx_sandbox.box import operations as ops
from cbx_sandbox.box.spec import LOGGED, RULES, BoxSpec, IdentitySpec, LimitSpec, PlacementSpec, TerminalSpec
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.policy import NOWHERE, Grant, Limits, NetworkMode, Placement, Policy
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.tiers import Tier

if TYPE_CHECKING:
    from cbx_sandbox.box.jobusers import JobUser

# Parts of the tree that every box makes anew: what is mounted there is not the host's any more.
REPLACED = ("/proc", "/sys", "/dev", "/run")
CAP_KILL, CAP_NET_ADMIN, CAP_NET_RAW = 5, 12, 13  # capabilities(7): numbers, since planning loads no prctl


class OverlayPlace(Struct, frozen=True):
    """An overlay and the layer directory that takes its writes. ``target`` is a locked directory or a mount."""

    target: str
    layer: str
    redirect: bool
    saved: int = 0  # levels of the layer beneath the one that takes the writes
    shown: str = ""  # only shown, read-only: which directory of the layer


class LockedDirectory(Struct, frozen=True):
    """A directory of the lock set as it was when its lock was granted."""

    path: str
    device: int
    inode: int


class HostView(Struct, frozen=True):
    """What the plan has to know of the host: its visible mounts, what to hide, what of /run to keep.

    ``single_files`` are the mounts of one file each, over which no overlay can be put.
    """

    mounts: tuple[Mount, ...]
    hidden: tuple[str, ...] = ()
    keep_in_run: tuple[str, ...] = ()
    single_files: frozenset[str] = frozenset()


def below(path: str, ancestors: tuple[str, ...]) -> bool:
    """True if ``path`` is one of ``ancestors`` or lies beneath one."""
    return any(path == ancestor or path.startswith(ancestor.rstrip("/") + "/") for ancestor in ancestors)


def overlay_targets(policy: Policy, view: HostView) -> list[str]:
    """Where this policy needs overlays, outermost first."""
    if policy.overlay_all:
        whole = [mount for mount in view.mounts if _covers(mount) and mount.target not in view.single_files]
        writable = [mount for mount in whole if not mount.read_only]
        return sorted(
            {mount.target for mount in writable}, key=lambda target: (target.count("/"), target != "/", target)
        )
    targets = sorted({grant.path for grant in policy.grants if grant.overlay})
    # An overlay inside an overlaid directory would only split its change set.
    return [path for path in targets if not below(path, tuple(other for other in targets if other != path))]


def _covers(mount: Mount) -> bool:
    return mount.holds_files and not below(mount.target, REPLACED)


def operations(
    policy: Policy, view: HostView, places: list[OverlayPlace], locked: list[LockedDirectory]
) -> list[ops.Operation]:
    """The operations in the order in which they must run."""
    if policy.overlay_all:
        assert not locked, "a dangerous job writes to layers only"
        return [*_everything_overlaid(policy, view, places), *_asked_for(policy), ops.Pivot()]
    written = _written(policy, view, places, locked)
    return [*standard(policy, view), *written, *map(ops.Pin, pinned(policy, view)), *_asked_for(policy)]


def standard(policy: Policy, view: HostView) -> list[ops.Operation]:
    """What every box of a tier below DANGEROUS begins with: can be built ahead, before the job is known."""
    return [ops.PrivateTree(read_only=True), *_replaced(policy, view)]


def overlaid() -> list[ops.Operation]:
    """The same for DANGEROUS."""
    return [ops.PrivateTree(read_only=False), ops.Scaffold(), ops.MadeAhead()]


def _replaced(policy: Policy, view: HostView) -> list[ops.Operation]:
    keep = view.keep_in_run if policy.network is not NetworkMode.NONE else ()
    replaced = tuple(path for path in REPLACED if path != "/run" or not policy.shows_run)
    return [
        ops.RunDirectory(policy.limits.tmp_bytes, keep, policy.shows_run),
        *(ops.Hide(path, if_there=True) for path in view.hidden if not below(path, replaced)),
        ops.Devices(policy.limits.tmp_bytes),
        ops.Proc(policy.host_proc, HostKind.KERNEL in policy.host_effects),
        ops.Sys(),
    ]


def seen(policy: Policy) -> list[str]:
    """The directories that a job user is shown: those in no locked one, outermost first."""
    granted = tuple(grant.path for grant in policy.grants if _writes(grant))
    wanted = sorted(path for path in set(policy.seen) if not below(path, (*granted, *REPLACED)) and path != "/")
    return [path for path in wanted if not below(path, tuple(other for other in wanted if other != path))]


def _written(
    policy: Policy, view: HostView, places: list[OverlayPlace], locked: list[LockedDirectory]
) -> list[ops.Operation]:
    shown = seen(policy)
    plan: list[ops.Operation] = [ops.Show(path) for path in shown]
    if places:
        plan.append(ops.Scaffold())
    for place in places:
        inside = tuple(mount.target for mount in view.mounts if _covers(mount) and _strictly_below(mount, place.target))
        plan.append(
            ops.Overlay(
                place.target,
                layer=place.layer,
                lower="" if place.shown else f"lock:{place.target}",
                redirect=place.redirect,
                shifted=False,
                mounts_below=inside,
                saved=place.saved,
                shown=place.shown,
                mapped=policy.pooled,
            )
        )
    if places:
        plan.append(ops.Clear())
    plan += [
        ops.DirectWrite(entry.path, entry.device, entry.inode, mapped=policy.pooled)
        for entry in sorted(locked, key=lambda e: e.path)
    ]
    # What was hidden in the host's tree shows again in the trees that were put over it.
    covered = (*shown, *(place.target for place in places), *(entry.path for entry in locked))
    return plan + [ops.Hide(path, if_there=True) for path in view.hidden if below(path, covered)]


def pinned(policy: Policy, view: HostView) -> list[str]:
    """The directories in writable ones on the way to what the job may not see or change, outermost first.

    Below overlays over whole mounts the kernel itself renames no directory of the host's.
    """
    found = set()
    writable = [grant.path for grant in policy.grants if _writes(grant)]
    for path in (*view.hidden, *policy.hide, *policy.readonly):
        for start in writable:
            if path != start and below(path, (start,)) and not below(path, REPLACED):
                names = path[len(start.rstrip("/")) + 1 :].split("/")[:-1]
                found |= {"/".join((start.rstrip("/"), *names[: depth + 1])) for depth in range(len(names))}
    return sorted(found)


def _strictly_below(mount: Mount, path: str) -> bool:
    return mount.target != path and below(mount.target, (path,))


def _everything_overlaid(policy: Policy, view: HostView, places: list[OverlayPlace]) -> list[ops.Operation]:
    plan = overlaid()
    placed = {place.target: place for place in places}
    covered = [mount for mount in view.mounts if _covers(mount)]
    for mount in sorted(covered, key=lambda mount: (mount.target != "/", mount.target.count("/"), mount.target)):
        place = placed.get(mount.target)
        if place is None:
            why = "the host has it so" if mount.read_only else "no layer can be put over it"
            plan.append(ops.ReadOnly(mount.target, from_host=True, why=why))
        else:
            plan.append(
                ops.Overlay(
                    mount.target,
                    layer=place.layer,
                    lower="",
                    redirect=place.redirect,
                    shifted=policy.shifted,
                    becomes_root=mount.target == "/",
                    mapped=policy.pooled,
                )
            )
    return plan + _replaced(policy, view)


def watched(policy: Policy, view: HostView, places: list[OverlayPlace]) -> tuple[list[str], list[str]]:
    """Where the job's mounts lie through which it can be told what it reads, and those where it cannot.

    To look at what was read there is to open it again: nothing that asks a server or another process, which may not
    answer, and nothing below such a mount. What every box has of its own is not looked at either.
    """
    remote = tuple(mount.target for mount in view.mounts if mount.remote and not below(mount.target, REPLACED))
    holding = {mount.target for mount in view.mounts if _covers(mount)} | {place.target for place in places}
    # Mounts of their own in the box, where the host has none.
    holding |= {grant.path for grant in policy.grants} | set(policy.readonly)
    holding |= set() if policy.overlay_all else set(pinned(policy, view))
    return sorted(path for path in holding if not below(path, remote)), sorted(remote)


def shown_as_is(policy: Policy, view: HostView, places: list[OverlayPlace]) -> list[str]:
    """Mounts of the host's files that a DANGEROUS job sees without an overlay over them."""
    placed = {place.target for place in places}
    covered = [mount.target for mount in view.mounts if _covers(mount) and mount.target not in placed]
    return covered if policy.overlay_all else []


def _asked_for(policy: Policy) -> list[ops.Operation]:
    plan: list[ops.Operation] = [ops.ReadOnly(path) for path in policy.readonly]
    plan += [ops.Tmpfs(path, policy.limits.tmp_bytes) for path in policy.tmpfs]
    # It was there when the run was planned: what is gone by now is hidden well enough.
    return plan + [ops.Hide(path, if_there=True) for path in policy.hide]


def writable_paths(policy: Policy) -> list[str]:
    """The paths of the Landlock write rules, from the same list as the mounts."""
    if policy.overlay_all:
        return ["/"]
    settings = ["/proc/sys"] if HostKind.KERNEL in policy.host_effects else []
    return [grant.path for grant in policy.grants if _writes(grant)] + list(policy.tmpfs) + settings


def uses_tcp(policy: Policy) -> bool:
    """False for what only reads and has no network: other jobs may serve and test on a loopback of their own."""
    return policy.network is not NetworkMode.NONE or policy.relayed or policy.tier is not Tier.SAFE_PARALLEL


def _writes(grant: Grant) -> bool:
    return grant.direct or grant.overlay


def limit_spec(limits: Limits) -> LimitSpec:
    """The limits as the launcher takes them."""
    return {
        "memory": limits.memory,
        "swap": limits.swap,
        "cpus": limits.cpus,
        "pids": limits.pids,
        "io_bytes_per_second": limits.io_bytes_per_second,
        "nofile": limits.nofile,
        "fsize": limits.fsize,
        "layer_bytes": limits.layer_bytes,
        "timeout": limits.timeout,
        "kill_after": limits.kill_after,
    }


def spec(
    policy: Policy,
    job: str,
    argv: list[str],
    plan: list[ops.Operation],
    *,
    descriptors: list[str],
    record: str,
    landlock: int,
    terminal: TerminalSpec | None = None,
    log_bytes: int = 0,
    user: JobUser | None = None,
    reads: list[str] | None = None,
    cpusets: bool = False,
) -> BoxSpec:
    """The launcher's order for one job. ``user`` is the job user that is lent to it, if its policy wants one.

    ``cpusets``: the host has them, and the launcher places jobs by them.
    """
    made: BoxSpec = {
        "job": job,
        "argv": argv,
        "environment": dict(policy.environment),
        "workdir": policy.workdir,
        "identity": _identity(policy, user),
        "limits": limit_spec(policy.limits),
        "network": policy.network.value,
        "own_network": policy.network is not NetworkMode.HOST,
        "terminal": terminal,
        "descriptors": descriptors,
        "operations": [operation.to_json() for operation in plan],
        "writable": writable_paths(policy),
        "record": record,
        "landlock": landlock,
        "tcp": uses_tcp(policy),
        "seccomp": policy.tier.value + _variant(policy),
        "log_bytes": log_bytes,
        "reads": reads or [],
    }
    if policy.placement != NOWHERE:
        made["placement"] = _placement(policy.placement, cpusets=cpusets)
    _lift(made, policy.host_effects)
    return made


def _variant(policy: Policy) -> str:
    rules = RULES if HostKind.NETWORK in policy.host_effects else ""
    return rules + (LOGGED if policy.seccomp_log else "")


def _lift(made: BoxSpec, effects: frozenset[HostKind]) -> None:
    """Have a job that may change the host share with it what that is about."""
    if HostKind.PROCESS in effects:
        made["signals"] = True
    # Some settings are those of the namespaces that one is in.
    shared = [(HostKind.PROCESS, "pid"), (HostKind.KERNEL, "uts"), (HostKind.KERNEL, "ipc")]
    if names := [name for kind, name in shared if kind in effects]:
        made["shared"] = names


def _placement(wanted: Placement, *, cpusets: bool) -> PlacementSpec:
    """What a cpuset does not hold, a filter keeps: I/O priorities always, since they are the process's own."""
    cpus, nodes = wanted.cpus, wanted.nodes
    kept = {"cpus": cpus is not None and not cpusets, "nodes": nodes is not None and not cpusets}
    kept["io"] = wanted.io_weight is not None
    return {
        "cpus": None if cpus is None else list(cpus),
        "nodes": None if nodes is None else list(nodes),
        "nice": wanted.nice,
        "cpu_weight": wanted.cpu_weight,
        "io_weight": wanted.io_weight,
        "fixed": [name for name, is_kept in kept.items() if is_kept],
    }


def _identity(policy: Policy, user: JobUser | None) -> IdentitySpec:
    own = policy.identity
    assert policy.pooled is (user is not None)
    if user is not None:
        return {"uid": user.uid, "gid": user.gid, "groups": [], "shifted": False, "instead_of": [own.uid, own.gid]}
    groups = [] if policy.shifted else list(own.groups)
    kept = _capabilities(policy)
    identity: IdentitySpec = {"uid": own.uid, "gid": own.gid, "groups": groups, "shifted": policy.shifted}
    return {**identity, "capabilities": kept} if kept else identity


def _capabilities(policy: Policy) -> list[int]:
    """What root needs for the host's processes and its network; everybody else has the rights of a user."""
    found: list[int] = []
    if policy.identity.uid == 0 and not policy.shifted:
        found += [CAP_KILL] if HostKind.PROCESS in policy.host_effects else []
        found += [CAP_NET_ADMIN, CAP_NET_RAW] if HostKind.NETWORK in policy.host_effects else []
    return found
