"""What a job that nobody waits for reads and writes: nothing, and a log that its init keeps (see box/joblog)."""

from __future__ import annotations

import os

from cbx_supervisor.execution.submission import Descriptors


def prepare(descriptors: Descriptors, path: str) -> None:
    """Begin the log at ``path`` and see to it that there is a stdin."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptors.put("log", os.open(path, flags, 0o600))
    if "stdin" not in descriptors:
        descriptors.put("stdin", os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
