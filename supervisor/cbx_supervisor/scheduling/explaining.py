"""What a job waits for: the engine's state, read and not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_supervisor.scheduling.reasons import (
    ForBudget,
    ForCircuit,
    ForJobs,
    ForLocks,
    ForQueue,
    ForRate,
    ForResume,
    ForRetry,
    ForShare,
    ForSlot,
    ForTurn,
    Reason,
)

if TYPE_CHECKING:
    from cbx_supervisor.scheduling.engine import Engine
    from cbx_supervisor.scheduling.locks import Blocker
    from cbx_supervisor.scheduling.order import Entry


def reasons(engine: Engine, number: int, now: float) -> tuple[Reason, ...]:
    """What a job waits for; nothing if it does not wait."""
    waiters = engine.waiters
    entry = waiters.find(number)
    if entry is None:
        return ()
    if missing := waiters.coming.missing(number):
        return (ForJobs(missing, entry.after),)
    if waiters.holds(number):
        return (ForResume(),)
    if (at := waiters.until(number)) is not None:
        return (ForRetry(at),)
    return tuple(_obstacles(engine, entry, now)) or (ForTurn(len(waiters.queue) - 1),)


def _obstacles(engine: Engine, entry: Entry, now: float) -> list[Reason]:
    """Everything that would keep a job from being started now, were it its turn."""
    found: list[Reason] = []
    if engine.paused:
        found.append(ForQueue())
    if blockers := _blockers(engine, entry):
        found.append(ForLocks(blockers))
    usage, capacity = engine.usage, engine.capacity
    used, slots = usage.of_tier[entry.tier], capacity.slots[entry.tier]
    if used >= slots:
        found.append(ForSlot(entry.tier, used, slots, of_all=False, slowed=capacity.slowed))
    elif usage.total >= capacity.total:
        found.append(ForSlot(entry.tier, usage.total, capacity.total, of_all=True, slowed=capacity.slowed))
    if usage.exceeds(entry, capacity.share):
        found.append(ForShare(usage.of_user(entry.uid), capacity.share.slots))
    if (name := engine.budgets.lacking(entry)) is not None:
        found.append(ForBudget(name, dict(engine.budgets.uses(entry))[name], *engine.budgets.left(name)))
    if entry.circuit and engine.breakers.blocks(entry.circuit, now):
        found.append(ForCircuit(entry.circuit, engine.breakers.opens_at(entry.circuit)))
    if engine.next_start > now:
        found.append(ForRate(engine.next_start))
    return found


def _blockers(engine: Engine, entry: Entry) -> tuple[Blocker, ...]:
    """Who holds, or has reserved, what a job that waits wants."""
    found = engine.locks.blockers_of(entry.number, entry.wants)
    reserving = engine.waiters.reservation.holder()
    if reserving is not None and reserving.number < entry.number:
        found += engine.locks.blocking(entry.wants, reserving.number, reserving.wants)
    return found
