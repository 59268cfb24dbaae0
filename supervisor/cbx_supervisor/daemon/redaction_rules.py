"""The administrator's forms of secrets: which are in force, and what is wrong with those that are not."""

from __future__ import annotations

import os
from typing import Any

from cbx_sandbox.errors import CbxError
from cbx_supervisor import rule_files
from cbx_supervisor.daemon.log import Log
from cbx_supervisor.model import redaction
from cbx_supervisor.trusted_files import check_owner


class RedactionRules:
    """Files of one directory. At the start a broken one ends the start: secrets would be stored.

    Later it changes nothing, and is named until it is mended.
    """

    def __init__(self, directory: str, log: Log) -> None:
        self._directory = directory
        self._log = log
        self._files: tuple[str, ...] = ()
        self.problems: tuple[str, ...] = ()

    def start(self) -> None:
        """Have them in force. Raises CbxError: one cannot be used."""
        self._use()
        if self.problems:
            raise CbxError(
                "cannot use the redaction rules: secrets would be stored that they are to take out",
                details="\n".join(self.problems),
                hint=f"mend or remove what is named, in {self._directory}",
            )

    def reload(self) -> None:
        """Read the directory again; where a file in it is broken, everything stays as it was."""
        self._use()
        for problem in self.problems:
            self._log("redaction rules not used", problem=problem)

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"directory": self._directory, "files": list(self._files), "problems": list(self.problems)}

    def _use(self) -> None:
        found: dict[str, tuple[redaction.Rule, ...]] = {}
        problems: list[str] = []
        for path in self._listed(problems):
            try:
                found[path] = redaction.checked(rule_files.text_of(path))
            except (OSError, CbxError, ValueError) as error:
                problems.append(f"{path}: {error}")
        self.problems = tuple(problems)
        if not problems:
            self._files = tuple(found)
            redaction.use(rule for rules in found.values() for rule in rules)

    def _listed(self, problems: list[str]) -> list[str]:
        try:
            names = sorted(name for name in os.listdir(self._directory) if name.endswith(".toml"))
            check_owner(self._directory, os.stat(self._directory))
        except FileNotFoundError:
            return []
        except (OSError, CbxError) as error:
            problems.append(f"{self._directory}: {error}")
            return []
        return [f"{self._directory}/{name}" for name in names]
