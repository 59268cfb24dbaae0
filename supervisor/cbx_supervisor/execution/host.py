"""What jobs have to know of this host, and what they may not see of it."""

from __future__ import annotations

import os
import threading

from msgspec.structs import replace

from cbx_sandbox.box.plan import HostView
from cbx_sandbox.checkpoint import homes
from cbx_sandbox.linux import mountinfo
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.lockset import beneath
from cbx_supervisor.execution.lockset import MountTable
from cbx_supervisor.paths import Paths

# Files that programs with a network need, and that distributions keep in /run.
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")


class Host:
    """The host's mounts and the view of them that every plan starts from."""

    def __init__(self, paths: Paths, hidden: tuple[str, ...]) -> None:
        self.table = MountTable()
        self._own = tuple(dict.fromkeys((os.path.realpath(paths.state), os.path.realpath(paths.runtime))))
        self._configured = tuple(os.path.realpath(path) for path in hidden)
        self._mounts: tuple[Mount, ...] = ()
        self._view: HostView | None = None
        self._edition = 0
        self._lock = threading.Lock()

    def known(self) -> HostView | None:
        """The view, if nothing has changed since it was last looked at; looks at no file."""
        mounts = self.table.known()
        # Compared by identity: the table makes a new tuple when the kernel says that something changed.
        return self._view if mounts is not None and mounts is self._mounts else None

    def view(self) -> HostView:
        """The view as of now. Looks at files: not for the event loop."""
        edition, mounts = self._edition, self.table.visible()
        if self._view is not None and mounts is self._mounts:
            return self._view
        files = mountinfo.single_files(mounts)
        view = HostView(mounts, hidden=self._hidden(mounts), keep_in_run=_kept(), single_files=files)
        view = self._with_layers(view)
        with self._lock:
            # What was looked at before a directory for layers was made must not be taken for what is there now.
            if edition == self._edition:
                self._mounts, self._view = mounts, view
        return view

    def layers_made(self) -> None:
        """A directory for layers may have been made at the root of a mount: look for them again."""
        with self._lock:
            self._edition += 1
            self._mounts, self._view = (), None

    def _hidden(self, mounts: tuple[Mount, ...]) -> tuple[str, ...]:
        found = dict.fromkeys(path for own in self._own for path in (own, *aliases(own, mounts)))
        return tuple(path for path in (*found, *self._configured) if os.path.lexists(path))

    def _with_layers(self, view: HostView) -> HostView:
        found: dict[str, None] = {}
        for mount in view.mounts:
            path = homes.path_of(mount)
            if mount.holds_files and path not in view.hidden and homes.there(mount):
                found |= dict.fromkeys(alias for alias in (path, *aliases(path, view.mounts)))
        if not found:
            return view
        hidden = dict.fromkeys((*view.hidden, *(path for path in found if os.path.lexists(path))))
        return replace(view, hidden=tuple(hidden))


def aliases(path: str, mounts: tuple[Mount, ...]) -> list[str]:
    """Where else the directory ``path``, or a part of it, can be found: through other mounts of its file system."""
    table = list(mounts)
    own = mountinfo.holding(table, path)
    inside = _joined(own.root, _below(path, own.target))
    found = []
    for mount in table:
        if mount.device != own.device or mount.mount_id == own.mount_id:
            continue
        if beneath(inside, mount.root):
            alias = _joined(mount.target, _below(inside, mount.root))
        elif beneath(mount.root, inside):
            alias = mount.target
        else:
            continue
        if mountinfo.holding(table, alias).mount_id == mount.mount_id:
            found.append(alias)
    return found


def _below(path: str, directory: str) -> str:
    return path[len(directory.rstrip("/")) :]


def _joined(directory: str, rest: str) -> str:
    return (directory.rstrip("/") + rest).rstrip("/") or "/"


def _kept() -> tuple[str, ...]:
    real = {os.path.realpath(path) for path in _NETWORK_FILES}
    return tuple(sorted(path for path in real if path.startswith("/run/") and os.path.isfile(path)))
