"""Secrets are taken out of texts before they are stored: by the rules of ``redaction.toml``. Pure.

A secret that no rule knows stays. What replaces one says so, so that a stored command cannot be mistaken for the true
one; what a job needs of it is kept elsewhere until its end (execution/kept).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping

from cbx_sandbox.shell import bundled

REDACTED = "[redacted]"
REMEMBERED = 512  # texts: one is asked for several times in the life of a job
USUAL = 4096  # characters; longer ones are not remembered, or the memory were a caller's to fill
LONGEST = 1 << 20  # characters; nothing longer is stored


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One form that secrets have. ``before``: words, in small letters, of which one is in each text that has it."""

    name: str
    before: tuple[str, ...]
    pattern: re.Pattern[str]


def redacted(text: str) -> str:
    """Return ``text`` without the secrets that are known by their form; most texts come back as they are."""
    return _remembered(text) if len(text) <= USUAL else _redacted(text)


def _redacted(text: str) -> str:
    small = text.lower()
    for rule in _rules():
        if any(word in small for word in rule.before):
            text = rule.pattern.sub(_replaced, text)
    return text


_remembered = functools.lru_cache(maxsize=REMEMBERED)(_redacted)


def redacted_values(value: object) -> object:
    """Do the same for all strings in a value as JSON has them; what cannot be UTF-8 in them is escaped."""
    if isinstance(value, str):
        return redacted(value.encode("utf-8", "backslashreplace").decode("utf-8"))
    if isinstance(value, Mapping):
        return {name: redacted_values(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted_values(inner) for inner in value]
    return value


def data() -> list[dict[str, object]]:
    """The rules as they are written down."""
    rules: list[dict[str, object]] = tomllib.loads(bundled.text(__package__ or "", "redaction.toml"))["rule"]
    return rules


@functools.cache
def _rules() -> tuple[Rule, ...]:
    """Compiled when the first text comes: the daemon's start does not wait for it."""
    return tuple(
        Rule(
            str(rule["name"]),
            tuple(map(str, _list(rule["before"]))),
            re.compile(str(rule["pattern"]), re.DOTALL | (0 if rule.get("exact") else re.IGNORECASE)),
        )
        for rule in data()
    )


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _replaced(found: re.Match[str]) -> str:
    start, end = found.span("secret")
    base, secret = found.start(), found["secret"]
    quote = secret[0] if secret[0] in "\"'" else ""
    closing = quote if len(secret) > 1 and secret.endswith(quote) else ""
    return f"{found[0][: start - base]}{quote}{REDACTED}{closing}{found[0][end - base :]}"
