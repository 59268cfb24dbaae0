"""Where tests run: on this host, as root, or in the guest. See tests/vm/places.py for the marks."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Tests are imported by path; the plumbing is imported by name.
sys.path.insert(0, str(Path(__file__).parents[1]))

# No property is judged by the clock: the machine may be busy, and the guest is emulated.
settings.register_profile("cbx", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cbx")

pytest_plugins = ["tests.vm.places", "tests.vm.plugin"]
