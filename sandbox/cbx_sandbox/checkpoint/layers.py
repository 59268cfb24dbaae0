"""Where a job's changes are kept: one directory with upper/ and work/ for each overlaid directory or mount."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from cbx_sandbox.checkpoint import homes
from cbx_sandbox.errors import UnavailableError
from cbx_sandbox.linux import files, mountinfo, removal, xattr

_TRUSTED = b"trusted.overlay."


@dataclasses.dataclass(frozen=True, slots=True)
class LayerSpec:
    """One overlay of one job: what it covers, and where its changes go."""

    index: int
    target: str  # the overlaid directory, or mount point: absolute, without symlinks
    lower_device: int
    root: str  # holds upper/ and work/, 0700 root
    whole_mount: bool
    same_filesystem: bool  # a commit can rename from the layer into the target
    redirect_dir: bool

    @property
    def upper(self) -> str:
        """The overlay's upper directory."""
        return f"{self.root}/upper"

    @property
    def work(self) -> str:
        """The overlay's work directory."""
        return f"{self.root}/work"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> LayerSpec:
        """The layer that :meth:`to_json` was called on; what an earlier release wrote beside it is left out."""
        return LayerSpec(**{field.name: value[field.name] for field in dataclasses.fields(LayerSpec)})


def place(
    targets: Sequence[str],
    state_dir: str,
    mounts: Sequence[mountinfo.Mount],
    *,
    checkpoint: int,
    redirect_dir: bool,
) -> list[LayerSpec]:
    """Decide where layers go: onto the target's own mount if that has a claimed directory, so that a commit can rename.

    Raises UnavailableError if there is no place.
    """
    table = list(mounts)
    home = f"{state_dir}/layers"
    os.makedirs(home, 0o700, exist_ok=True)
    home_mount = mountinfo.holding(table, os.path.realpath(home))
    layers = []
    for index, target in enumerate(targets):
        mount = mountinfo.holding(table, target)
        device = os.stat(target, follow_symlinks=False).st_dev
        own = home if mount.mount_id == home_mount.mount_id else homes.claimed(mount, state_dir)
        same = own is not None and os.stat(own).st_dev == device and can_hold_layers(own)
        parent = own if same else home
        if not same and not can_hold_layers(home):
            raise UnavailableError(
                f"cannot keep changes of {target}: {home} is on a file system that overlayfs cannot write to",
                hint="move the state directory (CBX_STATE_DIR) to ext4, xfs, btrfs or tmpfs",
            )
        layers.append(
            LayerSpec(
                index=index,
                target=target,
                lower_device=device,
                root=f"{parent}/{checkpoint}/{index}",
                whole_mount=target == mount.target,
                same_filesystem=same,
                redirect_dir=redirect_dir,
            )
        )
    return layers


# What was found to hold layers, by device and inode: what a file system can do does not change while it is mounted.
_PROVEN: set[tuple[int, int]] = set()
_PROBE = ".probe-"


def can_hold_layers(directory: str) -> bool:
    """Whether overlayfs can have its upper file system there; tried once for each directory."""
    try:
        status = os.stat(directory)
    except OSError:
        return False
    key = (status.st_dev, status.st_ino)
    if key not in _PROVEN and _try_layers(directory):
        _PROVEN.add(key)
    return key in _PROVEN


def _remove_probes_of_the_dead(directory: str) -> None:
    """Whoever was killed while it tried has left what it tried with."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if name.startswith(_PROBE) and not os.path.exists(f"/proc/{name.removeprefix(_PROBE).partition('-')[0]}"):
                with contextlib.suppress(OSError):
                    _remove(os.path.join(directory, name))


def _try_layers(directory: str) -> bool:
    """Try what overlayfs needs: trusted attributes, whiteouts, and renames that leave one."""
    _remove_probes_of_the_dead(directory)
    probe = os.path.join(directory, f"{_PROBE}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        os.mkdir(probe, 0o700)
    except OSError:
        return False
    fd = os.open(probe, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        xattr.put(fd, b"", _TRUSTED + b"opaque", b"y")
        os.mknod(b"old", stat.S_IFREG | 0o600, dir_fd=fd)
        files.renameat2(fd, b"old", fd, b"new", files.RENAME_WHITEOUT)
        left = os.stat(b"old", dir_fd=fd, follow_symlinks=False)
        return stat.S_ISCHR(left.st_mode) and left.st_rdev == 0
    except OSError:
        return False
    finally:
        os.close(fd)
        with contextlib.suppress(OSError):
            _remove(probe)


def create(layer: LayerSpec) -> None:
    """Make the layer's directories, which must be new. The upper one, root of the overlay, looks like the target."""
    checkpoint = os.path.dirname(layer.root)
    with contextlib.suppress(FileExistsError):
        os.mkdir(checkpoint, 0o700)
    os.mkdir(layer.root, 0o700)
    os.mkdir(layer.work, 0o700)
    os.mkdir(layer.upper, 0o700)
    imitate(layer.target, layer.upper)


def imitate(target: str, upper: str) -> None:
    """Give the directory ``upper``, root of an overlay, the owner, mode, attributes and times of ``target``."""
    from_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    to_fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(from_fd)
        os.fchown(to_fd, status.st_uid, status.st_gid)
        for key, value in xattr.every(from_fd).items():
            if not key.startswith(_TRUSTED):
                _copy_xattr(to_fd, key, value)
        os.fchmod(to_fd, stat.S_IMODE(status.st_mode))
        os.utime(to_fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(to_fd)
        os.close(from_fd)


def _copy_xattr(fd: int, key: bytes, value: bytes) -> None:
    try:
        xattr.put(fd, b"", key, value)
    except OSError as error:
        # A layer on another file system may lack a kind of attribute that the target has.
        if error.errno not in {errno.EOPNOTSUPP, errno.EPERM}:
            raise


def remove(layer: LayerSpec) -> None:
    """Remove the layer's directory and all in it; nothing there is no error. Never leaves the layer."""
    _remove(layer.root)
    # The last layer of a checkpoint on this mount takes the checkpoint's directory with it.
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(layer.root))


def _remove(path: str) -> None:
    parent, name = os.path.split(path)
    try:
        fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        removal.remove_tree(fd, os.fsencode(name))
    finally:
        os.close(fd)
