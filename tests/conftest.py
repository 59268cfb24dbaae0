"""Where tests run: on this host, as root, or in the guest. See tests/vm/places.py for the marks."""

import sys
from pathlib import Path

# Tests are imported by path; the plumbing is imported by name.
sys.path.insert(0, str(Path(__file__).parents[1]))

pytest_plugins = ["tests.vm.places", "tests.vm.plugin"]
