"""How much of a host is used while it is too hot, or slows itself down: a reading goes in, a share comes out. Pure."""

from __future__ import annotations

import dataclasses

LEAST = 0.25  # of the slots, however hot it is
NEAR = 5000  # m°C below a critical temperature
SLOWED = 0.8  # of a processor's frequency: below that something holds it back


@dataclasses.dataclass(frozen=True, slots=True)
class Zone:
    """One sensor in m°C: from where on the host slows down, and from where on it switches itself off."""

    name: str
    temperature: int
    slows_at: int | None = None
    ends_at: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a host shows of its heat; None and empty are what it does not show.

    ``throttled``: how often its processors were slowed down for heat, since the boot. ``allowed``: the share of their
    frequency that they may have. ``battery``: it runs on one.
    """

    zones: tuple[Zone, ...] = ()
    throttled: int | None = None
    allowed: float | None = None
    battery: bool | None = None

    @property
    def shows(self) -> bool:
        """Whether there is anything to go by."""
        return bool(self.zones) or self.throttled is not None or self.allowed is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """The share of the slots that is used, and why it is not all of them."""

    share: float = 1.0
    why: str = ""


def pace(before: Reading, now: Reading, last: Pace) -> Pace:
    """The pace from now on: half of the last one while the host is too hot, twice as much at each look without that."""
    if why := _critical(now):
        return Pace(LEAST, why)
    if why := _too_hot(before, now):
        return Pace(max(LEAST, last.share / 2), why)
    share = min(1.0, last.share * 2)
    return Pace(share, last.why if share < 1 else "")


def _critical(now: Reading) -> str:
    for zone in now.zones:
        if zone.ends_at is not None and zone.temperature >= zone.ends_at - NEAR:
            return f"{zone.name} has {zone.temperature / 1000:g} °C, and ends the host at {zone.ends_at / 1000:g}"
    return ""


def _too_hot(before: Reading, now: Reading) -> str:
    if now.throttled is not None and before.throttled is not None and now.throttled > before.throttled:
        return f"its processors were slowed down {now.throttled - before.throttled} times for heat since the last look"
    for zone in now.zones:
        if zone.slows_at is not None and zone.temperature >= zone.slows_at:
            return f"{zone.name} has {zone.temperature / 1000:g} °C, and is slowed down from {zone.slows_at / 1000:g}"
    # A processor that was as slow when the supervisor came is one that somebody has set so.
    if now.allowed is not None and now.allowed < SLOWED * (before.allowed or 1.0):
        return f"its processors may have {100 * now.allowed:.0f} % of their frequency only"
    return ""
