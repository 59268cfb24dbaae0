"""The tree as a whole: cut off from the host's, built beside it, made the root."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.box.operations.base import Operation, mount_tmpfs
from cbx_sandbox.box.operations.system import Proc, Sys
from cbx_sandbox.box.stage import RO_FLAGS, RW_FLAGS, SCAFFOLD, Stage
from cbx_sandbox.linux import mounts

TMPDIR = "/run/tmp"
# What every box has in /run, whatever the host has; and cbx's own locks (jobusers.LOCKS), which could be taken there.
_OWN_IN_RUN = {"tmp", "lock", ".cbx", "cbx.lock", "cbx-users"}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class PrivateTree(Operation):
    """Cut the copy of the host's mounts off from the host; read-only as a whole unless overlays will cover it."""

    read_only: bool

    def describe(self) -> str:
        return (
            "host tree read-only, nothing propagates" if self.read_only else "host tree as a base, nothing propagates"
        )

    def execute(self, stage: Stage) -> None:
        # One system call for the whole tree: what a mount allows is decided before anything else is attached.
        flags = RO_FLAGS if self.read_only else 0
        mounts.mount_setattr(mounts.AT_FDCWD, "/", set_=flags, propagation=mounts.MS_PRIVATE, recursive=True)


class Scaffold(Operation):
    """A place to hang mounts on that others are made from."""

    def describe(self) -> str:
        return "put a scaffold up"

    def execute(self, stage: Stage) -> None:
        if stage.private_run:
            os.mkdir(SCAFFOLD)
        else:
            # The whole host tree is about to be left behind: its own /run may be covered.
            stage.host_run = os.open("/run", _DIRECTORY)
            mount_tmpfs(stage, "/run", 1 << 20, 0o700)
            os.mkdir(SCAFFOLD)
        tree = mounts.new_mount("tmpfs", {"size": "1m", "mode": "0700"}, RW_FLAGS)
        mounts.move_mount(tree, SCAFFOLD)
        os.close(tree)


class MadeAhead(Operation):
    """The job's /proc and /sys on the scaffold, before the root is known that they will be moved to."""

    def describe(self) -> str:
        return "make /proc and /sys ahead"

    def execute(self, stage: Stage) -> None:
        root, stage.root = stage.root, stage.scaffold()
        try:
            for operation in (Proc(host=False), Sys()):
                path = f"/{type(operation).__name__.lower()}"
                os.mkdir(stage.path(path), 0o755)
                operation.execute(stage)
                stage.ready[path] = stage.path(path)
        finally:
            stage.root = root


class RunDirectory(Operation):
    """A private /run with a TMPDIR: the host's sockets are out of reach. ``keep`` are files that stay, read-only.

    ``shown``: all that the host has there stays, read-only, its sockets with it.
    """

    size: int
    keep: tuple[str, ...] = ()
    shown: bool = False

    def describe(self) -> str:
        kept = f", keeps {', '.join(self.keep)}" if self.keep else ""
        kept = ", shows the host's" if self.shown else kept
        return f"private /run and {TMPDIR} ({self.size >> 20} MiB){kept}"

    def execute(self, stage: Stage) -> None:
        kept = self._kept(stage) if self.keep or self.shown else []
        if stage.host_run >= 0:
            os.close(stage.host_run)
            stage.host_run = -1
        mount_tmpfs(stage, "/run", self.size, 0o755)
        stage.private_run = True
        for name in ("tmp", "lock"):
            os.mkdir(stage.path(f"/run/{name}"))
            os.chown(stage.path(f"/run/{name}"), stage.owner, stage.owner)
            os.chmod(stage.path(f"/run/{name}"), 0o1777)  # noqa: S103  # as /tmp is
        for path, tree in kept:
            mounts.mount_setattr(tree, set_=RO_FLAGS, propagation=mounts.MS_PRIVATE, recursive=True)
            os.makedirs(stage.path(os.path.dirname(path)), 0o755, exist_ok=True)
            if stat.S_ISDIR(os.fstat(tree).st_mode):
                os.mkdir(stage.path(path), 0o755)
            else:
                os.close(os.open(stage.path(path), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            stage.attach(tree, path)

    def _kept(self, stage: Stage) -> list[tuple[str, int]]:
        """What stays, as detached trees of the host's."""
        host = stage.host_run if stage.host_run >= 0 else os.open("/run", _DIRECTORY)
        names = [os.path.relpath(path, "/run") for path in self.keep]
        if self.shown:
            names = [name for name in os.listdir(host) if name not in _OWN_IN_RUN]
        kept = []
        for name in names:
            try:
                kept.append((f"/run/{name}", mounts.open_tree(name, dir_fd=host, recursive=True)))
            except FileNotFoundError:
                if not self.shown:  # something of the host's may go while this looks
                    raise
        if stage.host_run < 0:
            os.close(host)
        return kept


class Pivot(Operation):
    """Leave the host's tree behind: the tree that was built becomes the root, the old one is detached."""

    def describe(self) -> str:
        return "pivot into the new tree"

    def execute(self, stage: Stage) -> None:
        os.chdir(stage.root)
        mounts.pivot_root(".", ".")
        mounts.umount(".", mounts.MNT_DETACH)
        os.chdir("/")
        stage.root = ""


class Clear(Operation):
    """Take the scaffold down."""

    def describe(self) -> str:
        return "take the scaffold down"

    def execute(self, stage: Stage) -> None:
        # The overlays hold their layers by clones of their own.
        mounts.umount(SCAFFOLD, mounts.MNT_DETACH)
        os.rmdir(SCAFFOLD)
