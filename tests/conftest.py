"""Where tests run: on this host, as root, or in the guest. See tests/vm/places.py for the marks."""

import os
import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Tests are imported by path; the plumbing is imported by name.
sys.path.insert(0, str(Path(__file__).parents[1]))

# A shell starts what it puts into the background with these ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, lambda *_: None)

# No property is judged by the clock: the machine may be busy, and the guest is emulated. In CI the same examples are
# tried each time: what a change breaks shows, and what is found by luck is found where somebody can look into it.
settings.register_profile(
    "cbx",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true" or "CBX_IN_GUEST" in os.environ,
)
settings.load_profile("cbx")

pytest_plugins = ["tests.vm.places", "tests.vm.plugin", "tests.crash.states"]
