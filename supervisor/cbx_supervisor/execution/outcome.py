"""From init's exit record to the result that people and programs read. Pure."""

from __future__ import annotations

import datetime as dt
import functools
import shlex
import signal
from collections.abc import Sequence
from typing import Any

import msgspec

from cbx_sandbox import runner
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.errors import CbxError, DeniedError, NotStartedError
from cbx_supervisor.model.redaction import redacted
from cbx_supervisor.model.result import (
    Changes,
    CheckpointRef,
    Guarantees,
    MissingGuarantee,
    NetworkUsage,
    ReasonItem,
    Result,
    Usage,
    Who,
)

TIMEOUT, FAILED = 124, 125
_USAGE = frozenset(Usage.__struct_fields__) - {"network"}  # what init counts


def iso(at: float | None) -> str | None:
    """A time of the Unix clock as ISO 8601, in UTC."""
    if at is None:
        return None
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def signal_name(number: int) -> str:
    """KILL for 9."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def text_of(request: runner.Request) -> str:
    """The command as it is stored and shown: UTF-8, whatever bytes it was made of, and without secrets."""
    argv = request.argv
    if request.line is None and argv is not None and len(argv) <= _FEW and max(map(len, argv), default=0) <= _SHORT:
        return printable(_words(argv))
    return printable(request.text)


_FEW, _SHORT = 16, 256  # words, characters: what is remembered has a bound


@functools.lru_cache(maxsize=256)  # one job asks for it five times
def _words(argv: tuple[str, ...]) -> str:
    return shlex.join(argv)


def printable(text: str) -> str:
    """A path or text that may hold undecodable bytes and secrets, as UTF-8 and without them."""
    return redacted(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def common(job: int, request: runner.Request, planned: runner.Plan | None) -> dict[str, Any]:
    """The fields that do not depend on how it ended."""
    fields: dict[str, Any] = {
        "job": job,
        "command": text_of(request),
        "identity": Who(request.identity.uid, request.identity.gid),
        "workdir": printable(request.options.workdir or request.cwd),
    }
    if planned is not None:
        fields["tier"] = planned.policy.tier.value
        fields["reasons"] = tuple(
            ReasonItem(reason.code, printable(reason.text), reason.tier.value) for reason in planned.reasons
        )
    return fields


def never_ran(
    job: int, request: runner.Request, planned: runner.Plan | None, error: CbxError, *, state: str, at: float
) -> Result:
    """A job that did not come to run: denied, cancelled while it waited, failed to start."""
    reason = {"denied": "denied", "cancelled": "cancelled"}.get(state, "error")
    message = printable(str(error))
    return Result(
        **common(job, request, planned),
        state=state,
        reason=reason,
        status=error.exit_status,
        ended=iso(at),
        message=message,
    )


def state_of(error: CbxError) -> str:
    """The state of a job that ``error`` kept from running."""
    if isinstance(error, DeniedError):
        return "denied"
    return "not-started" if isinstance(error, NotStartedError) else "failed-to-start"


def ran(
    job: int,
    planned: runner.Plan,
    host: runner.HostReport,
    outcome: Outcome | None,
    *,
    missing: dict[str, str],
    started: float,
    ended: float,
    leaks: Sequence[str],
    changes: Changes | None,
    checkpoint: CheckpointRef | None,
    note: str,
    shown: Sequence[str] | None = None,
    network: NetworkUsage | None = None,
) -> Result:
    """A job that was launched. ``shown``: as for :func:`runner.guarantees`."""
    fields = common(job, planned.request, planned)
    fields |= {"started": iso(started), "ended": iso(ended), "leaks": tuple(leaks)}
    fields |= {"changes": changes, "checkpoint": checkpoint}
    if outcome is None:
        message = f"job {job} was lost: its init ended without a record"
        return Result(**fields, state="lost", reason="lost", status=FAILED, message=_joined(message, note))
    state, reason, status = verdict(outcome)
    number = outcome["signal"]
    fields["exit_code"] = None if reason == "error" else outcome["exit_code"]
    fields["signal"] = None if number is None else signal_name(number)
    fields["usage"] = msgspec.structs.replace(usage_of(outcome), network=network)
    fields["guarantees"] = _guarantees(runner.guarantees(planned, host, missing, outcome, shown=shown))
    message = _joined(f"job {job}: {_how(outcome, planned, status)}", note)
    return Result(**fields, state=state, reason=reason, status=status, message=message)


def verdict(outcome: Outcome) -> tuple[str, str, int]:
    """State, reason and the client's exit status."""
    reason, code, number = outcome["reason"], outcome["exit_code"], outcome["signal"]
    own = code if code is not None else 128 + number if number is not None else FAILED
    if reason == "not-started":
        failure = outcome.get("failure")
        known = failure is not None and failure["step"] == "exec" and code in {126, 127}
        return "failed-to-start", "error", own if known else FAILED
    if reason == "lost":
        return "lost", "lost", FAILED
    if reason == "timeout":
        return "exited", "timeout", TIMEOUT
    if reason == "cancelled":
        return "cancelled", "cancelled", own or 128 + signal.SIGTERM
    if reason in {"oom", "disk"}:
        # The kernel's kill may have hit a child only: the command's own status stands, unless it hides the cause.
        return "exited", reason, own or 128 + signal.SIGKILL
    return "exited", "exited", own


def _how(outcome: Outcome, planned: runner.Plan, status: int) -> str:
    limits, usage, reason = planned.policy.limits, outcome["usage"], outcome["reason"]
    name = planned.argv[0]
    if reason == "not-started":
        failure = outcome.get("failure")
        if failure is None:
            return "could not be started"
        if failure["step"] == "exec":
            return f"cannot execute {printable(name)}: {failure['text']}"
        return f"could not be started: {printable(failure['step'])}: {printable(failure['text'])}"
    if reason == "timeout":
        return f"ended after its time limit of {limits.timeout:g} s (--timeout raises it)"
    if reason == "oom":
        peak = usage.get("memory_peak_bytes") or 0
        limit = "none" if limits.memory is None else f"{limits.memory >> 20} MiB"
        return f"out of memory: limit {limit}, peak {int(peak) >> 20} MiB (--memory raises it)"
    if reason == "disk":
        limit = "" if limits.layer_bytes is None else f"{limits.layer_bytes >> 20} MiB or "
        return f"stopped: its changes grew beyond {limit}a tenth of the free space"
    if reason == "cancelled":
        return "cancelled"
    if reason == "lost":
        return "ended because it could not be watched any more"
    number = outcome["signal"]
    how = f"exit status {status}" if number is None else f"ended by signal {signal_name(number)}"
    return f"{planned.policy.tier.value}, {how}"


def _joined(message: str, note: str) -> str:
    return f"{message}; {note}" if note else message


def usage_of(outcome: Outcome) -> Usage:
    """What a job used, as far as this host counts it."""
    known = {name: value for name, value in outcome["usage"].items() if name in _USAGE}
    try:
        return msgspec.convert({**known, "wall_seconds": outcome["wall_seconds"]}, Usage)
    except msgspec.ValidationError:
        return Usage(wall_seconds=outcome["wall_seconds"])


def _guarantees(found: dict[str, Any]) -> Guarantees:
    missing = tuple(MissingGuarantee(entry["name"], entry["why"]) for entry in found["missing"])
    return Guarantees(tuple(found["in_force"]), missing)
