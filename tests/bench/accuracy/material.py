"""What is measured on: the project's own labelled rows, and a larger corpus where one is at hand.

Own rows (tests/data/rows/*.jsonl, see the README there) say one tier each. A corpus is a folder of files that say less:
``must_not_be_safe.jsonl`` and so on. Both become one ``Material``. Where a label is held to be wrong, the row stays,
counts against the goal like any other, and is named in tests/data/disputed.jsonl with the reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import Analysis, analyse
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SHORT, Tier

DATA = Path(__file__).parents[2] / "data"
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/user", "LANG": "C.UTF-8"}
# The small world of the rows: what exists where the command would run.
FILES = {
    "/home/user": "dir",
    "/tmp": "dir",
    "/work/project": "dir",
    "/work/project/.git": "dir",
    "/work/project/src": "dir",
    "/work/project/src/a.c": "file",
    "/work/project/src/b.c": "file",
    "/work/project/docs": "dir",
    "/work/project/docs/guide.md": "file",
    "/work/project/build": "dir",
    "/work/project/notes.txt": "file",
    "/work/project/Makefile": "file",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled command of the project's own."""

    command: str
    tier: Tier
    family: str
    topic: str = ""
    expects: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)  # by identity, so that what was made from one can be remembered
class Material:
    """One set of labelled commands; a list that a set cannot fill is empty."""

    name: str
    never_safe: tuple[str, ...] = ()
    danger: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    mild: tuple[str, ...] = ()
    middle: tuple[tuple[str, Tier], ...] = ()
    real: tuple[str, ...] = ()  # as people write them
    known: tuple[str, ...] = ()  # of those, the ones that should be made of known programs only
    language: tuple[str, ...] = ()  # constructs; bash says which are valid
    rows: tuple[Row, ...] = ()
    disputed: frozenset[str] = frozenset()

    def everything(self) -> tuple[str, ...]:
        """Return every command once."""
        parts = (self.never_safe, self.danger, self.safe, self.mild, self.real, self.language)
        middle = tuple(command for command, _ in self.middle)
        return tuple(dict.fromkeys(command for part in (*parts, middle) for command in part))


@lru_cache(maxsize=1 << 16)
def analysed(command: str) -> Analysis:
    """Analyse a command in the small world; answers are remembered."""
    return analyse(command, StaticFacts(env=ENV, files=FILES))


def tier(command: str) -> Tier:
    """Return the tier that the analysis gives."""
    return analysed(command).tier


def load(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


_FIELDS = {"command", "tier", "topic"}


def own_rows(folder: Path = DATA / "rows") -> tuple[Row, ...]:
    """Read the project's own rows: every file of the folder."""
    return tuple(
        Row(
            entry["command"],
            SHORT[entry["tier"]],
            path.stem,
            entry.get("topic", ""),
            {key: value for key, value in entry.items() if key not in _FIELDS},
        )
        for path in sorted(folder.glob("*.jsonl"))
        for entry in load(path)
    )


def own() -> Material:
    """Make the material of the project's own rows."""
    rows = own_rows()
    everyday = tuple(row.command for row in rows if row.family == "everyday")
    return Material(
        name="own",
        never_safe=tuple(row.command for row in rows if row.tier is not SAFE),
        danger=tuple(row.command for row in rows if row.tier is DANGEROUS),
        safe=tuple(row.command for row in rows if row.tier is SAFE),
        mild=tuple(row.command for row in rows if row.tier is not DANGEROUS),
        middle=tuple((row.command, row.tier) for row in rows if row.tier not in {SAFE, DANGEROUS}),
        real=tuple(row.command for row in rows if row.family not in {"language", "unreadable"}),
        known=everyday,
        language=tuple(row.command for row in rows if row.family in {"language", "unreadable"}),
        rows=rows,
        disputed=disputed("own"),
    )


def corpus(folder: Path) -> Material:
    """Make the material of a corpus folder."""

    def commands(name: str) -> tuple[str, ...]:
        return tuple(entry["command"] for entry in load(folder / f"{name}.jsonl"))

    unlabelled = load(folder / "unlabelled.jsonl")
    return Material(
        name="corpus",
        never_safe=commands("must_not_be_safe"),
        danger=commands("must_be_dangerous"),
        safe=commands("must_be_safe"),
        mild=commands("must_not_be_dangerous"),
        middle=tuple((entry["command"], Tier(entry["tier"])) for entry in load(folder / "middle_tiers.jsonl")),
        real=tuple(entry["command"] for entry in unlabelled),
        known=tuple(entry["command"] for entry in unlabelled if "nl2bash" in entry["source"]),
        language=commands("shell_language"),
        disputed=disputed("corpus"),
    )


def digest(command: str) -> str:
    """Name a row of a corpus without copying it: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(command.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def disputed(name: str) -> frozenset[str]:
    """Return the digests of the rows of a set whose labels are held to be wrong."""
    return frozenset(entry["digest"] for entry in load(DATA / "disputed.jsonl") if entry["set"] == name)
