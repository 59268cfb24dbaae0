"""What a check finds, and what is to be done about it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell.effects import Span
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL, SHORT, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(StrEnum):
    """What a check asks for: run it in isolation, ask before it runs, do not run it."""

    ISOLATE = "isolate"
    CONFIRM = "confirm"
    DENY = "deny"


class Check(Struct, frozen=True):
    """One finding, and the part of the text that it is about."""

    code: str
    verdict: Verdict
    text: str
    span: Span | None = None


class Finding(Struct, frozen=True):
    """What a table says of what it fits; ``tier`` is the least one that the text has then."""

    code: str
    verdict: Verdict
    text: str
    tier: Tier = DANGEROUS


def finding(table: Mapping[str, Any]) -> Finding:
    """Return what a table says."""
    verdict = Verdict(table["verdict"])
    tier = SEQUENTIAL if verdict is Verdict.CONFIRM else DANGEROUS
    return Finding(table["code"], verdict, table["text"], SHORT[table["tier"]] if "tier" in table else tier)
