"""A directory with an overlay over it: run a shell line in it, look at what came of it, compare trees."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from tests.root.checkpoint import checkpoint
from tests.root.checkpoint.checkpoint import Submitter

from cbx_sandbox.checkpoint import levels
from cbx_sandbox.linux import files, mountinfo, removal, xattr

SCRATCH = "/var/tmp"  # /tmp may be a tmpfs; these tests want the root file system
ROOT = Submitter(0, 0)
USER = Submitter(12345, 12345, (12346,))


class Box:
    """One live directory ``live`` on the file system of ``where``, and checkpoints over it."""

    def __init__(self, where: str, *, state: str | None = None, redirect: bool = True, who: Submitter = ROOT) -> None:
        self.base = tempfile.mkdtemp(prefix="cbx-test-", dir=where)
        os.chmod(self.base, 0o755)
        self.live = f"{self.base}/live"
        self.state = state or f"{self.base}/state"
        self.redirect = redirect
        self.who = who
        os.mkdir(self.live)
        os.chown(self.live, who.uid, who.gid)
        os.makedirs(self.state, 0o700, exist_ok=True)
        self.session: checkpoint.Session | None = None
        self._numbers = iter(range(1, 1000))

    def close(self) -> None:
        if self.session is not None:
            checkpoint.discard(self.session)
        remove(self.base)

    def shell(self, line: str, cwd: str | None = None) -> None:
        """Run ``line`` on the live tree, as the owner's user."""
        subprocess.run(["sh", "-c", line], cwd=cwd or self.live, check=True, stdin=subprocess.DEVNULL)

    def begin(self) -> checkpoint.Session:
        number = next(self._numbers)
        layers = placed([self.live], self.state, number, redirect=self.redirect)
        for layer in layers:
            checkpoint.create(layer)
        self.session = checkpoint.begin(layers, self.who, checkpoint=number)
        return self.session

    def inside(self, line: str) -> int:
        """Run ``line`` in the overlay, as the box's user, in a mount namespace of its own; return its status."""
        assert self.session is not None
        layer = self.session.layers[0]
        merged = f"{self.base}/merged"
        os.makedirs(merged, exist_ok=True)
        saved = levels.ready(self.session)
        lower = ":".join([*(f"{layer.root}/saved/{number}" for number in range(saved, 0, -1)), layer.target])
        redirect = "follow" if saved else "on" if layer.redirect_dir else "off"
        options = (
            f"lowerdir={lower},upperdir={layer.upper},workdir={layer.work},"
            f"redirect_dir={redirect},index=off,metacopy=off,volatile"
        )
        script = f'mount -t overlay overlay -o "{options}" "{merged}" && cd "{merged}" && exec {self._as()} sh -c "$0"'
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", script, line], stdin=subprocess.DEVNULL, check=False
        ).returncode

    def _as(self) -> str:
        if self.who.is_root:
            return ""
        groups = ",".join(map(str, self.who.groups))
        return f"setpriv --reuid {self.who.uid} --regid {self.who.gid} --groups {groups} --inh-caps=-all"

    def run(self, line: str) -> checkpoint.Session:
        """Begin a checkpoint and run ``line`` in it."""
        session = self.begin()
        self.inside(line)
        return session


def placed(targets: list[str], state: str, number: int, *, redirect: bool = False) -> list[checkpoint.LayerSpec]:
    """Where layers of ``targets`` go, when no job can reach any of those places."""
    for mount in checkpoint.fresh(targets, state, mountinfo.read()):
        checkpoint.claim(mount, state)
    return checkpoint.place(targets, state, mountinfo.read(), checkpoint=number, redirect_dir=redirect)


@contextlib.contextmanager
def box(where: str, **options):
    made = Box(where, **options)
    try:
        yield made
    finally:
        made.close()


def remove(path: str) -> None:
    parent = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        removal.remove_tree(parent, os.fsencode(os.path.basename(path)))
    finally:
        os.close(parent)


def manifest(root: str, *, times_since: int | None = None) -> dict[bytes, tuple]:
    """Everything about a tree but inode numbers, change and access times. From ``times_since`` on, a time is "now"."""
    found = {}
    names: dict[tuple[int, int], bytes] = {}
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        with files.Cursor(fd) as cursor:
            found[b"."] = _describe(cursor.fd, b"", b".", names, times_since)
            for name, _ in files.walk(cursor):
                path = b"/".join([*cursor.names, name])
                found[path] = _describe(cursor.fd, name, path, names, times_since)
    finally:
        os.close(fd)
    return found


def _describe(dir_fd, name, path, names, times_since):
    status = files.statx(dir_fd, name)
    content: bytes | str = b""
    if stat.S_ISLNK(status.mode):
        content = os.readlink(name, dir_fd=dir_fd)
    elif stat.S_ISREG(status.mode):
        content = _digest(dir_fd, name, status.size)
    links = b""
    if not stat.S_ISDIR(status.mode) and status.nlink > 1:
        links = names.setdefault((status.device, status.ino), path)
    modified = "now" if times_since is not None and status.mtime_ns >= times_since else status.mtime_ns
    return (
        oct(status.mode),
        status.uid,
        status.gid,
        status.rdev,
        content,
        tuple(sorted(xattr.every(dir_fd, name).items())),
        (status.nlink, links) if not stat.S_ISDIR(status.mode) else (),
        modified,
        status.attributes & (files.ATTR_APPEND | files.ATTR_IMMUTABLE),
    )


def _digest(dir_fd, name, size):
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        digest = hashlib.sha256(b"%d" % size)
        offset = 0
        while offset < size:  # holes are skipped: some files are large and empty
            try:
                offset = os.lseek(fd, offset, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(fd, offset, os.SEEK_HOLE)
            data = os.pread(fd, min(end - offset, 1 << 20), offset)
            if data.strip(b"\0"):
                digest.update(b"%d:" % (offset - offset % 4096) + data.lstrip(b"\0").rstrip(b"\0"))
            offset += len(data)
        return digest.hexdigest()
    finally:
        os.close(fd)


def copy_bytes(source: str, target: str) -> None:
    """A copy with everything: what a workload is run on natively."""
    subprocess.run(["cp", "-a", "--", source, target], check=True)


def listed(session, **options) -> list[tuple[str, bytes]]:
    """The changes as (letter, path), without implied and carried ones."""
    return [(c.kind.letter, c.path) for c in checkpoint.diff(session, **options) if not (c.carried or c.implied)]


@contextlib.contextmanager
def image(kind: str, where: str = SCRATCH):
    """A small file system of ``kind`` in a file, mounted; the mount point. "" is the root file system."""
    base = tempfile.mkdtemp(prefix=f"cbx-{kind}-", dir=where)
    try:
        if kind == "ext4-root":
            yield base
            return
        mount_point = f"{base}/m"
        os.mkdir(mount_point)
        if kind == "tmpfs":
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "cbx-test", mount_point], check=True)
        else:
            disk = f"{base}/disk"
            with open(disk, "wb") as file:
                file.truncate(600 << 20)
            tool = {"xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"], "ext4": ["mkfs.ext4", "-q", "-F"]}[kind]
            subprocess.run([*tool, disk], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["mount", "-o", "loop", disk, mount_point], check=True)
        try:
            yield mount_point
        finally:
            subprocess.run(["umount", mount_point], check=True)
    finally:
        shutil.rmtree(base)


def write(path: str, text: str = "x") -> None:
    Path(path).write_text(text)
