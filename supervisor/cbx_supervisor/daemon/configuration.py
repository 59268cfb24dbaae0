"""The settings in force, and how they are read anew while jobs run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cbx_sandbox.errors import CbxError
from cbx_supervisor import settings_sources
from cbx_supervisor.daemon.log import Log
from cbx_supervisor.settings import Settings

# What these say was built into parts that live as long as the daemon.
NEED_RESTART = ("access.group", "sandbox.hide", "timeouts.file_system_seconds", "timeouts.idle_exit_seconds")


class Configuration:
    """One generation of settings after the other. A file that cannot be used changes nothing, and is named."""

    def __init__(self, directory: str, settings: Settings, use: Callable[[Settings], None], log: Log) -> None:
        self.settings = settings
        self.problem: CbxError | None = None
        self._directory = directory
        self._at_start = settings
        self._use = use
        self._log = log

    def reload(self) -> list[dict[str, Any]]:
        """Read the files again and put them in force; returns what changed. Raises CbxError, and all stays as it was.

        A change that takes effect at the next start only says so.
        """
        try:
            found = self.read()
        except CbxError as error:
            self.problem = error
            self._log("settings not used", problem=str(error))
            raise
        changed = settings_sources.differences(self.settings, found)
        self.problem, self.settings = None, found
        self._use(found)
        self._log("settings", changed=[change["key"] for change in changed])
        return [{**change, "needs_restart": change["key"] in NEED_RESTART} for change in changed]

    def read(self) -> Settings:
        """What the files and the daemon's environment say now. Raises CbxError."""
        return settings_sources.load(self._directory, os.environ)

    def describe(self) -> dict[str, Any]:
        """What is in force, and what waits for a restart."""
        waiting = settings_sources.differences(self._at_start, self.settings)
        return {
            "directory": self._directory,
            "needs_restart": [change["key"] for change in waiting if change["key"] in NEED_RESTART],
            "problem": None if self.problem is None else str(self.problem),
        }
