"""The commands of tests/data/observed, and which of them stay out of sight while the analysis is mended."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "observed"
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Row:
    """One command, the recipe of the tree that it runs in, and the programs without which it says nothing."""

    command: str
    setup: str
    family: str
    needs: tuple[str, ...] = ()

    @property
    def kept_aside(self) -> bool:
        """Whether the row is of the third that nothing was mended by; its figures are given apart."""
        return hashlib.sha256(self.command.encode()).digest()[0] % 3 == 0

    @property
    def missing(self) -> tuple[str, ...]:
        """The programs that this host does not have."""
        return tuple(name for name in self.needs if shutil.which(name, path=PATH) is None)


def rows(folder: Path = DATA) -> tuple[Row, ...]:
    """Read every file of the folder."""
    return tuple(
        Row(entry["command"], entry["setup"], path.stem, tuple(entry.get("needs", ())))
        for path in sorted(folder.glob("*.jsonl"))
        for entry in map(json.loads, path.read_text("utf-8").splitlines())
    )
