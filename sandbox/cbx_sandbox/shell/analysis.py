"""Text in, ``Analysis`` out; touches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from cbx_sandbox.shell import environment
from cbx_sandbox.shell.checks import Check, glyphs
from cbx_sandbox.shell.effects import Access, Certainty, Effects, Facts
from cbx_sandbox.shell.estimate import Estimate, combine, priority
from cbx_sandbox.shell.infer import Interpreter
from cbx_sandbox.shell.state import Offsets, Record, State
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL, Reason, Tier
from cbx_sandbox.shell.words import Arg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Analysis", "Facts", "analyse", "analyse_argv"]


class Analysis(Struct, frozen=True):
    """Everything that is predicted about one text."""

    text: str
    tier: Tier
    reasons: tuple[Reason, ...]
    effects: Effects
    checks: tuple[Check, ...]
    priority: float
    estimate: Estimate
    benign_exits: frozenset[int]
    opaque: bool
    programs: tuple[str, ...]
    unknown_programs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()  # the form of each call, without its values: see shell.fingerprint


def analyse(text: str, facts: Facts) -> Analysis:
    """Predict what a shell text does."""

    def read(shell: Interpreter) -> None:
        environment.shell_begins(shell)
        shell.read(text)
        shell.ends()
        shell.uncalled()

    return _analysed(text, facts, read)


def analyse_argv(argv: Sequence[str], facts: Facts) -> Analysis:
    """Predict what a program does that is executed without a shell: nothing is expanded."""
    text = " ".join(argv)
    args: list[Arg] = []
    position = 0
    for word in argv:
        args.append(Arg(word, position, position + len(word)))
        position += len(word) + 1

    def run(shell: Interpreter) -> None:
        if args:
            shell.direct(args, (0, len(text)))
        else:
            shell.opaque("nothing to run", (0, 0))

    return _analysed(text, facts, run)


def _analysed(text: str, facts: Facts, action: Callable[[Interpreter], None]) -> Analysis:
    record = Record(Offsets(text))
    shell = Interpreter(facts, record, State(facts.cwd))
    for start, end, found in glyphs.hidden(text):
        record.found(found, (start, end))
    try:
        action(shell)
    except RecursionError:
        # The readers bound their depth; what still gets here is deeper than anything that people write.
        shell.opaque("nested too deeply", (0, len(text)))
    return _result(text, record, shell)


def _result(text: str, record: Record, shell: Interpreter) -> Analysis:
    if record.tier is not SAFE:  # where nothing can be written, programs go without them
        for path, where in record.leftovers.items():
            whole = shell.facts.kind(path) != "file"
            record.path(Access.CREATE, path, Certainty.UNDER if whole else Certainty.LITERAL, where)
    effects = record.effects()
    changes = any(effect.access is not Access.READ for effect in effects.paths)
    elsewhere = record.tier is not DANGEROUS and (effects.host or effects.network)
    if record.tier.rank >= SEQUENTIAL.rank and not changes and not elsewhere and not record.placed:
        record.path(Access.WRITE, shell.project(), Certainty.UNDER, (-1, -1))
        effects = record.effects()
    estimate = combine(record.estimates)
    reasons = sorted(record.reasons, key=lambda reason: -reason.tier.rank)
    return Analysis(
        text=text,
        tier=record.tier,
        reasons=tuple(reasons) or (Reason("reads-only", "reads, and changes nothing", SAFE),),
        effects=effects,
        checks=tuple(dict.fromkeys(record.checks)),
        priority=priority(record.tier, estimate),
        estimate=estimate,
        benign_exits=frozenset(record.benign),
        opaque=record.opaque,
        programs=tuple(record.programs),
        unknown_programs=tuple(record.unknown),
        calls=tuple(record.calls),
    )
