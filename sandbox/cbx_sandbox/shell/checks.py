"""What a text looks like when somebody means harm, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbx_sandbox.shell.effects import Span


class Verdict(StrEnum):
    """What a check asks for."""

    ISOLATE = "isolate"
    CONFIRM = "confirm"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    code: str
    verdict: Verdict
    text: str
    span: Span | None = None
