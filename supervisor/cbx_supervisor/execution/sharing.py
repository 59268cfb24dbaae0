"""What the plans of one user's jobs share of what they looked up.

To look at the same directories for each of many jobs that come together takes longer than to decide about them. But a
job is decided by what is there when it comes: so it goes by what others looked up only if that was after it had come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from cbx_sandbox.facts import Answers

LONGEST = 1.0  # s that answers are shared: the clock that says when a job came may be set
MOST = 20_000  # answers, or as many users
USERS = 16


class SharedAnswers:
    """The latest answers for each of the latest users. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._latest: dict[Hashable, tuple[float, float, Answers]] = {}

    def of(self, who: Hashable, came: float | None) -> Answers:
        """Answers for a job of ``who`` that came at ``came`` by the Unix clock; None: it wants its own.

        ``who`` stands for all that what is seen depends on: the rights of the look.
        """
        if came is None:
            return Answers()
        known = self._latest.get(who)
        now = self._monotonic()
        if known is not None:
            begun, age, answers = known
            if begun >= came and now - age <= LONGEST and len(answers) <= MOST:
                return answers
        answers = Answers()
        if len(self._latest) >= USERS:
            self._latest.clear()
        self._latest[who] = (self._clock(), now, answers)
        return answers
