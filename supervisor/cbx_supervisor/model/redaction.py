"""Secrets are taken out of texts before they are stored: by the rules of ``redaction.toml`` and the administrator's.

A secret that no rule knows stays. What replaces one says so, so that a stored command cannot be mistaken for the true
one; what a job needs of it is kept elsewhere until its end (execution/kept).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence

from cbx_sandbox.shell import bundled

REDACTED = "[redacted]"
REMEMBERED = 512  # texts: one is asked for several times in the life of a job
USUAL = 4096  # characters; longer ones are not remembered, or the memory were a caller's to fill
LONGEST = 1 << 20  # characters; nothing longer is stored
LONGEST_PATTERN = 4096  # characters
EXAMPLE = "S3CR3T"  # what stands for a secret in the examples of a rule
_KNOWN = frozenset({"name", "before", "pattern", "exact", "matches", "passes"})


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One form that secrets have. ``before``: words, in small letters, of which one is in each text that has it."""

    name: str
    before: tuple[str, ...]
    pattern: re.Pattern[str]


def redacted(text: str) -> str:
    """Return ``text`` without the secrets that are known by their form; most texts come back as they are."""
    return _remembered(text, _in_force()) if len(text) <= USUAL else _redacted(text, _in_force())


def _redacted(text: str, by: _InForce) -> str:
    small = text.lower()
    if by.hints.search(small) is None:
        return text
    for rule in by.rules:
        if any(word in small for word in rule.before):
            text = rule.pattern.sub(_replaced, text)
    return text


_remembered = functools.lru_cache(maxsize=REMEMBERED)(_redacted)


def redacted_words(words: Sequence[str]) -> tuple[str, ...]:
    """Do the same for words that belong together (`--password X`): if one is a secret, one text stands for all."""
    text = shlex.join(words)
    bare = redacted(text)
    return tuple(words) if bare == text else (bare,)


def secrets(text: str) -> frozenset[str]:
    """What would be taken out of a text, without the quotes around it."""
    found = set()
    for rule in _in_force().rules:
        if any(word in text.lower() for word in rule.before):
            found |= {match["secret"] or "" for match in rule.pattern.finditer(text)}
            text = rule.pattern.sub(_replaced, text)
    return frozenset(filter(None, (secret.strip("\"'") for secret in found))) - {REDACTED}


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


def checked(text: str) -> tuple[Rule, ...]:
    """The rules of a file of the administrator's. Raises ValueError that says what is wrong with it.

    Each must have an example that it catches, with ``S3CR3T`` as the secret: a rule that catches nothing would only
    be found out when it is too late.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from error
    found = value.get("rule")
    if set(value) != {"rule"} or not isinstance(found, list) or not all(isinstance(rule, dict) for rule in found):
        raise ValueError("a file of redaction rules has [[rule]] tables, and nothing else")
    return tuple(_checked(rule, number) for number, rule in enumerate(found, 1))


def use(added: Iterable[Rule]) -> None:
    """Go by these besides cbx's own from now on."""
    global _added  # noqa: PLW0603  # one supervisor, one set of rules
    _added = tuple(added)
    _remembered.cache_clear()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _InForce:
    """What goes for a text: what is remembered of it goes for these rules, even if others came in the meantime."""

    added: tuple[Rule, ...]
    hints: re.Pattern[str]  # finds any word of any rule in one pass: most texts have none
    rules: tuple[Rule, ...]


_added: tuple[Rule, ...] = ()
_last: _InForce | None = None


def _in_force() -> _InForce:
    """One object, until others are added."""
    global _last  # noqa: PLW0603  # made again when others are added
    last, added = _last, _added
    if last is None or last.added is not added:
        rules = (*_own(), *added)
        words = sorted({word for rule in rules for word in rule.before})
        last = _last = _InForce(added, re.compile("|".join(map(re.escape, words))), rules)
    return last


@functools.cache
def _own() -> tuple[Rule, ...]:
    """Compiled when the first text comes: the daemon's start does not wait for it."""
    return tuple(_compiled(rule) for rule in data())


def _compiled(rule: Mapping[str, object]) -> Rule:
    return Rule(
        str(rule["name"]),
        tuple(map(str, _list(rule["before"]))),
        re.compile(str(rule["pattern"]), re.DOTALL | (0 if rule.get("exact") else re.IGNORECASE)),
    )


def _checked(rule: Mapping[str, object], number: int) -> Rule:
    name = rule.get("name")
    which = f"rule {number}" if not isinstance(name, str) or not name else f"rule {number} ({name[:60]})"
    if unknown := sorted(set(rule) - _KNOWN):
        raise ValueError(f"{which}: there is no such key: {unknown[0]}")
    if not isinstance(name, str) or not name or not isinstance(rule.get("exact", False), bool):
        raise ValueError(f"{which}: it needs a name, and exact is true or false")
    for key, least in (("before", 1), ("matches", 1), ("passes", 0)):
        words = rule.get(key, [])
        if not isinstance(words, list) or len(words) < least or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{which}: {key} must be a list of {'one or more ' if least else ''}texts")
    if any(word != word.lower() or not word for word in _list(rule["before"])):
        raise ValueError(f"{which}: before has words in small letters, of which one is in each text with the secret")
    pattern = rule.get("pattern")
    if not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"{which}: pattern must be a regular expression of at most {LONGEST_PATTERN} characters")
    try:
        made = _compiled(rule)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{which}: not a regular expression: {error}") from error
    if "secret" not in made.pattern.groupindex:
        raise ValueError(f"{which}: its pattern has no group (?P<secret>…)")
    for text in map(str, _list(rule["matches"])):
        if EXAMPLE in _by(made, text) or EXAMPLE not in text:
            raise ValueError(f"{which}: it leaves the {EXAMPLE} of its example {text[:60]!r}, or that has none")
    for text in map(str, _list(rule.get("passes", []))):
        if _by(made, text) != text:
            raise ValueError(f"{which}: it changes {text[:60]!r}, which should pass")
    return made


def _by(rule: Rule, text: str) -> str:
    small = text.lower()
    return rule.pattern.sub(_replaced, text) if any(word in small for word in rule.before) else text


def _list(value: object) -> list[str]:
    assert isinstance(value, list)
    return value


def _replaced(found: re.Match[str]) -> str:
    start, end = found.span("secret")
    if start == end:
        return found[0]  # the group had no part in it, or nothing is there
    base, secret = found.start(), found["secret"]
    quote = secret[0] if secret[0] in "\"'" else ""
    closing = quote if len(secret) > 1 and secret.endswith(quote) else ""
    return f"{found[0][: start - base]}{quote}{REDACTED}{closing}{found[0][end - base :]}"
