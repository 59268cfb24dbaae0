"""Colours, where there is a terminal that wants them (NO_COLOR, TERM=dumb: none)."""

from __future__ import annotations

import os
import sys

RED, YELLOW, GREEN, BOLD = "31", "33", "32", "1"
_TIERS = {
    "SAFE_PARALLEL": GREEN,
    "CONDITIONAL_PARALLEL": GREEN,
    "SEQUENTIAL_REQUIRED": YELLOW,
    "DANGEROUS_ISOLATED": RED,
}


def wanted() -> bool:
    """Whether standard output is a terminal for which nobody has asked for no colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in {None, "", "dumb"}


class Paint:
    """Puts colours on texts, or leaves them as they are."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, *codes: str) -> str:
        """Return a text in a colour."""
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self.on and text else text

    def tier(self, name: str) -> str:
        """Return a tier's name in its colour."""
        return self(name, BOLD, _TIERS.get(name, BOLD))

    def strokes(self, tier: str) -> str:
        """Return the colour of what is underlined because of a tier."""
        return _TIERS.get(tier, BOLD)
