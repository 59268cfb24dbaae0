"""Taking a job's overlays down when all its processes are gone, so that their layers are at rest."""

from __future__ import annotations

import os

from cbx_sandbox.box import operations
from cbx_sandbox.box.stage import Stage
from cbx_sandbox.linux import mountinfo, mounts


def overlays(stage: Stage) -> bool:
    """Unmount those of a job without force: it succeeds only if nobody holds a file of theirs open any more."""
    if not stage.overlays:
        return True
    stage.finish()
    try:
        if "/" in stage.overlays:
            # The root itself goes: step aside onto the job's own /run first.
            os.mkdir("/run/.old")
            os.chdir("/run")
            mounts.pivot_root(".", ".old")
            os.chdir("/")
            prefix = "/.old"
        else:
            prefix = ""
        with open(f"{prefix}/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            table = mountinfo.parse(file.read())
        roots = {prefix + path if path != "/" else prefix for path in stage.overlays}
        on_top = _with_all_on_top(table, roots)
        # Where nothing of an overlay is in it the whole tree goes in one step, also what is still in use.
        # One path may have several, one on the other: each is taken by its own call.
        starts = set(_without_overlays(on_top))
        trees = [
            (mount.target, mounts.MNT_DETACH) for mount in on_top if mount.target in starts and mount.kind != "overlay"
        ]
        whole = sorted((mount.target for mount in on_top if mount.kind == "overlay"), key=len, reverse=True)
        _unmount_all([*trees, *((target, 0) for target in whole)])
    except OSError:
        return False
    return True


def _with_all_on_top(table: list[mountinfo.Mount], roots: set[str]) -> list[mountinfo.Mount]:
    """The overlays on ``roots``, and everything that is mounted on them."""
    chosen = {m.mount_id for m in table if m.kind == "overlay" and m.source == operations.SOURCE and m.target in roots}
    grown = True
    while grown:
        more = {mount.mount_id for mount in table if mount.parent_id in chosen} - chosen
        chosen |= more
        grown = bool(more)
    return [mount for mount in table if mount.mount_id in chosen]


def _without_overlays(on_top: list[mountinfo.Mount]) -> list[str]:
    """Where the largest trees without an overlay in them are mounted, the last mounted first."""
    parents = {mount.mount_id: mount.parent_id for mount in on_top}
    leads_to_overlay: set[int] = set()
    for mount in on_top:
        at = mount.mount_id
        while mount.kind == "overlay" and at in parents and at not in leads_to_overlay:
            leads_to_overlay.add(at)
            at = parents[at]
    tops = [m for m in on_top if m.mount_id not in leads_to_overlay and m.parent_id in leads_to_overlay]
    return [mount.target for mount in sorted(tops, key=lambda mount: -mount.mount_id)]


def _unmount_all(left: list[tuple[str, int]]) -> None:
    """Unmount by path and flags; what another mount still covers, or stands on, comes in a later round."""
    while left:
        again = []
        for target, flags in left:
            try:
                mounts.umount(target, flags)
            except OSError as error:
                refused = error
                again.append((target, flags))
        if len(again) == len(left):
            raise refused
        left = again
