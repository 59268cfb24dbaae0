"""What the settings mean for plans: of jobs, and of those that are only explained."""

from __future__ import annotations

from cbx_sandbox import runner
from cbx_sandbox.policy import NetworkMode
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.settings import Settings


def defaults(settings: Settings) -> runner.Defaults:
    """What a plan goes by where its request says nothing."""
    return runner.Defaults(
        limits={tier: settings.limits(tier) for tier in Tier},
        predicted_network=NetworkMode(settings.sandbox.network),
        allow_hosts=settings.network.allow,
        host_sets=settings.network.sets,
        ports=settings.network.ports,
        strict=settings.sandbox.strict,
        pooled=settings.sandbox.run_as == "pool",
        observe_every=settings.learning.observe_every,
        watch_reads=runner.Watching(settings.learning.reads),
        placement={tier: settings.placed(tier) for tier in Tier},
    )
