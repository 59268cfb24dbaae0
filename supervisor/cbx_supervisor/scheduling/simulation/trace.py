"""A recorded day, from what `list --json` prints of jobs that ran, or from lines written for the purpose."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from cbx_sandbox.shell.estimate import Bound, Estimate, priority
from cbx_sandbox.shell.tiers import SHORT, Tier
from cbx_supervisor.scheduling.order import Entry, Importance
from cbx_supervisor.scheduling.simulation.workload import SimulatedJob, wants


def read(row: Mapping[str, Any], number: int) -> tuple[str, SimulatedJob] | None:
    """The host and the job of one row; None for a job that never ran. ``number`` stands in for a missing one.

    ``submitted`` (or ``started``): seconds or ISO 8601. ``seconds`` (or ``usage.wall_seconds``): how long it ran.
    ``tier``; ``uid`` (or ``identity.uid``); ``expected`` seconds, ``memory_mb`` and ``bound``, what it mostly waits for
    (or ``prediction.forecast``);
    ``importance``; ``writes``, directories (or ``prediction.writes``, whose paths' directories count); ``after``, a
    list of jobs; ``host``. Raises ValueError that says what is wrong with it.
    """
    seconds = _number(row, "seconds", _at(row, "usage", "wall_seconds"))
    if seconds is None:
        return None
    tier = _tier(row.get("tier"))
    forecast = _at(row, "prediction", "forecast") or {}
    expected = _number(row, "expected", forecast.get("seconds")) or seconds
    memory = _number(row, "memory_mb", forecast.get("memory_mb")) or 64
    bound = _bound(row.get("bound", forecast.get("bound")))
    importance = _importance(row.get("importance"))
    uid = _number(row, "uid", _at(row, "identity", "uid")) or 0
    entry = Entry(
        number=int(_number(row, "job", number) or number),
        uid=int(uid),
        tier=tier,
        wants=wants(tier, _directories(row)),
        score=priority(tier, Estimate(bound, int(memory), expected), importance.score),
        importance=importance,
        seconds=expected,
        submitted=_time(row.get("submitted", row.get("started"))),
        after=frozenset(int(one) for one in _list(row, "after")),
        bound=bound,
    )
    return str(row.get("host", "")), SimulatedJob(entry, seconds)


def _at(row: Mapping[str, Any], first: str, second: str) -> Any:
    inner = row.get(first)
    return inner.get(second) if isinstance(inner, Mapping) else None


def _number(row: Mapping[str, Any], name: str, otherwise: Any) -> float | None:
    value = row.get(name, otherwise)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ValueError(f'"{name}" is no number from 0 on: {value!r}')
    return value


def _time(value: Any) -> float:
    if isinstance(value, str):
        try:
            return dt.datetime.fromisoformat(value).timestamp()
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('there is no "submitted" or "started" that is a time')  # noqa: TRY004 -- the row's fault
    return float(value)


def _tier(value: Any) -> Tier:
    try:
        return SHORT[value] if value in SHORT else Tier(value)
    except (ValueError, TypeError):
        raise ValueError(f'"tier" is none of {", ".join(SHORT)}: {value!r}') from None


def _bound(value: Any) -> Bound:
    try:
        return Bound.NOTHING if value is None else Bound(value)
    except ValueError:
        raise ValueError(f'"bound" is none of {", ".join(Bound)}: {value!r}') from None


def _importance(value: Any) -> Importance:
    try:
        return Importance.NORMAL if value is None else Importance(value)
    except ValueError:
        raise ValueError(f'"importance" is none of {", ".join(Importance)}: {value!r}') from None


def _directories(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "writes" in row:
        found = [str(path) for path in _list(row, "writes")]
    else:
        writes = _at(row, "prediction", "writes") or ()
        found = [str(write["path"]).rpartition("/")[0] or "/" for write in writes if "path" in write]
    return tuple(sorted({path for path in found if path.startswith("/")}))


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f'"{name}" is no list: {value!r}')  # noqa: TRY004 -- the row's fault
    return value
