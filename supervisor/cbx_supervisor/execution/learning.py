"""What earlier runs teach, a user at a time: looked up by each plan, added to by each run that is over.

A lesson is the submitter's own: it is made from his jobs and used for his jobs. Root's jobs that run as somebody else
teach nothing, and go by no lesson: that user's programs decided what they did. Kept in memory as far as they are used,
and written in the transaction of the job's result.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Mapping, Sequence

from cbx_sandbox import lockset, runner
from cbx_sandbox.shell import learned
from cbx_sandbox.shell.fingerprint import label
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.observation import Observation, Reads
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.execution.outcome import printable
from cbx_supervisor.execution.reading import Reading
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.prediction import Forecast, Observed, ObservedReads, PredictedPath, Prediction
from cbx_supervisor.model.result import Result
from cbx_supervisor.settings import Settings
from cbx_supervisor.store import predictions
from cbx_supervisor.store.database import Database
from cbx_supervisor.store.predictions import Operation

USERS = 32  # whose lessons stay in memory
PRUNED_EVERY = 64  # predictions of one user
PATH_BYTES = 2048  # of the paths in each column of a prediction
NO_LESSONS: Mapping[str, Lesson] = {}


class Learning:
    """The lessons of all users."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings.learning
        self._lessons: dict[int, dict[str, Lesson]] = {}
        self._written = Counter[int]()

    def use(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._settings = settings.learning

    async def lessons(self, submission: Submission) -> Mapping[str, Lesson]:
        """What the submitter's own earlier runs taught, by fingerprint; read from disk for his first job."""
        if not _own(submission):
            return NO_LESSONS
        uid = submission.uid
        if uid not in self._lessons:
            read = functools.partial(predictions.lessons, uid=uid)
            found = await asyncio.to_thread(self._database.read, read)
            self._lessons.setdefault(uid, found)  # another job of his may have been first
        return self._of(uid)

    def starting(self, job: int, submission: Submission, planned: runner.Plan, at: float) -> list[Operation]:
        """What to write when a job is about to start."""
        return [predictions.started(submission.uid, job, at, predicted(planned), planned.policy.tier.value)]

    def over(
        self,
        job: int,
        submission: Submission,
        planned: runner.Plan,
        result: Result,
        seen: Observation | None,
        reading: Reading | None,
        at: float,
    ) -> list[Operation]:
        """What to write when a job is over that was started; remembers the lesson at once."""
        if result.reason == "error" or result.state == "lost":
            return []  # it did not run, or nobody knows how it ended
        uid = submission.uid
        ended = predictions.Ended(
            status=result.status,
            suspect=_suspect(planned, result),
            wall=result.usage.wall_seconds,
            cpu=result.usage.cpu_seconds,
            peak=result.usage.memory_peak_bytes,
        )
        operations: list[Operation] = [predictions.ended(uid, job, ended, observed(seen), observed_reads(reading))]
        if _own(submission):
            read = None if reading is None else reading.seen
            operations += self._learn(uid, planned, result, seen, read, at)
        if self._written[uid] % PRUNED_EVERY == 0:
            operations.append(predictions.prune(uid, self._settings.predictions_per_user_max))
        self._written[uid] += 1
        return operations

    def _learn(
        self,
        uid: int,
        planned: runner.Plan,
        result: Result,
        seen: Observation | None,
        read: Reads | None,
        at: float,
    ) -> list[Operation]:
        known, mark = self._of(uid), planned.fingerprint
        lesson = known.pop(mark, Lesson()).after(
            _run(planned, result),
            missed=seen is not None and not seen.covered,
            directories=_remembered(planned, () if seen is None else seen.directories),
            reads=_remembered(planned, () if read is None else read.places),
        )
        known[mark] = lesson  # the last one used is the last one forgotten
        operations: list[Operation] = [predictions.learned(uid, mark, lesson, printable(label(planned.analysis)), at)]
        while len(known) > self._settings.lessons_per_user_max:
            oldest = next(iter(known))
            del known[oldest]
            operations.append(predictions.forgotten(uid, oldest))
        return operations

    def _of(self, uid: int) -> dict[str, Lesson]:
        known = self._lessons.pop(uid, None)
        if known is None:
            known = self._database.read(lambda connection: predictions.lessons(connection, uid))
        self._lessons[uid] = known
        if len(self._lessons) > USERS:
            del self._lessons[next(iter(self._lessons))]
        return known


def _own(submission: Submission) -> bool:
    return submission.uid == submission.request.identity.uid


def _suspect(planned: runner.Plan, result: Result) -> bool:
    """Whether a SAFE job may have failed because it could not write: nobody guesses from its output."""
    safe = planned.policy.tier is Tier.SAFE_PARALLEL
    return safe and result.reason == "exited" and result.exit_code not in planned.analysis.benign_exits


def _run(planned: runner.Plan, result: Result) -> learned.Run:
    """What one run teaches about needs: nothing of one that somebody or a limit of time ended."""
    usage = result.usage
    memory = None if usage.memory_peak_bytes is None else usage.memory_peak_bytes / (1 << 20)
    if result.reason == "oom":
        return learned.Run(memory_mb=memory)
    if result.reason != "exited" or result.signal is not None:
        return learned.Run()
    busy = None
    if usage.cpu_seconds is not None and usage.wall_seconds > 0:
        busy = min(1.0, usage.cpu_seconds / (usage.wall_seconds * (planned.policy.limits.cpus or 1.0)))
    return learned.Run(usage.wall_seconds, memory, busy)


def _remembered(planned: runner.Plan, paths: Sequence[str]) -> list[str]:
    home = planned.request.identity.home
    return [learned.anchored(path, planned.project, home) for path in paths]


# ── as values of the model ──


def predicted(planned: runner.Plan) -> Prediction:
    """The prediction of a plan, with as many paths as are kept."""
    writes = lockset.writes(planned.analysis.effects.paths)
    kept = _bounded([printable(effect.path) for effect in writes])
    estimate = planned.analysis.estimate
    return Prediction(
        fingerprint=planned.fingerprint,
        tier=planned.analysis.tier.value,
        writes=tuple(
            PredictedPath(effect.access.value, path, effect.certainty.value)
            for effect, path in zip(writes, kept, strict=False)
        ),
        writes_left_out=len(writes) - len(kept),
        forecast=Forecast(
            estimate.seconds,
            estimate.memory_mb,
            estimate.bound.value,
            estimate.source.value,
            estimate.confidence,
        ),
    )


def observed(seen: Observation | None) -> Observed | None:
    """What was seen, with as many paths as are kept."""
    if seen is None:
        return None
    return Observed(
        seen.changed,
        seen.missed,
        tuple(_bounded([printable(path) for path in seen.missed_paths])),
        seen.predicted,
        seen.untouched,
        tuple(_bounded([printable(path) for path in seen.untouched_paths])),
    )


def observed_reads(reading: Reading | None) -> ObservedReads | None:
    """What was seen to be read, with as many paths as are kept; None where nothing is known."""
    if reading is None or reading.seen is None:
        return None
    seen = reading.seen
    paths = tuple(_bounded([printable(path) for path in seen.missed_paths]))
    return ObservedReads(seen.read, seen.missed, paths, reading.system, printable(reading.why))


def _bounded(paths: Sequence[str]) -> list[str]:
    """The first of ``paths``, as many as fit into what a column may hold."""
    kept, left = [], PATH_BYTES
    for path in paths:
        left -= len(path.encode()) + 4
        if left < 0:
            break
        kept.append(path)
    return kept
