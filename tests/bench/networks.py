"""What a network costs at the start: none, the host's, an allowlist of one name, of a set, a published port."""

import os

from figures import Report, in_turns, print_samples
from world import World

VARIANTS = {
    "network none": {"network": "none"},
    "network host": {"network": "host"},
    "network allowlist": {"allow_host": "pypi.org"},
    "network allowlist, with sets": {"allow_host": "@github"},
    "a published port": {"network": "none", "publish": "27182:80"},
}


def networks(world: World, report: Report, runs: int) -> None:
    """`true` in SAFE, over the exec socket; the keeper of relays has been started before."""
    world.submit(["true"], tier="safe", allow_host="pypi.org").wait()
    samples = in_turns(
        {
            name: lambda options=options: world.submit(["true"], tier="safe", **options).wait()
            for name, options in VARIANTS.items()
        },
        runs,
    )
    report.samples |= samples
    print_samples("network: `true` in SAFE, each alone", samples, "network none")
    report.facts["load after networks"] = os.getloadavg()[0]
