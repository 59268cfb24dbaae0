"""The mount table of a process (proc_pid_mountinfo(5)), and which of its mounts hold files that persist."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# File systems made by the kernel out of its own state: they hold no files of the host's.
KERNEL_FILESYSTEMS = frozenset(
    "autofs bdev binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue"
    " nsfs pipefs proc pstore rpc_pipefs securityfs selinuxfs sockfs sysfs tracefs".split()
)

# File systems that ask a server, which may not answer: to look at a path there may take for ever.
_REMOTE = frozenset("afs ceph cifs coda glusterfs lustre nfs nfs4 smb3".split())

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo. ``root`` is the path inside the file system that is mounted at ``target``."""

    mount_id: int
    parent_id: int
    device: int
    root: str
    target: str
    options: frozenset[str]
    kind: str
    source: str
    super_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """True if nothing can be written through this mount."""
        return "ro" in self.options or "ro" in self.super_options

    @property
    def holds_files(self) -> bool:
        """True for a file system of the host's own files, false for the kernel's views of itself."""
        return self.kind not in KERNEL_FILESYSTEMS

    @property
    def remote(self) -> bool:
        """True if a look at it may wait for a server or another process."""
        return self.kind in _REMOTE or self.kind.startswith("fuse")


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), os.fsencode(field).decode("latin-1"))
    return os.fsdecode(raw.encode("latin-1"))


def parse(text: str) -> list[Mount]:
    """Parse the text of a mountinfo file, in its order (a later mount may cover an earlier one)."""
    mounts = []
    # Not splitlines(): names may hold other characters that it takes for ends of lines.
    for line in text.split("\n"):
        head, separator, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        major, minor = fields[2].split(":")
        mounts.append(
            Mount(
                mount_id=int(fields[0]),
                parent_id=int(fields[1]),
                device=os.makedev(int(major), int(minor)),
                root=_unescape(fields[3]),
                target=_unescape(fields[4]),
                options=frozenset(fields[5].split(",")),
                kind=rest[0],
                source=_unescape(rest[1]),
                super_options=frozenset(rest[2].split(",")),
            )
        )
    return mounts


def read(pid: int | str = "self") -> list[Mount]:
    """The mount table of ``pid`` as it is now."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def mount_id(fd: int) -> int:
    """The id of the mount through which ``fd`` was opened (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line[7:])
    raise OSError(f"no mount id for descriptor {fd}")


def visible(mounts: list[Mount]) -> list[Mount]:
    """Those of the caller's own ``mounts`` that their path leads to: covered ones cannot be reached by anybody.

    Which mount covers which cannot always be told from the table alone, so each path is opened (O_PATH) and asked; not
    those that lead through a remote file system: the look could wait for ever, so there the table has to do.
    """
    by_id = {mount.mount_id: mount for mount in mounts}
    return [
        mount
        for mount in mounts
        if (_uncovered(mount, by_id) if _leads_through_remote(mount, by_id) else _found(mount))
    ]


def _found(mount: Mount) -> bool:
    try:
        fd = os.open(mount.target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return mount_id(fd) == mount.mount_id
    finally:
        os.close(fd)


def _upwards(mount: Mount, by_id: dict[int, Mount]) -> Iterator[Mount]:
    """The mount and those that it hangs on, up to the root."""
    seen: set[int] = set()
    current: Mount | None = mount
    while current is not None and current.mount_id not in seen:
        seen.add(current.mount_id)
        yield current
        current = by_id.get(current.parent_id)


def _leads_through_remote(mount: Mount, by_id: dict[int, Mount]) -> bool:
    return any(above.remote for above in _upwards(mount, by_id))


def _uncovered(mount: Mount, by_id: dict[int, Mount]) -> bool:
    """Whether nothing is mounted over the mount, nor over a directory that leads to it."""
    below: Mount | None = None  # on the way from the mount to the root
    for step in _upwards(mount, by_id):
        for other in by_id.values():
            if other is step or other is below:
                continue
            over = other.parent_id == step.mount_id and other.target == step.target
            before = other.parent_id == step.parent_id and step.target.startswith(other.target.rstrip("/") + "/")
            if over or before:
                return False
        below = step
    return True


def holding(mounts: list[Mount], path: str) -> Mount:
    """The mount on which the canonical ``path`` lies."""
    best: Mount | None = None
    for mount in mounts:
        inside = path == mount.target or mount.target == "/" or path.startswith(mount.target + "/")
        # The longest target wins; of two at the same place the later one is on top.
        if inside and (best is None or len(mount.target) >= len(best.target)):
            best = mount
    assert best is not None, "there is always a root mount"
    return best


def single_files(mounts: Iterable[Mount]) -> frozenset[str]:
    """Where a single file is mounted, as containers have /etc/hosts; looks at no mount that may not answer."""
    return frozenset(
        mount.target for mount in mounts if mount.holds_files and not mount.remote and os.path.isfile(mount.target)
    )
