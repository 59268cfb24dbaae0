"""What a job read: its init is asked to look before it starts, and what it saw is held against the prediction.

Init writes what it saw into a memory file of the supervisor's. Who takes over from that supervisor has no such file:
then nobody knows, and the result says so.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from cbx_sandbox import lockset, runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.errors import CbxError
from cbx_sandbox.policy import Policy
from cbx_sandbox.shell.observation import Reads, compare_reads

if TYPE_CHECKING:
    from cbx_supervisor.execution.progress import Progress

MOST_BYTES = 16 << 20  # of a report: far more than init writes


class Reading:
    """The reads of one attempt. ``seen`` is there when it is over, ``why`` says what is missing in it."""

    def __init__(self, policy: Policy, view: box.HostView, places: list[box.OverlayPlace]) -> None:
        self.fd = os.memfd_create("cbx-reads", os.MFD_CLOEXEC)
        self.mounts, self.unwatched = box.watched(policy, view, places)
        self.seen: Reads | None = None
        self.system = 0
        self.why = ""

    def close(self) -> None:
        """Let go of the memory file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def take(self, planned: runner.Plan) -> None:
        """Hold what init has written against the plan. Looks at the live tree: call it before changes are committed."""
        found = _report(self.fd)
        why = [str(found["why"])] if found["why"] else []
        why += [f"what lies below {path} is not looked at" for path in self.unwatched]
        self.why = "; ".join(why)
        if not found["watched"]:
            return
        home = planned.request.identity.home
        self.system = found["system"]
        self.seen = compare_reads(
            planned.analysis.effects.paths,
            filter(_live, found["paths"]),
            filter(_live, found["directories"]),
            lambda directory: lockset.shared(directory, home),
        )


async def look(job: Progress, planned: runner.Plan) -> None:
    """Find out what the job read, if it was looked at; a note says where that could not be."""
    if not planned.reads:
        return
    reading = job.reading
    if reading is None:
        job.note = _and(job.note, "what it read is not known: the supervisor was restarted while it ran")
        return
    try:
        await job.look_at(reading.take, planned)
    except (CbxError, OSError, ValueError, KeyError) as error:
        reading.why = str(error)
    if reading.seen is None:
        job.note = _and(job.note, f"what it read is not known: {reading.why}")


def _report(fd: int) -> dict[str, Any]:
    size = os.fstat(fd).st_size
    if not 0 < size <= MOST_BYTES:
        raise ValueError("its init said nothing")
    found: dict[str, Any] = json.loads(os.pread(fd, size, 0))
    return found


def _live(path: str) -> bool:
    """Whether a path is there without what the job has made: only of such can somebody else change what was read."""
    return os.path.lexists(path) and not any(lockset.beneath(path, place) for place in lockset.PRIVATE)


def _and(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
