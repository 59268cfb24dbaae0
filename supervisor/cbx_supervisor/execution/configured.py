"""What the settings mean for the scheduler."""

from __future__ import annotations

import os

from cbx_sandbox.policy import NOWHERE, Placement
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.execution.breaking import tolerance
from cbx_supervisor.scheduling.budgets import MEMORY
from cbx_supervisor.scheduling.capacity import Capacity, Share
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.order import Importance
from cbx_supervisor.scheduling.strategies import Strategy
from cbx_supervisor.settings import Settings


def placed(settings: Settings) -> dict[tuple[bool, Importance], Placement]:
    """Where jobs run that are detached (or not) and as important as that, as far as this is configured."""
    kinds = settings.placement
    classes = {Importance.LOW: kinds.low, Importance.DEFERRED: kinds.deferred}
    found = {}
    for detached in (True, False):
        for importance in Importance:
            own = classes[importance].placement() if importance in classes else NOWHERE
            found[detached, importance] = own.over(kinds.detached.placement() if detached else NOWHERE)
    return found


def capacity(settings: Settings) -> Capacity:
    """How much may run at once, as configured."""
    instances = settings.instances
    slots = {
        Tier.SAFE_PARALLEL: instances.safe_parallel_max,
        Tier.CONDITIONAL_PARALLEL: instances.conditional_parallel_max,
        Tier.SEQUENTIAL_REQUIRED: instances.sequential_max,
        Tier.DANGEROUS_ISOLATED: instances.dangerous_isolated_max,
    }
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return Capacity(
        slots,
        instances.total_capacity_max,
        instances.instance_spawn_rate,
        budgets={**settings.scheduling.resources, MEMORY: int(memory * (1 - instances.resource_safety_margin))},
        share=Share(settings.access.slots_per_user_max, settings.access.memory_per_user_max_mb),
        cores=len(os.sched_getaffinity(0)),
    )


def engine(settings: Settings) -> Engine:
    """A scheduler that knows no jobs yet."""
    scheduling = settings.scheduling
    return Engine(
        capacity(settings),
        Strategy(scheduling.strategy),
        tolerance=tolerance(settings),
        preemption=scheduling.preemption,
    )
