"""The mounts of one box as a list of small objects: planned without privileges, shown by ``explain``, executed by init.

Each operation says what it does (``describe``) and does it (``execute``) in the job's own mount namespace, before any
code of the job runs. Paths are as the job will see them; :attr:`Stage.root` is where that tree is being built.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from typing import Any, ClassVar

from cbx_sandbox.linux import files, mounts, privileges

SCAFFOLD = "/run/.cbx"  # while the tree is built, mounts that others are made from hang here
NEW_ROOT = SCAFFOLD + "/root"
TMPDIR = "/run/tmp"
SOURCE = "cbx"  # what the mount table calls the overlays
MAPPED = ", the submitter's files as the job user's"
NO_GROUP = 0x3FFFFFFE  # members of this group would see hidden processes: nobody is

_RW_FLAGS = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
_RO_FLAGS = _RW_FLAGS | mounts.ATTR_RDONLY

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_NUMBERS = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
# They lead nowhere, whoever opens them: /dev/tty is what it is for its session only.
HARMLESS_DEVICES = {os.makedev(*number): name for name, number in _DEVICE_NUMBERS.items() if name != "tty"}
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# Parts of a fresh /proc and /sys that tell about or reach the host beyond the job's own processes.
# Some of it only root can read, whose jobs have root's uid below DANGEROUS: page frames, kernel memory, power meters.
_PROC_MASKS = (
    "kcore", "keys", "timer_list", "sched_debug", "kallsyms", "kmsg", "sysrq-trigger", "acpi", "scsi", "interrupts",
    "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "slabinfo", "vmallocinfo", "vmcore",
)  # fmt: skip
_SYS_MASKS = (
    "firmware", "kernel/debug", "kernel/security", "kernel/vmcoreinfo", "fs/bpf", "fs/fuse", "power", "module",
    "devices/virtual/powercap",
)  # fmt: skip


@dataclasses.dataclass(slots=True)
class Stage:
    """Where the tree is built, and what came with the request."""

    descriptors: dict[str, int]
    userns_fd: int | None = None
    owner: int = 0  # who owns what the box makes for the job: uid 0 outside, or the first id of a shifted range
    job_user: tuple[int, int] | None = None  # uid and gid of a job user that the job runs as
    ways: set[str] = dataclasses.field(default_factory=set)  # directories that are there only to lead on
    root: str = ""
    scaffolds: int = 0
    empty: int = -1
    null: int = -1
    private_run: bool = False
    ready: dict[str, str] = dataclasses.field(default_factory=dict)  # made ahead: where it will go, where it is
    overlays: list[str] = dataclasses.field(default_factory=list)
    uppers: list[int] = dataclasses.field(default_factory=list)

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
        tree = mounts.new_mount("tmpfs", {"size": "4k", "nr_inodes": "2", "mode": "0555"}, _RO_FLAGS)
        # A copy of the descriptor: once the caller has attached the mount, it can be cloned (open_tree(2)).
        self.empty = os.dup(tree)
        return tree

    def nothing(self) -> int:
        """A detached /dev/null of the host's to cover a file with: the first is verified, the others are its clones."""
        if self.null >= 0:
            return mounts.open_tree("", dir_fd=self.null)
        tree = device("null", _RO_FLAGS & ~mounts.ATTR_NODEV)
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
                tree = mounts.new_mount("tmpfs", {"size": "64k", "nr_inodes": "256", "mode": "0755"}, _RW_FLAGS)
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


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One step. Subclasses are registered by name so that they travel as JSON."""

    registry: ClassVar[dict[str, type[Operation]]] = {}

    def describe(self) -> str:
        """One line for people."""
        raise NotImplementedError

    def execute(self, stage: Stage) -> None:
        """Do it. Raises OSError."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The operation as a JSON object."""
        return {"op": type(self).__name__} | {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }


def from_json(value: dict[str, Any]) -> Operation:
    """The operation that :meth:`Operation.to_json` made ``value`` from."""
    fields = dict(value)
    return Operation.registry[fields.pop("op")](**fields)


def _register(cls: type[Operation]) -> type[Operation]:
    Operation.registry[cls.__name__] = cls
    return cls


@dataclasses.dataclass(frozen=True, slots=True)
class PrivateTree(Operation):
    """Cut the copy of the host's mounts off from the host; read-only as a whole unless overlays will cover it."""

    read_only: bool

    def describe(self) -> str:
        return (
            "host tree read-only, nothing propagates" if self.read_only else "host tree as a base, nothing propagates"
        )

    def execute(self, stage: Stage) -> None:
        # One system call for the whole tree: what a mount allows is decided before anything else is attached.
        flags = _RO_FLAGS if self.read_only else 0
        mounts.mount_setattr(mounts.AT_FDCWD, "/", set_=flags, propagation=mounts.MS_PRIVATE, recursive=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Scaffold(Operation):
    """A place to hang mounts on that others are made from."""

    def describe(self) -> str:
        return "put a scaffold up"

    def execute(self, stage: Stage) -> None:
        if stage.private_run:
            os.mkdir(SCAFFOLD)
        else:
            # The whole host tree is about to be left behind: its own /run may be covered.
            _mount_tmpfs(stage, "/run", 1 << 20, 0o700)
            os.mkdir(SCAFFOLD)
        tree = mounts.new_mount("tmpfs", {"size": "1m", "mode": "0700"}, _RW_FLAGS)
        mounts.move_mount(tree, SCAFFOLD)
        os.close(tree)


@dataclasses.dataclass(frozen=True, slots=True)
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


@dataclasses.dataclass(frozen=True, slots=True)
class RunDirectory(Operation):
    """A private /run with a TMPDIR: the host's sockets are out of reach. ``keep`` are files that stay, read-only."""

    size: int
    keep: tuple[str, ...] = ()

    def describe(self) -> str:
        kept = f", keeps {', '.join(self.keep)}" if self.keep else ""
        return f"private /run and {TMPDIR} ({self.size >> 20} MiB){kept}"

    def execute(self, stage: Stage) -> None:
        kept = [(path, mounts.open_tree(path)) for path in self.keep]
        _mount_tmpfs(stage, "/run", self.size, 0o755)
        stage.private_run = True
        for name in ("tmp", "lock"):
            os.mkdir(stage.path(f"/run/{name}"))
            os.chown(stage.path(f"/run/{name}"), stage.owner, stage.owner)
            os.chmod(stage.path(f"/run/{name}"), 0o1777)  # noqa: S103  # as /tmp is
        for path, tree in kept:
            mounts.mount_setattr(tree, set_=_RO_FLAGS)
            os.makedirs(stage.path(os.path.dirname(path)), 0o755, exist_ok=True)
            os.close(os.open(stage.path(path), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            stage.attach(tree, path)


@dataclasses.dataclass(frozen=True, slots=True)
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
        mounts.mount_setattr(tree, set_=_RO_FLAGS, propagation=mounts.MS_PRIVATE, recursive=True)
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


@dataclasses.dataclass(frozen=True, slots=True)
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
        lower = self._place(stage, lower_tree, _RO_FLAGS, 0)
        if self.shown:
            tree = self._view(stage, lower)
            self._put(stage, tree)
            return
        # Where layers lie is hidden in every box: the launcher cloned the directory before.
        upper = self._place(stage, stage.descriptors[f"layer:{self.layer}"], _RW_FLAGS, mounts.ATTR_RDONLY)
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
        with _file_system_ids(*(stage.job_user or owner if self.mapped else owner)):
            tree = mounts.new_mount("overlay", options, _RW_FLAGS)
        # A mounter whose ids do not map into the upper gets a read-only overlay without an error (isolation.md, 5.1).
        if os.fstatvfs(tree).f_flag & os.ST_RDONLY:
            os.close(tree)
            raise OSError(f"the overlay over {self.path} came out read-only: the layer cannot be written")
        self._put(stage, tree)

    def _view(self, stage: Stage, lower: str) -> int:
        """What the layer makes of the lower tree: both are lower layers of an overlay that nobody can write to."""
        layer = self._place(stage, stage.descriptors[f"layer:{self.layer}"], _RO_FLAGS, 0)
        # A mount of its own: the path of what is shown may be longer than the kernel takes in an option.
        upper = self._place(stage, mounts.open_tree(f"{layer}/{self.shown}"), _RO_FLAGS, 0)
        options: dict[str, str | None] = {
            "source": SOURCE,
            "lowerdir": f"{upper}:{lower}",
            "redirect_dir": "follow",
            "index": "off",
            "metacopy": "off",
        }
        return mounts.new_mount("overlay", options, _RO_FLAGS)

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
            mounts.mount_setattr(kept, set_=_RO_FLAGS)
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


@dataclasses.dataclass(frozen=True, slots=True)
class ReadOnly(Operation):
    """A tree that can be read and not written: as built so far, or (``from_host``) one mount of the host as it is."""

    path: str
    from_host: bool = False
    why: str = ""

    def describe(self) -> str:
        return f"{self.path} read-only" + (f" ({self.why})" if self.why else "")

    def execute(self, stage: Stage) -> None:
        if self.from_host:
            tree = mounts.open_tree(self.path)
        else:
            source = stage.open(self.path)
            tree = mounts.open_tree("", dir_fd=source, recursive=True)
            os.close(source)
        mounts.mount_setattr(tree, set_=_RO_FLAGS, recursive=True)
        stage.attach(tree, self.path)


@dataclasses.dataclass(frozen=True, slots=True)
class Show(Operation):
    """A directory of the submitter's for a job user, read-only, by the descriptor that the submitter could open."""

    path: str

    def describe(self) -> str:
        return f"{self.path} read-only" + MAPPED

    def execute(self, stage: Stage) -> None:
        tree = stage.descriptors.get(f"show:{self.path}")
        if tree is None:
            return  # the submitter does not come there either
        mounts.mount_setattr(tree, set_=_RO_FLAGS, propagation=mounts.MS_PRIVATE, recursive=True)
        stage.map(tree)
        stage.lead_to(self.path)
        stage.arrive(tree, self.path)


@dataclasses.dataclass(frozen=True, slots=True)
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


@dataclasses.dataclass(frozen=True, slots=True)
class Tmpfs(Operation):
    """A private, empty, writable directory in memory over ``path``."""

    path: str
    size: int

    def describe(self) -> str:
        return f"private tmpfs on {self.path} ({self.size >> 20} MiB)"

    def execute(self, stage: Stage) -> None:
        _mount_tmpfs(stage, self.path, self.size, 0o1777)


@dataclasses.dataclass(frozen=True, slots=True)
class Devices(Operation):
    """A minimal /dev: six devices, own terminals, own shared memory."""

    shm_size: int

    def describe(self) -> str:
        return f"minimal /dev ({' '.join(DEVICES)}, own pts and shm)"

    def execute(self, stage: Stage) -> None:
        # Taken from the host before /dev is covered, and checked: a mask must be the real device (CVE-2025-31133).
        # Read-only: devices can be written all the same, but their owner cannot change the host's mode, times or owner.
        trees = {name: device(name, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC | mounts.ATTR_RDONLY) for name in DEVICES}
        owner = str(stage.owner)
        options: dict[str, str | None] = {"size": "64k", "mode": "0755", "uid": owner, "gid": owner}
        stage.attach(mounts.new_mount("tmpfs", options, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC), "/dev")
        directory = stage.path("/dev")
        for name, tree in trees.items():
            os.close(os.open(f"{directory}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            mounts.move_mount(tree, f"{directory}/{name}")
            os.close(tree)
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, f"{directory}/{name}")
        for name in ("pts", "shm"):
            os.mkdir(f"{directory}/{name}", 0o755)
        options = {"newinstance": None, "ptmxmode": "0666", "mode": "620", "gid": str(stage.owner + 5)}
        stage.attach(mounts.new_mount("devpts", options, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC), "/dev/pts")
        _mount_tmpfs(stage, "/dev/shm", self.shm_size, 0o1777)  # noqa: S108  # a mount point, not a temporary file


@dataclasses.dataclass(frozen=True, slots=True)
class Proc(Operation):
    """The job's own /proc, read-only; or the host's, read-only, for programs that look at the host's processes."""

    host: bool

    def describe(self) -> str:
        return "the host's /proc, read-only" if self.host else "own /proc, read-only"

    def execute(self, stage: Stage) -> None:
        if self.host:
            if stage.root:
                tree = mounts.open_tree("/proc")
                mounts.mount_setattr(tree, set_=_RO_FLAGS)
                stage.attach(tree, "/proc")
        elif stage.attach_ready("/proc"):
            return
        else:
            # Read-only as a whole: everything writable in /proc is a kernel setting or another process's business.
            options: dict[str, str | None] = {"hidepid": "invisible", "gid": str(NO_GROUP)}
            stage.attach(mounts.new_mount("proc", options, _RO_FLAGS | mounts.ATTR_NOEXEC), "/proc")
        _mask(stage, "/proc", _PROC_MASKS)


@dataclasses.dataclass(frozen=True, slots=True)
class Sys(Operation):
    """A fresh read-only /sys, with nothing in cgroup but the job's own group."""

    def describe(self) -> str:
        return "own /sys, read-only; the job's own cgroup, read-only"

    def execute(self, stage: Stage) -> None:
        if stage.attach_ready("/sys"):
            return
        stage.attach(mounts.new_mount("sysfs", {}, _RO_FLAGS | mounts.ATTR_NOEXEC), "/sys")
        _mask(stage, "/sys", _SYS_MASKS)
        tree = stage.descriptors.get("cgroup")
        if tree is not None:
            mounts.mount_setattr(tree, set_=_RO_FLAGS | mounts.ATTR_NOEXEC)
            stage.attach(tree, "/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True, slots=True)
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


@dataclasses.dataclass(frozen=True, slots=True)
class Clear(Operation):
    """Take the scaffold down."""

    def describe(self) -> str:
        return "take the scaffold down"

    def execute(self, stage: Stage) -> None:
        # The overlays hold their layers by clones of their own.
        mounts.umount(SCAFFOLD, mounts.MNT_DETACH)
        os.rmdir(SCAFFOLD)


for _operation in (
    PrivateTree, Scaffold, MadeAhead, RunDirectory, DirectWrite, Overlay, ReadOnly, Show, Hide, Tmpfs, Devices, Proc,
    Sys, Pivot, Clear,
):  # fmt: skip
    _register(_operation)


def device(name: str, attributes: int) -> int:
    """A detached mount of the host's ``/dev/NAME``, verified by its device number."""
    tree = mounts.open_tree(f"/dev/{name}")
    found = os.stat(tree)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(*_DEVICE_NUMBERS[name]):
        os.close(tree)
        raise OSError(f"/dev/{name} of this host is not the device it should be")
    mounts.mount_setattr(tree, set_=attributes, clear=(mounts.ATTR_NODEV | mounts.ATTR_RDONLY) & ~attributes)
    return tree


def _mask(stage: Stage, directory: str, names: tuple[str, ...]) -> None:
    for name in names:
        if os.path.lexists(stage.path(f"{directory}/{name}")):
            Hide(f"{directory}/{name}").execute(stage)


def _mount_tmpfs(stage: Stage, path: str, size: int, mode: int) -> None:
    owner = str(stage.owner)
    options: dict[str, str | None] = {"size": str(size), "mode": f"{mode:o}", "uid": owner, "gid": owner}
    stage.attach(mounts.new_mount("tmpfs", options, _RW_FLAGS), path)


class _file_system_ids:  # noqa: N801  # reads as a with-block, not as a type
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
