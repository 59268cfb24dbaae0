"""From a policy to the list of operations that builds its box: pure, so ``explain`` can show it without privileges."""

from __future__ import annotations

import dataclasses

from cbx_sandbox.box import operations as ops
from cbx_sandbox.box.spec import BoxSpec, TerminalSpec
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.policy import Grant, NetworkMode, Policy

# Parts of the tree that every box makes anew: what is mounted there is not the host's any more.
REPLACED = ("/proc", "/sys", "/dev", "/run")


@dataclasses.dataclass(frozen=True, slots=True)
class OverlayPlace:
    """An overlay and the layer directory that takes its writes. ``target`` is a locked directory or a mount."""

    target: str
    layer: str
    redirect: bool


@dataclasses.dataclass(frozen=True, slots=True)
class LockedDirectory:
    """A directory of the lock set as it was when its lock was granted."""

    path: str
    device: int
    inode: int


@dataclasses.dataclass(frozen=True, slots=True)
class HostView:
    """What the plan has to know of the host: its visible mounts, what to hide, what of /run to keep."""

    mounts: tuple[Mount, ...]
    hidden: tuple[str, ...] = ()
    keep_in_run: tuple[str, ...] = ()


def below(path: str, ancestors: tuple[str, ...]) -> bool:
    """True if ``path`` is one of ``ancestors`` or lies beneath one."""
    return any(path == ancestor or path.startswith(ancestor.rstrip("/") + "/") for ancestor in ancestors)


def overlay_targets(policy: Policy, view: HostView) -> list[str]:
    """Where this policy needs overlays, outermost first."""
    if policy.overlay_all:
        writable = [mount for mount in view.mounts if _covers(mount) and not mount.read_only]
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
    build = _everything_overlaid if policy.overlay_all else _mostly_read_only
    return [*build(policy, view, places, locked), *_after(policy, view)]


def _mostly_read_only(
    policy: Policy, view: HostView, places: list[OverlayPlace], locked: list[LockedDirectory]
) -> list[ops.Operation]:
    plan: list[ops.Operation] = [ops.PrivateTree(read_only=True)]
    if places:
        plan.append(ops.Scaffold())
    for place in places:
        inside = tuple(mount.target for mount in view.mounts if _covers(mount) and _strictly_below(mount, place.target))
        plan.append(
            ops.Overlay(
                place.target,
                layer=place.layer,
                lower=f"lock:{place.target}",
                redirect=place.redirect,
                shifted=False,
                mounts_below=inside,
            )
        )
    if places:
        plan.append(ops.Clear())
    plan += [ops.DirectWrite(entry.path, entry.device, entry.inode) for entry in sorted(locked, key=lambda e: e.path)]
    plan.append(_run_directory(policy, view))
    return plan


def _strictly_below(mount: Mount, path: str) -> bool:
    return mount.target != path and below(mount.target, (path,))


def _everything_overlaid(
    policy: Policy, view: HostView, places: list[OverlayPlace], locked: list[LockedDirectory]
) -> list[ops.Operation]:
    assert not locked, "a dangerous job writes to layers only"
    plan: list[ops.Operation] = [ops.PrivateTree(read_only=False), ops.Scaffold()]
    placed = {place.target: place for place in places}
    mounts = sorted((mount for mount in view.mounts if _covers(mount)), key=lambda mount: mount.target.count("/"))
    for mount in sorted(mounts, key=lambda mount: (mount.target != "/", mount.target.count("/"), mount.target)):
        place = placed.get(mount.target)
        if place is None:
            why = "no layer can be put over it" if not mount.read_only else "the host has it so"
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
                )
            )
    plan.append(_run_directory(policy, view))
    return plan


def _run_directory(policy: Policy, view: HostView) -> ops.RunDirectory:
    keep = view.keep_in_run if policy.network is NetworkMode.HOST else ()
    return ops.RunDirectory(policy.limits.tmp_bytes, keep)


def _after(policy: Policy, view: HostView) -> list[ops.Operation]:
    plan: list[ops.Operation] = [ops.Hide(path) for path in view.hidden if not below(path, REPLACED)]
    plan += [ops.ReadOnly(path) for path in policy.readonly]
    plan += [ops.Tmpfs(path, policy.limits.tmp_bytes) for path in policy.tmpfs]
    plan += [ops.Hide(path) for path in policy.hide]
    plan += [ops.Devices(policy.limits.tmp_bytes), ops.Proc(policy.host_proc), ops.Sys()]
    if policy.overlay_all:
        plan.append(ops.Pivot())
    return plan


def writable_paths(policy: Policy) -> list[str]:
    """The paths of the Landlock write rules, from the same list as the mounts."""
    if policy.overlay_all:
        return ["/"]
    return [grant.path for grant in policy.grants if _writes(grant)] + list(policy.tmpfs)


def _writes(grant: Grant) -> bool:
    return grant.direct or grant.overlay


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
) -> BoxSpec:
    """The launcher's order for one job."""
    identity, limits = policy.identity, policy.limits
    return {
        "job": job,
        "argv": argv,
        "environment": dict(policy.environment),
        "workdir": policy.workdir,
        "identity": {
            "uid": identity.uid,
            "gid": identity.gid,
            "groups": [] if policy.shifted else list(identity.groups),
            "shifted": policy.shifted,
        },
        "limits": {
            "memory": limits.memory,
            "swap": limits.swap,
            "cpus": limits.cpus,
            "pids": limits.pids,
            "io_bytes_per_second": limits.io_bytes_per_second,
            "nofile": limits.nofile,
            "fsize": limits.fsize,
            "timeout": limits.timeout,
            "kill_after": limits.kill_after,
        },
        "network": policy.network.value,
        "own_network": policy.network is NetworkMode.NONE,
        "terminal": terminal,
        "descriptors": descriptors,
        "operations": [operation.to_json() for operation in plan],
        "writable": writable_paths(policy),
        "record": record,
        "landlock": landlock,
    }
