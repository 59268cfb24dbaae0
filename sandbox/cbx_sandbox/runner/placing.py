"""Where a run is placed: what was asked for, over what is configured, on what this host has."""

from __future__ import annotations

from msgspec.structs import replace

from cbx_sandbox.errors import UnavailableError
from cbx_sandbox.placement import text_of
from cbx_sandbox.policy import NOWHERE, Placement
from cbx_sandbox.runner.request import Defaults, HostReport, Options
from cbx_sandbox.shell.tiers import Tier


def placement(options: Options, defaults: Defaults, tier: Tier, host: HostReport, *, strict: bool) -> Placement:
    """What was asked for goes before what is configured. Raises UnavailableError where this host has no such place.

    Of configured CPUs and nodes those that are there are taken: one may be offline.
    """
    configured = options.placed.over(defaults.placement.get(tier, NOWHERE))
    wanted = options.placement.over(configured)
    if wanted == NOWHERE:
        return wanted
    places = host.places
    if places is None:
        raise UnavailableError(
            "cannot place the job: its launcher is of an earlier release, and places none",
            hint="a restart of the supervisor when no job runs brings the new one",
        )
    if strict and (ignored := {name: places.missing[name] for name in weights(wanted) if name in places.missing}):
        raise UnavailableError(
            f"cannot enforce {', '.join(ignored)} on this host",
            details="\n".join(f"{name}: {why}" for name, why in ignored.items()),
            hint="leave --strict out: a weight that counts for nothing is told in the result",
        )
    asked = options.placement
    return replace(
        wanted,
        cpus=_there("CPUs", wanted.cpus, places.cpus, all_of_them=asked.cpus is not None),
        nodes=_there("memory nodes", wanted.nodes, places.nodes, all_of_them=asked.nodes is not None),
    )


def weights(wanted: Placement) -> list[str]:
    """What a placement weighs, as it is called where that counts for nothing."""
    found = ["cpu-weight"] if wanted.cpu_weight is not None or wanted.nice is not None else []
    return found if wanted.io_weight is None else [*found, "io-weight"]


def _there(
    what: str, wanted: tuple[int, ...] | None, there: tuple[int, ...] | None, *, all_of_them: bool
) -> tuple[int, ...] | None:
    if wanted is None or there is None:
        return wanted
    found = tuple(number for number in wanted if number in there)
    if not found or (all_of_them and found != wanted):
        raise UnavailableError(
            f"cannot place the job on {what} {text_of(wanted)}: this host has {text_of(there)}",
            hint="see --cpus-allowed and --mems-allowed, and [placement] in the configuration",
        )
    return found
