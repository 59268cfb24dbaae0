"""Which of the guest's tests take too long for every day."""

from __future__ import annotations

import os

# Half an hour: `make power-vm`.
collect_ignore = [] if os.environ.get("CBX_CHAOS") == "1" else ["test_power_cuts.py"]
