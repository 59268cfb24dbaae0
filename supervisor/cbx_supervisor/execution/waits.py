"""What a job waits for, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cbx_supervisor.execution.live import BY_HAND, FOR_ANOTHER, LiveJob
from cbx_supervisor.scheduling import reasons as why
from cbx_supervisor.scheduling.budgets import MEMORY, OF_USER
from cbx_supervisor.scheduling.edges import CROWD, READ_AFTER_WRITE, WRITE_AFTER_READ, WRITE_AFTER_WRITE, Tie
from cbx_supervisor.scheduling.lock_modes import NAMED
from cbx_supervisor.scheduling.locks import Blocker
from cbx_supervisor.scheduling.reasons import Reason

SHOWN = 5
_NO_TIES: Mapping[int, Tie] = {}
_WHY_AFTER = {
    READ_AFTER_WRITE: "it reads what job {} changes: {}",
    WRITE_AFTER_READ: "it changes what job {} reads: {}",
    WRITE_AFTER_WRITE: "it changes what job {} changes, too: {}",
    CROWD: "it comes after job {}: too many use {} at once",
}
_KINDS: dict[type[Reason], str] = {
    why.ForLocks: "locks",
    why.ForSlot: "slot",
    why.ForShare: "share",
    why.ForBudget: "budget",
    why.ForJobs: "jobs",
    why.ForRate: "rate",
    why.ForRetry: "retry",
    why.ForCircuit: "breaker",
    why.ForResume: "resume",
    why.ForQueue: "queue",
    why.ForTurn: "turn",
}


def describe(reasons: Sequence[Reason], now: float, ties: Mapping[int, Tie] = _NO_TIES) -> str:
    """What is waited for, for people; ``ties`` say why it comes after jobs that it does not name."""
    return "; ".join(filter(None, (described(reason, now, ties) for reason in reasons))) or "its turn"


def ties(live: LiveJob) -> dict[int, Tie]:
    """Why a job comes after others that it does not name."""
    return {earlier.number: tie for earlier, tie in live.before}


def stands(live: LiveJob) -> list[tuple[str, str]]:
    """Why a job that was started stands still: the words of :func:`kind_of` and the same for people."""
    found = {
        BY_HAND: ("resume", "it is paused (`cbx-sandbox resume` lets it go on)"),
        FOR_ANOTHER: ("slot", "it is frozen for a critical job: it goes on as soon as a slot is free"),
    }
    return [found[why] for why in sorted(live.frozen)]


def kind_of(reason: Reason) -> str:
    """The word for what is waited for."""
    return _KINDS[type(reason)]


def described(reason: Reason, now: float, ties: Mapping[int, Tie] = _NO_TIES) -> str:
    """One thing that is waited for, for people."""
    match reason:
        case why.ForLocks(blockers):
            return describe_blockers(blockers)
        case why.ForJobs(numbers, succeeded):
            return _after(numbers, succeeded, ties)
        case why.ForRate(at):
            return f"starts are limited in rate: the next may be in {max(0.0, at - now):.1f} s"
        case why.ForRetry(at):
            return f"it failed, and is tried again in {max(0.0, at - now):.1f} s"
        case why.ForCircuit(name, None):
            return f"{_of_user(name)} failed too often: one job tries it now"
        case why.ForCircuit(name, at):
            return f"{_of_user(name)} failed too often: it is tried again in {max(0.0, (at or now) - now):.1f} s"
        case why.ForResume():
            return "it is paused (`cbx-sandbox resume` lets it go on)"
        case why.ForQueue():
            return "the queue is paused (`cbx-sandbox queue resume` lets it go on)"
        case why.ForTurn(ahead):
            return f"its turn, {ahead} more wait"
        case _:
            return _full(reason)


def _after(numbers: Sequence[int], succeeded: frozenset[int], ties: Mapping[int, Tie]) -> str:
    plain = [number for number in numbers if number in succeeded or number not in ties]
    parts = ["it comes after job " + ", ".join(map(str, plain))] if plain else []
    tied = [number for number in numbers if number not in plain]
    parts += [_WHY_AFTER[ties[number].kind].format(number, ties[number].resource) for number in tied[:SHOWN]]
    if len(tied) > SHOWN:
        parts.append(f"and {len(tied) - SHOWN} more")
    return "; ".join(parts)


def _full(reason: why.ForSlot | why.ForShare | why.ForBudget) -> str:
    match reason:
        case why.ForSlot(tier, running, limit, of_all, slowed):
            what = "jobs in all" if of_all else f"jobs of {tier.value}"
            lower = f", lower than configured while the host is too hot: {slowed}" if slowed else ""
            return f"{running} {what} are running, the limit is {limit}{lower}"
        case why.ForShare(running, limit):
            return f"its user has {running} running jobs, the limit is {limit}"
        case why.ForBudget(name, amount, free, size):
            unit = " MiB" if name == MEMORY or name.startswith(OF_USER) else ""
            return f"it takes {amount}{unit} of {name}, and {max(0, free)} of {size}{unit} are free"


def _of_user(circuit: str) -> str:
    """A circuit without its user, who is the reader."""
    return circuit.partition(" ")[2]


def describe_blockers(blockers: Sequence[Blocker]) -> str:
    """Who is in the way, for people. Numbers below zero are commits of held checkpoints."""
    return "; ".join(
        f"{f'job {b.owner}' if b.owner > 0 else f'the commit of checkpoint {-b.owner}'}"
        f" {'waits for' if b.waiting else 'holds'} {b.mode.value} on {'the name ' if b.key.device == NAMED else ''}"
        f"{b.key.path}"
        for b in blockers[:SHOWN]
    )
