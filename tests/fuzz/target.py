"""The coverage-guided fuzzer's target: `make fuzz`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["cbx_sandbox.shell"]):
    from cbx_sandbox.facts import StaticFacts
    from cbx_sandbox.shell.analysis import analyse
    from cbx_sandbox.shell.parse import parse
    from cbx_sandbox.shell.syntax import Unreadable

from tests.fuzz.coverage import unaccounted
from tests.fuzz.grammar import generate


def one(data: bytes) -> None:
    """Take the bytes for a text, or for the choices of the grammar; whatever is read has to be accounted for."""
    provider = atheris.FuzzedDataProvider(data)
    if provider.ConsumeBool():
        text = generate(lambda count: provider.ConsumeIntInRange(0, count - 1), depth=2)
    else:
        text = provider.ConsumeUnicode(provider.remaining_bytes())
    analysis = analyse(text, StaticFacts())
    try:
        tree = parse(text)
    except Unreadable:
        if not analysis.opaque:
            raise AssertionError(f"unreadable and not opaque: {text!r}") from None
        return
    left = unaccounted(text, tree)
    if left is not None:
        raise AssertionError(f"not accounted for: {left!r} in {text!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
