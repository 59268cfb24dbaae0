"""`show`: all that is remembered of one job."""

from __future__ import annotations

from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Show one job.")
@click.argument("job", type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print the result object as JSON.")
def command(job: int, as_json: bool) -> None:
    """Show what is remembered of one job: its result, tier and reasons, usage, guarantees and changes."""
    result = Api().get(f"/v1/jobs/{job}")
    if as_json:
        output.show_json(result)
    else:
        output.show(render(result))


def render(result: dict[str, Any]) -> str:
    """Lay out a result object for people."""
    usage = result.get("usage") or {}
    guarantees = result.get("guarantees") or {}
    checkpoint = result.get("checkpoint")
    foreseen = result.get("prediction") or {}
    return output.pairs(
        [
            ("job", result.get("job")),
            ("command", result.get("command")),
            ("state", _state(result)),
            ("message", result["message"].split("\n") if result.get("message") else None),
            ("directory", result.get("workdir")),
            ("started", result.get("started")),
            ("ended", result.get("ended")),
            ("tier", result.get("tier")),
            ("because", [f"{reason['text']} ({reason['code']})" for reason in result.get("reasons") or []]),
            ("time", output.seconds(usage.get("wall_seconds"))),
            ("CPU time", output.seconds(usage.get("cpu_seconds"))),
            ("memory grows", _growth(result.get("growth"))),
            ("memory peak", output.size(usage.get("memory_peak_bytes"))),
            ("read", output.size(usage.get("io_read_bytes"))),
            ("written", output.size(usage.get("io_write_bytes"))),
            ("network", _network(usage.get("network"))),
            ("in force", ", ".join(guarantees.get("in_force") or [])),
            ("missing", [f"{missing['name']}: {missing['why']}" for missing in guarantees.get("missing") or []]),
            ("changes", output.counted(result.get("changes"))),
            ("checkpoint", f"{checkpoint['id']} ({checkpoint['state']})" if checkpoint else None),
            ("expected", _expected(foreseen.get("forecast"))),
            ("predicted", _paths(foreseen)),
            ("looked at", _seen(foreseen.get("observed"))),
            ("not predicted", _few(foreseen.get("observed"), "missed")),
            ("not changed", _few(foreseen.get("observed"), "untouched")),
            ("reads", _read(foreseen.get("reads"))),
            ("not foreseen", _few(foreseen.get("reads"), "missed")),
            ("fingerprint", foreseen.get("fingerprint")),
            ("attempts", _attempts(result.get("attempts") or [])),
            ("leaks", [str(leak) for leak in result.get("leaks") or []]),
        ]
    )


def _growth(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    rate = output.size(found["bytes_per_second"] * 60)
    text = f"by {rate} a minute for {output.seconds(found['over_seconds'])}, to {output.size(found['bytes'])}"
    left = found["limit_in_seconds"]
    return text if left is None else f"{text}; at its limit in {output.seconds(left)} at that rate"


def _attempts(tries: list[dict[str, Any]]) -> list[str]:
    """How each try ended, if there was more than one or another one is due."""
    if len(tries) < 2 and not any(one["again"] for one in tries):
        return []
    return [_attempt(one) for one in tries]


def _attempt(one: dict[str, Any]) -> str:
    ended = f"{one['state']} ({one['reason']}, status {one['status']})" if one["ended"] else "not over"
    again = f"; tried again from {one['again_at']} on: {one['again']}" if one["again"] else ""
    return f"{one['attempt']}: {one['tier']}, {ended}{again}"


def _network(usage: dict[str, Any] | None) -> list[str]:
    """What an allowlisted network was used for: the sums, then each decision."""
    if usage is None:
        return []
    sums = f"{usage['connections']} connections, {usage['refused']} refusals, {usage['lookups']} names looked up"
    sums += f", {output.size(usage['sent_bytes'])} sent, {output.size(usage['received_bytes'])} received"
    if usage["published"]:
        sums += f", {usage['published']} to published ports"
    lines = [sums, *(_decision(decision) for decision in usage["decisions"])]
    return [*lines, f"and {usage['decisions_left_out']} more"] if usage["decisions_left_out"] else lines


def _decision(decision: dict[str, Any]) -> str:
    verdict = "allowed" if decision["allowed"] else f"refused: {decision['why']}"
    port = "" if decision["port"] is None else f":{decision['port']}"
    times = f" ({decision['count']} times)" if decision["count"] > 1 else ""
    return f"{decision['protocol']} {decision['host']}{port} {verdict}{times}"


def _state(result: dict[str, Any]) -> str:
    state = str(result.get("state"))
    if result.get("signal"):
        return f"{state}, ended by SIG{result['signal']} ({result.get('reason')})"
    if result.get("exit_code") is not None:
        return f"{state} with {result['exit_code']}" + (
            "" if result.get("reason") == "exited" else f" ({result['reason']})"
        )
    return state


def _expected(forecast: dict[str, Any] | None) -> str | None:
    if forecast is None:
        return None
    where = "by the rules"
    if forecast["source"] == "learned":
        where = f"learned, confidence {forecast['confidence']:.2f}"
    return f"{output.seconds(forecast['seconds'])}, {forecast['memory_mb']} MiB ({where})"


def _paths(foreseen: dict[str, Any]) -> list[str]:
    writes, left_out = foreseen.get("writes") or [], foreseen.get("writes_left_out")
    shown = [f"{path['access']} {path['path']} ({path['certainty']})" for path in writes]
    return [*shown, f"and {left_out} more"] if left_out else shown


def _seen(observed: dict[str, Any] | None) -> str | None:
    if observed is None:
        return None
    return f"{observed['changed']} paths changed, {observed['missed']} of them not predicted"


def _read(reads: dict[str, Any] | None) -> str | None:
    if reads is None:
        return None
    text = f"{reads['read']} paths read, {reads['missed']} of them not predicted, and {reads['system']} of the system"
    return f"{text}; not all is known: {reads['why']}" if reads["why"] else text


def _few(observed: dict[str, Any] | None, which: str) -> list[str]:
    """The paths that are kept of some, and how many there were."""
    if observed is None:
        return []
    paths = list(observed[f"{which}_paths"])
    left = observed[which] - len(paths)
    return [*paths, f"and {left} more"] if left > 0 else paths
