"""What a job may write: live directories by their locks, and layers of its own."""

from __future__ import annotations

import os

from cbx_sandbox.box.operations.base import MAPPED, Operation
from cbx_sandbox.box.stage import RO_FLAGS, RW_FLAGS, SCAFFOLD, Stage
from cbx_sandbox.linux import mounts, privileges

NEW_ROOT = SCAFFOLD + "/root"
SOURCE = "cbx"  # what the mount table calls the overlays


class DirectWrite(Operation):
    """Write access to one live directory: the very directory whose lock was granted, by its descriptor."""

    path: str
    device: int
    inode: int
    mapped: bool = False  # the submitter's files belong to the job user

    def describe(self) -> str:
        return f"write {self.path} (live, exclusive lock)" + (MAPPED if self.mapped else "")

    def execute(self, stage: Stage) -> None:
        # The launcher cloned the tree from the locked descriptor; mounts below it stay read-only.
        tree = stage.descriptors[f"lock:{self.path}"]
        read_only = os.fstatvfs(tree).f_flag & os.ST_RDONLY  # the administrator's choice: a lock is no right
        mounts.mount_setattr(tree, set_=RO_FLAGS, propagation=mounts.MS_PRIVATE, recursive=True)
        if not read_only:
            mounts.mount_setattr(tree, clear=mounts.ATTR_RDONLY)
        if self.mapped:
            stage.map(tree)
            stage.lead_to(self.path)
        target = stage.open(self.path)
        try:
            found = os.fstat(target)
            if self.path not in stage.ways and (found.st_dev, found.st_ino) != (self.device, self.inode):
                raise OSError(f"{self.path} is not the directory that was locked")
            mounts.move_mount(tree, "", dir_fd=target)
            stage.ways.discard(self.path)
        finally:
            os.close(target)
            os.close(tree)


class Overlay(Operation):
    """An overlay over one directory or whole mount: writes go to ``layer``, the lower tree is not touched.

    The path form of the lower and upper directories is used on purpose: descriptors as layers need Linux 6.13.
    """

    path: str
    layer: str  # holds upper/ and work/
    lower: str  # "lock:PATH" for a locked directory, "" for the mount at ``path`` itself
    redirect: bool
    shifted: bool
    becomes_root: bool = False
    mounts_below: tuple[str, ...] = ()  # other mounts of the host under ``path``: shown read-only
    saved: int = 0  # levels of ``layer`` that lie between its upper directory and the lower tree
    shown: str = ""  # a directory in ``layer`` to show over ``path``, read-only: nothing is written then
    mapped: bool = False  # the submitter's files belong to the job user, those that are made to the submitter

    def describe(self) -> str:
        if self.shown:
            return f"{self.layer}/{self.shown} shown over {self.path}, read-only"
        return f"overlay over {self.path}, writes go to {self.layer}" + (MAPPED if self.mapped else "")

    def execute(self, stage: Stage) -> None:
        lower_tree = stage.descriptors[self.lower] if self.lower else mounts.open_tree(self.path)
        lower = self._place(stage, lower_tree, RO_FLAGS, 0)
        if self.shown:
            tree = self._view(stage, lower)
            self._put(stage, tree)
            return
        # Where layers lie is hidden in every box: the launcher cloned the directory before.
        upper = self._place(stage, stage.descriptors[f"layer:{self.layer}"], RW_FLAGS, mounts.ATTR_RDONLY)
        stage.uppers.append(os.open(upper + "/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        options: dict[str, str | None] = {
            "source": SOURCE,
            "lowerdir": ":".join([*(f"{upper}/saved/{number}" for number in range(self.saved, 0, -1)), lower]),
            "upperdir": upper + "/upper",
            "workdir": upper + "/work",
            # Over saved levels no directory is moved by name alone, so that they can be joined again.
            "redirect_dir": "follow" if self.saved else "on" if self.redirect else "off",
            "index": "off",
            "metacopy": "off",
            "volatile": None,
        }
        owner = (stage.owner, stage.owner) if self.shifted else (0, 0)
        with FileSystemIds(*(stage.job_user or owner if self.mapped else owner)):
            tree = mounts.new_mount("overlay", options, RW_FLAGS)
        # A mounter whose ids do not map into the upper gets a read-only overlay without an error (isolation.md, 5.1).
        if os.fstatvfs(tree).f_flag & os.ST_RDONLY:
            os.close(tree)
            raise OSError(f"the overlay over {self.path} came out read-only: the layer cannot be written")
        self._put(stage, tree)

    def _view(self, stage: Stage, lower: str) -> int:
        """What the layer makes of the lower tree: both are lower layers of an overlay that nobody can write to."""
        layer = self._place(stage, stage.descriptors[f"layer:{self.layer}"], RO_FLAGS, 0)
        # A mount of its own: the path of what is shown may be longer than the kernel takes in an option.
        upper = self._place(stage, mounts.open_tree(f"{layer}/{self.shown}"), RO_FLAGS, 0)
        options: dict[str, str | None] = {
            "source": SOURCE,
            "lowerdir": f"{upper}:{lower}",
            "redirect_dir": "follow",
            "index": "off",
            "metacopy": "off",
        }
        return mounts.new_mount("overlay", options, RO_FLAGS)

    def _put(self, stage: Stage, tree: int) -> None:
        below = [(path, mounts.open_tree(path)) for path in self.mounts_below]
        if self.becomes_root:
            os.mkdir(NEW_ROOT, 0o755)
            mounts.move_mount(tree, NEW_ROOT)
            os.close(tree)
            stage.root = NEW_ROOT
        else:
            if self.mapped and not stage.root:
                stage.lead_to(self.path)
            stage.arrive(tree, self.path)
        for path, kept in below:
            mounts.mount_setattr(kept, set_=RO_FLAGS)
            stage.attach(kept, path)
        stage.overlays.append(self.path)

    def _place(self, stage: Stage, tree: int, set_: int, clear: int) -> str:
        userns_fd = 0
        if self.shifted or self.mapped:
            assert stage.userns_fd is not None
            set_ |= mounts.ATTR_IDMAP
            userns_fd = stage.userns_fd
        mounts.mount_setattr(tree, set_=set_, clear=clear, propagation=mounts.MS_PRIVATE, userns_fd=userns_fd)
        directory = stage.scaffold()
        mounts.move_mount(tree, directory)
        os.close(tree)
        return directory


class FileSystemIds:
    """Make and find files as this user, all capabilities kept: overlayfs makes its work directory as the mounter."""

    def __init__(self, uid: int, gid: int) -> None:
        self.ids = (uid, gid)

    def __enter__(self) -> None:
        if self.ids != (0, 0):
            privileges.keep_capabilities_across_ids(on=True)
            privileges.set_file_system_ids(*self.ids)

    def __exit__(self, *_: object) -> None:
        if self.ids != (0, 0):
            privileges.set_file_system_ids(0, 0)
            privileges.keep_capabilities_across_ids(on=False)
