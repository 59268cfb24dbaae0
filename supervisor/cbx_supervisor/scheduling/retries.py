"""Whether a failed job is tried again by itself, and when. Pure: randomness and the time are handed in.

Its tier, how it ended and its exit status decide. Never again: what may have changed files in place, or holds changes
that a person has to decide on; DANGEROUS jobs; what was refused, cancelled or ran into one of its limits of memory and
disk; a success.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cbx_sandbox.shell.tiers import Tier

TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h: the command itself says that a later try may succeed
NOT_EXECUTED = frozenset({126, 127})  # the shell's: a program that cannot be executed, or is not there
# A signal that says that the command does what it must not (SYS), or cannot be executed here (ILL).
_HOPELESS = frozenset({"SYS", "ILL"})


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt ended, as a result says it."""

    tier: Tier
    state: str
    reason: str
    status: int
    signal: str | None = None
    benign: frozenset[int] = frozenset({0})  # exit statuses that its program's rule calls no failure
    in_place: bool = False  # it was given files to change directly
    held: bool = False  # its changes wait for somebody's decision
    reaches_out: bool = False  # it had a network: what it did there cannot be taken back
    transient: frozenset[int] = frozenset()  # with these its program says that it has not begun, for now


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: the most before the first retry, twice that before the second and so on, and the most before any."""

    base: float = 1.0
    cap: float = 60.0

    def delay(self, retry: int, random: Callable[[], float]) -> float:
        """Before retry number ``retry``, from 1 on: full jitter, anything from nothing to the bound."""
        # The exponent is bounded: no count of retries makes the number too large for a float.
        return random() * min(self.cap, self.base * 2.0 ** min(retry - 1, 64))


@dataclasses.dataclass(frozen=True, slots=True)
class Ration:
    """So many retries at once, and then one in so many seconds."""

    burst: int = 20
    seconds: float = 2.0


class Rations:
    """When each user's programs may be tried again: many that fail together must not come back together for ever.

    Nothing is refused: who comes too early waits longer. A bucket of tokens, kept as the time at which it is full.
    """

    def __init__(self) -> None:
        self._full: dict[str, float] = {}

    def due(self, program: str, wanted: float, ration: Ration, now: float) -> float:
        """When a retry may be made that is ``wanted`` at that time; it is taken from the ration."""
        full = self._full.get(program, now)
        at = max(wanted, full - (ration.burst - 1) * ration.seconds)
        self._full = {name: time for name, time in self._full.items() if time > now}  # a full one is as a new one
        self._full[program] = max(full, at) + ration.seconds
        return at


def helps(failure: Failure, *, asked: bool) -> str | None:
    """Why another try may help; None if it cannot, or must not be made.

    ``asked``: the submitter wants retries, also of what failed by itself or had a network. Nobody else's wish is
    enough for that: then only what says that it is temporary, and what failed for a reason of cbx's own, is tried.
    """
    if failure.tier is Tier.DANGEROUS_ISOLATED or failure.held:
        return None
    match failure.state, failure.reason:
        case "failed-to-start", _:
            return None if failure.status in NOT_EXECUTED else "it could not be started"
        case _ if failure.in_place:
            return None
        case "exited", "exited" if failure.signal is None and failure.status in failure.transient:
            return f"exit status {failure.status} says that it may work later"
        case _ if failure.reaches_out and not asked:
            return None
        case "lost", _:
            return "it was lost"
        case "exited", "timeout":
            return "it took too long" if asked else None
        case "exited", "exited":
            return _by_itself(failure, asked=asked)
        case _:
            return None


def _by_itself(failure: Failure, *, asked: bool) -> str | None:
    if failure.signal is not None:
        return f"it was ended by SIG{failure.signal}" if asked and failure.signal not in _HOPELESS else None
    if failure.status in failure.benign or failure.status in NOT_EXECUTED:
        return None
    if failure.status == TEMPORARY:
        return f"exit status {TEMPORARY} says that it may work later"
    return f"exit status {failure.status}" if asked else None
