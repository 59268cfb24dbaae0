"""Where a box's tree is built: what operations share while they are executed, as init, in the job's mount namespace."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.linux import files, mounts

SCAFFOLD = "/run/.cbx"  # while the tree is built, mounts that others are made from hang here
RW_FLAGS = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
RO_FLAGS = RW_FLAGS | mounts.ATTR_RDONLY
DEVICE_NUMBERS = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


class Stage:
    """Where the tree is built, and what came with the request.

    ``owner`` owns what the box makes for the job: uid 0 outside, or the first id of a shifted range.
    """

    def __init__(self, descriptors: dict[str, int], userns_fd: int | None = None, owner: int = 0) -> None:
        self.descriptors = descriptors
        self.userns_fd = userns_fd
        self.owner = owner
        self.job_user: tuple[int, int] | None = None  # uid and gid of a job user that the job runs as
        self.ways: set[str] = set()  # directories that are there only to lead on
        self.root = ""
        self.host_run = -1  # the host's /run, where something covers it
        self.scaffolds = 0
        self.empty = -1
        self.null = -1
        self.private_run = False
        self.ready: dict[str, str] = {}  # made ahead: where it will go, where it is
        self.overlays: list[str] = []
        self.uppers: list[int] = []

    def path(self, inside: str) -> str:
        """Where ``inside`` (a path as the job sees it) lies now."""
        return self.root + inside if inside != "/" else self.root or "/"

    def open(self, inside: str) -> int:
        """O_PATH descriptor of ``inside``, never through a symlink (openat2(2))."""
        root_fd = os.open(self.root or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            relative = inside.lstrip("/") or "."
            resolve = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS
            return files.openat2(root_fd, relative, os.O_PATH | os.O_CLOEXEC, resolve=resolve)
        finally:
            os.close(root_fd)

    def clone(self, inside: str) -> int:
        """All that is mounted at ``inside``, once more, as a detached tree. Raises FileNotFoundError."""
        source = self.open(inside)
        try:
            return mounts.open_tree("", dir_fd=source, recursive=True)
        finally:
            os.close(source)

    def attach(self, tree: int, inside: str) -> None:
        """Attach the mount ``tree`` at ``inside``, move it there if it is attached elsewhere, and close it."""
        try:
            target = self.open(inside)
            try:
                mounts.move_mount(tree, "", dir_fd=target)
            finally:
                os.close(target)
        finally:
            os.close(tree)

    def empty_directory(self) -> int:
        """A detached empty read-only directory: the first is a file system, the others are clones of its mount."""
        if self.empty >= 0:
            return mounts.open_tree("", dir_fd=self.empty)
        tree = mounts.new_mount("tmpfs", {"size": "4k", "nr_inodes": "2", "mode": "0555"}, RO_FLAGS)
        # A copy of the descriptor: once the caller has attached the mount, it can be cloned (open_tree(2)).
        self.empty = os.dup(tree)
        return tree

    def nothing(self) -> int:
        """A detached /dev/null of the host's to cover a file with: the first is verified, the others are its clones."""
        if self.null >= 0:
            return mounts.open_tree("", dir_fd=self.null)
        tree = device("null", RO_FLAGS & ~mounts.ATTR_NODEV)
        self.null = os.dup(tree)
        return tree

    def finish(self) -> None:
        """Let go of what would keep a mount busy, before mounts are taken down."""
        for fd in (self.empty, self.null):
            if fd >= 0:
                os.close(fd)
        self.empty = self.null = -1

    def attach_ready(self, inside: str) -> bool:
        """Attach what was made ahead for ``inside``; False if nothing was."""
        place = self.ready.pop(inside, None)
        if place is None:
            return False
        self.attach(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), inside)
        return True

    def map(self, tree: int) -> None:
        """Have what belongs to the submitter in the detached mount ``tree`` belong to the job user."""
        assert self.userns_fd is not None
        mounts.mount_setattr(tree, set_=mounts.ATTR_IDMAP, userns_fd=self.userns_fd)

    def lead_to(self, path: str) -> None:
        """See to it that the job user comes to ``path``: from the first directory on that is shut to it, only the way.

        What else lies there is the submitter's, who keeps others out.
        """
        names = path.strip("/").split("/")
        for depth in range(1, len(names) + 1):
            directory = "/" + "/".join(names[:depth])
            if directory in self.ways:
                continue
            if "/" + "/".join(names[: depth - 1]) in self.ways:
                try:
                    os.mkdir(self.path(directory), 0o755)
                except FileExistsError:
                    continue  # where another way has ended: what was attached there goes on
            elif depth == len(names) or self._passable(directory):
                continue
            else:
                tree = mounts.new_mount("tmpfs", {"size": "64k", "nr_inodes": "256", "mode": "0755"}, RW_FLAGS)
                self.attach(tree, directory)
            self.ways.add(directory)

    def arrive(self, tree: int, path: str) -> None:
        """Attach ``tree`` at the end of its way."""
        self.attach(tree, path)
        self.ways.discard(path)

    def _passable(self, directory: str) -> bool:
        assert self.job_user is not None
        uid, gid = self.job_user
        fd = self.open(directory)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        bit = stat.S_IXUSR if found.st_uid == uid else stat.S_IXGRP if found.st_gid == gid else stat.S_IXOTH
        return bool(found.st_mode & bit)

    def scaffold(self) -> str:
        """A new empty directory to hang a mount on while others are made from it."""
        self.scaffolds += 1
        path = f"{SCAFFOLD}/{self.scaffolds}"
        os.mkdir(path, 0o700)
        return path


def device(name: str, attributes: int) -> int:
    """A detached mount of the host's ``/dev/NAME``, verified by its device number."""
    tree = mounts.open_tree(f"/dev/{name}")
    found = os.stat(tree)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(*DEVICE_NUMBERS[name]):
        os.close(tree)
        raise OSError(f"/dev/{name} of this host is not the device it should be")
    mounts.mount_setattr(tree, set_=attributes, clear=(mounts.ATTR_NODEV | mounts.ATTR_RDONLY) & ~attributes)
    return tree
