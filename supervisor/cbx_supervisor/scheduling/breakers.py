"""Circuit breakers: what failed several times in a row is left alone for a while, then tried by one job only.

closed → open, after ``failures`` in a row → half-open, after ``seconds``, for one job → closed, or open again
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerance:
    """How many failures in a row open a breaker (0: none does), and for how many seconds it stays open."""

    failures: int = 5
    seconds: float = 30.0


@dataclasses.dataclass(slots=True)
class Breaker:
    """One of them. ``until`` is None as long as it is closed."""

    failures: int = 0
    until: float | None = None
    probe: int | None = None  # the job that tries


class Breakers:
    """Those that have something to remember, by name; the rest is closed."""

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self._known: dict[str, Breaker] = {}

    def known(self) -> dict[str, Breaker]:
        """Those that are not as new."""
        return dict(self._known)

    def restore(self, name: str, failures: int, until: float | None) -> None:
        """One that was remembered."""
        self._known[name] = Breaker(failures, until)

    def forget(self, name: str) -> bool:
        """Make one as new; False if it is."""
        return self._known.pop(name, None) is not None

    def blocks(self, name: str, now: float) -> bool:
        """Whether a job that depends on ``name`` has to wait."""
        breaker = self._known.get(name)
        if breaker is None or breaker.until is None:
            return False
        return breaker.probe is not None or now < breaker.until

    def opens_at(self, name: str) -> float | None:
        """When the next job may try; None while one does, and if nobody has to wait."""
        breaker = self._known.get(name)
        return None if breaker is None or breaker.probe is not None else breaker.until

    def started(self, name: str, number: int) -> None:
        """A job goes through: if the breaker was open, it is the one that tries."""
        breaker = self._known.get(name)
        if breaker is not None and breaker.until is not None:
            breaker.probe = number

    def adopted(self, name: str, number: int) -> None:
        """A job went through before this began: if the breaker is open and nobody tries, its end will tell."""
        breaker = self._known.get(name)
        if breaker is not None and breaker.probe is None:
            self.started(name, number)

    def ended(self, name: str, number: int, now: float, *, healthy: bool | None) -> bool:
        """A job is over: it worked, it failed, or (None) its end says nothing. True if others are to look again."""
        breaker = self._known.get(name)
        trying = breaker is not None and breaker.probe == number
        if healthy is None:
            if trying and breaker is not None:
                breaker.probe = None
            return trying
        if healthy:
            if breaker is not None and (trying or breaker.until is None):
                del self._known[name]
            return trying
        if breaker is None:
            breaker = self._known[name] = Breaker()
        breaker.failures += 1
        if trying or (self.tolerance.failures and breaker.failures >= self.tolerance.failures):
            breaker.until = now + self.tolerance.seconds
            breaker.probe = None if trying else breaker.probe
        return trying
