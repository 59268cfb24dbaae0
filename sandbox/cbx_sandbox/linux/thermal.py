"""What a host shows of its heat and power, as it stands in sysfs: numbers by name, nothing that is not there.

Documentation/ABI/testing/sysfs-class-thermal, sysfs-devices-system-cpu (thermal_throttle, cpufreq), sysfs-class-power.
"""

from __future__ import annotations

import contextlib
import glob
import os
from typing import NamedTuple


class Sensor(NamedTuple):
    """A thermal zone: its kind, its temperature and its trip points by kind, the lowest of each, in m°C."""

    name: str
    temperature: int
    trips: dict[str, int]


def sensors(sys: str) -> list[Sensor]:
    """Every thermal zone that can be read now."""
    found = []
    for zone in sorted(glob.glob(f"{glob.escape(sys)}/class/thermal/thermal_zone*")):
        temperature = _number(f"{zone}/temp")
        if temperature is None:
            continue
        trips: dict[str, int] = {}
        for kind_path in sorted(glob.glob(f"{glob.escape(zone)}/trip_point_*_type")):
            at = _number(kind_path.removesuffix("_type") + "_temp")
            kind = _text(kind_path)
            if at is not None and at > 0 and kind:
                trips[kind] = min(at, trips.get(kind, at))
        found.append(Sensor(_text(f"{zone}/type") or os.path.basename(zone), temperature, trips))
    return found


def throttle_count(sys: str) -> int | None:
    """How often processors were slowed down for heat since the boot; None where nobody counts."""
    counts = [
        count
        for path in glob.glob(f"{glob.escape(sys)}/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
        if (count := _number(path)) is not None
    ]
    return sum(counts) if counts else None


def frequency_allowed(sys: str) -> float | None:
    """The share of its highest frequency that the slowest processor may have; None where nobody says."""
    shares = []
    for policy in glob.glob(f"{glob.escape(sys)}/devices/system/cpu/cpufreq/policy[0-9]*"):
        allowed, highest = _number(f"{policy}/scaling_max_freq"), _number(f"{policy}/cpuinfo_max_freq")
        if allowed and highest:
            shares.append(allowed / highest)
    return min(shares) if shares else None


def on_battery(sys: str) -> bool | None:
    """Whether no mains is connected; None for a host that has none to show."""
    mains = [
        _number(f"{supply}/online")
        for supply in glob.glob(f"{glob.escape(sys)}/class/power_supply/*")
        if _text(f"{supply}/type") == "Mains"
    ]
    known = [online for online in mains if online is not None]
    return not any(known) if known else None


def _text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        return file.read(256).strip()
    return ""


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text.removeprefix("-").isdigit() else None
