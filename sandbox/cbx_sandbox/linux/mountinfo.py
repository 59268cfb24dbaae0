"""The mount table of a process (proc_pid_mountinfo(5)), and which of its mounts hold files that persist."""

from __future__ import annotations

import dataclasses
import os
import re

# File systems made by the kernel out of its own state: they hold no files of the host's.
KERNEL_FILESYSTEMS = frozenset(
    "autofs bdev binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue"
    " nsfs pipefs proc pstore rpc_pipefs securityfs selinuxfs sockfs sysfs tracefs".split()
)

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
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

    Which mount covers which cannot be told from the table alone, so each path is opened (O_PATH) and asked.
    """
    reachable = []
    for mount in mounts:
        try:
            fd = os.open(mount.target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if mount_id(fd) == mount.mount_id:
                reachable.append(mount)
        finally:
            os.close(fd)
    return reachable


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
