"""Nowhere fewer commands than another parser sees: cbx's reader against shfmt, tree-sitter-bash and bashlex."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz import readings

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[1] / "data" / "differential"
LONGEST_FOR_BASHLEX = 4_000  # it is slower than linear


@dataclass(frozen=True)
class Misreading:
    """A class of a peer's misreadings."""

    name: str
    peer: str
    text: str
    names: str
    reason: str
    example: str

    def explains(self, peer: str, text: str, missing: readings.Names) -> bool:
        """Whether what cbx lacks is what this peer makes up."""
        alike = peer == self.peer and re.search(self.text, text) is not None
        return alike and all(re.fullmatch(self.names, name, re.DOTALL) for name in missing)


@dataclass(frozen=True)
class Difference:
    """A text in which a peer sees commands that cbx does not."""

    text: str
    peer: str
    missing: readings.Names
    reason: str | None  # of the class that explains it, None where nothing does


@cache
def misreadings() -> tuple[Misreading, ...]:
    """Read the classes."""
    table = tomllib.loads((DATA / "classes.toml").read_text("utf-8"))
    return tuple(Misreading(**entry) for entry in table["class"])


def sample() -> list[str]:
    """Return the committed texts."""
    return (DATA / "sample.txt").read_text("utf-8").split("\n%%\n")


def compare(texts: Sequence[str]) -> tuple[int, list[Difference]]:
    """Return how many texts cbx and a peer both read, and where the peer sees more."""
    own = [readings.ours(text) for text in texts]
    peers = {
        "shfmt": readings.shfmt(texts),
        "tree-sitter": [readings.tree_sitter_names(text) for text in texts],
        "bashlex": [readings.bashlex_names(text) if len(text) <= LONGEST_FOR_BASHLEX else None for text in texts],
    }
    compared = sum(
        mine is not None and any(answers[index] is not None for answers in peers.values())
        for index, mine in enumerate(own)
    )
    found = []
    for peer, answers in peers.items():
        for text, answer, mine in zip(texts, answers, own, strict=True):
            lacking = readings.missing(answer, mine)
            if lacking:
                reason = next((one.reason for one in misreadings() if one.explains(peer, text, lacking)), None)
                found.append(Difference(text, peer, lacking, reason))
    return compared, found
