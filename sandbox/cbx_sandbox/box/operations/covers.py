"""What is put over parts of the tree: read-only views, nothing at all, memory."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.box.operations.base import MAPPED, Operation, mount_tmpfs
from cbx_sandbox.box.stage import RO_FLAGS, Stage
from cbx_sandbox.linux import mounts


class ReadOnly(Operation):
    """A tree that can be read and not written: as built so far, or (``from_host``) one mount of the host as it is."""

    path: str
    from_host: bool = False
    why: str = ""

    def describe(self) -> str:
        return f"{self.path} read-only" + (f" ({self.why})" if self.why else "")

    def execute(self, stage: Stage) -> None:
        tree = mounts.open_tree(self.path) if self.from_host else stage.clone(self.path)
        mounts.mount_setattr(tree, set_=RO_FLAGS, recursive=True)
        stage.attach(tree, self.path)


class Show(Operation):
    """A directory of the submitter's for a job user, read-only, by the descriptor that the submitter could open."""

    path: str

    def describe(self) -> str:
        return f"{self.path} read-only" + MAPPED

    def execute(self, stage: Stage) -> None:
        tree = stage.descriptors.get(f"show:{self.path}")
        if tree is None:
            return  # the submitter does not come there either
        mounts.mount_setattr(tree, set_=RO_FLAGS, propagation=mounts.MS_PRIVATE, recursive=True)
        stage.map(tree)
        stage.lead_to(self.path)
        stage.arrive(tree, self.path)


class Pin(Operation):
    """A directory on the way to what is covered stays where it is: what is mounted on cannot be renamed or removed.

    Moved away, it would take the cover along, and leave the path free for something else; and later jobs would find
    under another name what is hidden from them under this one.
    """

    path: str

    def describe(self) -> str:
        return f"{self.path} stays where it is"

    def execute(self, stage: Stage) -> None:
        try:
            tree = stage.clone(self.path)
        except FileNotFoundError:
            return  # gone since it was planned, and what was in it
        stage.attach(tree, self.path)


class Hide(Operation):
    """Nothing to see here: an empty read-only directory, or /dev/null, over ``path``."""

    path: str
    if_there: bool = False  # the host may have taken its mount away since

    def describe(self) -> str:
        return f"hide {self.path}"

    def execute(self, stage: Stage) -> None:
        try:
            target = stage.open(self.path)
        except FileNotFoundError:
            if self.if_there:
                return
            raise
        try:
            directory = stat.S_ISDIR(os.fstat(target).st_mode)
            tree = stage.empty_directory() if directory else stage.nothing()
            try:
                mounts.move_mount(tree, "", dir_fd=target)
            finally:
                os.close(tree)
        finally:
            os.close(target)


class Tmpfs(Operation):
    """A private, empty, writable directory in memory over ``path``."""

    path: str
    size: int

    def describe(self) -> str:
        return f"private tmpfs on {self.path} ({self.size >> 20} MiB)"

    def execute(self, stage: Stage) -> None:
        mount_tmpfs(stage, self.path, self.size, 0o1777)
