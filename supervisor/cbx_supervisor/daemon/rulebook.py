"""Which rules the supervisor goes by, and what is wrong with those that it does not."""

from __future__ import annotations

from typing import Any

from cbx_sandbox.shell import rules
from cbx_supervisor import rule_files
from cbx_supervisor.daemon.log import Log


class Rulebook:
    """cbx's own rules and the administrator's. A broken file changes nothing, and is named until it is mended."""

    def __init__(self, directory: str, log: Log) -> None:
        self._directory = directory
        self._log = log
        loaded = rule_files.read(directory)
        self.problems = loaded.problems
        # At the start there is nothing older to keep: a broken file is left out, the others count.
        rules.use(loaded.files)
        self._tell()

    def reload(self) -> None:
        """Read the directory again; where a file in it is broken, everything stays as it was."""
        loaded = rule_files.read(self._directory)
        self.problems = loaded.problems
        if not loaded.problems:
            rules.use(loaded.files)
        self._tell()

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "directory": self._directory,
            "files": [file.source for file in rules.added()],
            "problems": [
                {"source": problem.source, "line": problem.line, "text": str(problem)} for problem in self.problems
            ],
        }

    def _tell(self) -> None:
        for problem in self.problems:
            self._log("rules not used", source=problem.source, line=problem.line, problem=problem.text)
        if rules.added() or self.problems:
            self._log("rules", files=[file.source for file in rules.added()], problems=len(self.problems))
