"""AC9: what bash accepts is read, what it rejects is not, and no text makes an exception."""

from __future__ import annotations

import subprocess
from functools import lru_cache

from tests.bench.accuracy.goals import Failure, Goal, Measured, count, share
from tests.bench.accuracy.material import Material, analysed

from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.syntax import Unreadable

SAMPLE = 4000  # of the commands as people write them, at most so many are given to bash, evenly spread


@lru_cache(maxsize=1 << 14)
def bash_accepts(text: str) -> bool:
    """Ask ``bash -n``; a NUL cannot be handed over, and bash would not take it."""
    if "\0" in text:
        return False
    argv = ["bash", "-n", "-c", text]
    done = subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode == 0


def sampled(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Take an even sample."""
    return texts[:: max(1, -(-len(texts) // SAMPLE))]


def unread(text: str) -> str | None:
    """Say why a text is opaque; None where it is read."""
    try:
        parse(text)
    except Unreadable as failure:
        return failure.why
    return "a witness saw more" if analysed(text).opaque else None


def _read(texts: tuple[str, ...]) -> Measured | None:
    if not texts:
        return None
    valid = [text for text in texts if bash_accepts(text)]
    return share([Failure(text, why) for text in valid if (why := unread(text))], len(valid))


def real(material: Material) -> Measured | None:
    """Measure how much of what people write is read."""
    return _read(sampled(material.real))


def language(material: Material) -> Measured | None:
    """Measure how many of the language's constructs are read."""
    return _read(material.language)


def invalid(material: Material) -> Measured:
    """Count what is read although bash rejects it."""
    texts = (*sampled(material.real), *material.language)
    wrong = [text for text in texts if not bash_accepts(text)]
    failing = []
    for text in wrong:
        try:
            parse(text)
        except Unreadable:
            continue
        failing.append(Failure(text, "accepted"))
    return count(failing, len(wrong))


def exceptions(material: Material) -> Measured:
    """Count the texts that make an exception."""
    failing = []
    texts = material.everything()
    for text in texts:
        try:
            analysed(text)
        except Exception as error:  # noqa: BLE001 -- the goal is that there is none
            failing.append(Failure(text, repr(error)))
    return count(failing, len(texts))


GOALS = (
    Goal("AC9 real", "valid commands that are read", 99.9, "%", False, real),
    Goal("AC9 language", "valid constructs that are read", 98, "%", False, language),
    Goal("AC9 invalid", "read although bash rejects it", 0, "rows", True, invalid),
    Goal("AC9 exceptions", "texts that make an exception", 0, "rows", True, exceptions),
)
