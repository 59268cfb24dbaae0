"""Places to crash in: the fixtures of the checkpoint's own tests."""

from tests.crash import faults
from tests.root.checkpoint.conftest import mounted, own_mounts

__all__ = ["mounted", "own_mounts", "pytest_terminal_summary"]


def pytest_terminal_summary(terminalreporter):
    """How many states there were; those of the controls are none."""
    if faults.STATES:
        whole = sum(found in {"old", "new"} for found in faults.STATES)
        terminalreporter.write_line(f"crash: {len(faults.STATES)} states, {len(faults.STATES) - whole} not whole")
