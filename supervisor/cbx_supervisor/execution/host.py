"""What jobs have to know of this host, and what they may not see of it."""

from __future__ import annotations

import os

from cbx_sandbox.box.plan import HostView
from cbx_sandbox.checkpoint.layers import OWN_DIRECTORY
from cbx_sandbox.linux.mountinfo import Mount
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

    def view(self) -> HostView:
        """The view as of now."""
        mounts = self.table.visible()
        # Compared by identity: the table makes a new tuple when the kernel says that something changed.
        if self._view is None or mounts is not self._mounts:
            self._mounts = mounts
            self._view = HostView(mounts, hidden=self._hidden(), keep_in_run=_kept())
        return self._with_layers(self._view)

    def _hidden(self) -> tuple[str, ...]:
        return tuple(path for path in dict.fromkeys((*self._own, *self._configured)) if os.path.lexists(path))

    def _with_layers(self, view: HostView) -> HostView:
        # Directories for layers appear at the roots of mounts as jobs need them: looked at each time.
        homes = []
        for mount in view.mounts:
            path = f"{mount.target.rstrip('/')}/{OWN_DIRECTORY}"
            if mount.holds_files and path not in view.hidden and os.path.lexists(path):
                homes.append(path)
        if not homes:
            return view
        return HostView(view.mounts, hidden=(*view.hidden, *homes), keep_in_run=view.keep_in_run)


def _kept() -> tuple[str, ...]:
    real = {os.path.realpath(path) for path in _NETWORK_FILES}
    return tuple(sorted(path for path in real if path.startswith("/run/") and os.path.isfile(path)))
