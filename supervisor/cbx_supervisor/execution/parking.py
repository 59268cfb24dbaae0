"""Which jobs wait without anything but their place in the engine, when very many wait: the rest of them is on disk.

So a job that waits costs memory for its place alone, and holds no descriptor. Only what nobody sits in front of, and
what needs nothing but its text to be started, is parked: as if the supervisor were restarted (see waking).
"""

from __future__ import annotations

from cbx_supervisor.execution.progress import Progress


class Parked(Exception):  # noqa: N818  # not a fault
    """The job waits, and this way of it ends here."""


def possible(job: Progress) -> bool:
    """Whether enough others wait, and this one can be gone on with from what is on disk."""
    asked = job.submission
    return (
        job.executor.admission.awaited > job.executor.settings.scheduling.waiting_in_memory_max
        and job.parks
        and job.observe
        and asked.detached
        and not asked.interactive
        and asked.lock_timeout is None
        and asked.transaction is None
        and asked.view is None
        and not job.live.withdrawn.done()  # it was cancelled meanwhile: it ends here, parked it would forget that
    )
