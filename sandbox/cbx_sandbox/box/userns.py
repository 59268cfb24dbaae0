"""User namespaces with shifted ids: root inside is nobody outside, and can make no namespaces of its own.

They are made ahead and used again: making one costs more than the rest of a box (isolation.md, section 5).
"""

from __future__ import annotations

import os

from cbx_sandbox.linux import namespaces

# Ids from here on belong to no user of the host: subordinate ranges of people end below 2^30 by default.
FIRST_ID = 0x40000000
RANGE = 65536
MAX_NAMESPACES = 64
LAST_ID = FIRST_ID + MAX_NAMESPACES * RANGE  # from here on nobody is shifted
NO_ID = 2**32 - 1
INOTIFY = ("max_inotify_instances", "max_inotify_watches")
INOTIFY_SHARE = 4  # one namespace may use a quarter


def first_id(index: int) -> int:
    """The host's id that uid 0 of the ``index``-th shifted namespace stands for."""
    return FIRST_ID + index * RANGE


def _host_limit(name: str) -> int:
    with open(f"/proc/sys/user/{name}", encoding="ascii") as file:
        return int(file.read())


def create(index: int) -> int:
    """A user namespace whose ids 0…65535 are ``first_id(index)``… outside; returns its descriptor.

    Every limit on further namespaces is set to zero from inside, before anybody can use it: root inside could
    otherwise gain CAP_NET_ADMIN or CAP_SYS_ADMIN over fresh kernel surface (user_namespaces(7), namespaces(7)).
    What it uses of the host's inotify counts as root's, too, and is limited to a share of it (inotify(7)).
    """
    limits = {f"max_{kind}_namespaces": 0 for kind in namespaces.NAMESPACE_KINDS}
    limits |= {name: max(1, _host_limit(name) // INOTIFY_SHARE) for name in INOTIFY}
    line = f"0 {first_id(index)} {RANGE}\n"
    return _made({"uid": line, "gid": line}, limits)


def for_mounts(uids: tuple[int, int], gids: tuple[int, int]) -> int:
    """A user namespace to map a mount's ids by, in which nothing lives; returns its descriptor.

    Of each pair, what belongs to the first on disk belongs to the second as the mount shows it, and what the second
    makes there belongs to the first. All other ids are themselves, but what belongs to the second on disk belongs to
    nobody (mount_setattr(2)).
    """
    return _made({"uid": exchange(*uids), "gid": exchange(*gids)}, {})


def exchange(own: int, other: int) -> str:
    """The id map in which ``own`` on disk is ``other``, ``other`` is nobody and the rest stays (user_namespaces(7))."""
    low, high = min(own, other), max(own, other)
    parts = [(own, other, 1)] + [
        (first, first, end - first) for first, end in ((0, low), (low + 1, high), (high + 1, NO_ID)) if first < end
    ]
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in parts)


def _made(maps: dict[str, str], limits: dict[str, int]) -> int:
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    pid, pidfd = namespaces.clone3()
    if pid == 0:
        status = 1
        try:
            os.close(ready_read)
            os.close(go_write)
            namespaces.unshare(namespaces.CLONE_NEWUSER)
            os.write(ready_write, b"u")
            os.read(go_read, 1)
            for name, most in limits.items():
                with open(f"/proc/sys/user/{name}", "w", encoding="ascii") as file:
                    file.write(str(most))
            os.write(ready_write, b"l")
            os.read(go_read, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(ready_write)
    os.close(go_read)
    try:
        _expect(ready_read, b"u")
        for kind, lines in maps.items():
            with open(f"/proc/{pid}/{kind}_map", "w", encoding="ascii") as file:
                file.write(lines)
        os.write(go_write, b"g")
        _expect(ready_read, b"l")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(go_write)
        os.close(ready_read)
        os.close(pidfd)
        os.waitpid(pid, 0)


def _expect(fd: int, token: bytes) -> None:
    if os.read(fd, 1) != token:
        raise OSError("cannot make a user namespace: the helper process ended early")


class Pool:
    """Namespaces of this launcher: one job at a time in each."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []
        self._made = 0

    def acquire(self) -> tuple[int, int]:
        """(index, descriptor) of a namespace that no job uses. Raises OSError where none can be made."""
        if self._free:
            return self._free.pop()
        if self._made == MAX_NAMESPACES:
            raise OSError(f"all {MAX_NAMESPACES} user namespaces are in use")
        made = (self._made, create(self._made))
        self._made += 1
        return made

    def release(self, namespace: tuple[int, int]) -> None:
        """Give a namespace back once nothing lives in it."""
        self._free.append(namespace)
