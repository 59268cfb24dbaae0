"""What a job waits for: the engine's state, read and not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_supervisor.scheduling.reasons import (
    ForBudget,
    ForCircuit,
    ForLocks,
    ForQueue,
    ForRate,
    ForShare,
    ForSlot,
    Reason,
)

if TYPE_CHECKING:
    from cbx_supervisor.scheduling.engine import Engine
    from cbx_supervisor.scheduling.order import Entry


def obstacles(engine: Engine, entry: Entry, now: float) -> list[Reason]:
    """Everything that would keep a job from being started now, were it its turn."""
    reasons: list[Reason] = []
    if engine.paused:
        reasons.append(ForQueue())
    if blockers := engine.blockers(entry):
        reasons.append(ForLocks(blockers))
    usage, capacity = engine.usage, engine.capacity
    used, slots = usage.of_tier[entry.tier], capacity.slots[entry.tier]
    if used >= slots:
        reasons.append(ForSlot(entry.tier, used, slots, of_all=False))
    elif usage.total >= capacity.total:
        reasons.append(ForSlot(entry.tier, usage.total, capacity.total, of_all=True))
    if usage.exceeds(entry, capacity.share):
        reasons.append(ForShare(usage.of_user(entry.uid), capacity.share.slots))
    if (name := engine.budgets.lacking(entry)) is not None:
        reasons.append(ForBudget(name, dict(entry.uses)[name], *engine.budgets.left(name)))
    if entry.circuit and engine.breakers.blocks(entry.circuit, now):
        reasons.append(ForCircuit(entry.circuit, engine.breakers.opens_at(entry.circuit)))
    if engine.next_start > now:
        reasons.append(ForRate(engine.next_start))
    return reasons
