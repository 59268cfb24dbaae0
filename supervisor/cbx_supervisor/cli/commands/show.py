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
    return output.pairs(
        [
            ("job", result.get("job")),
            ("command", result.get("command")),
            ("state", _state(result)),
            ("message", result.get("message")),
            ("directory", result.get("workdir")),
            ("started", result.get("started")),
            ("ended", result.get("ended")),
            ("tier", result.get("tier")),
            ("because", [f"{reason['text']} ({reason['code']})" for reason in result.get("reasons") or []]),
            ("time", output.seconds(usage.get("wall_seconds"))),
            ("CPU time", output.seconds(usage.get("cpu_seconds"))),
            ("memory peak", output.size(usage.get("memory_peak_bytes"))),
            ("read", output.size(usage.get("io_read_bytes"))),
            ("written", output.size(usage.get("io_write_bytes"))),
            ("in force", ", ".join(guarantees.get("in_force") or [])),
            ("missing", [f"{missing['name']}: {missing['why']}" for missing in guarantees.get("missing") or []]),
            ("changes", output.counted(result.get("changes"))),
            ("checkpoint", f"{checkpoint['id']} ({checkpoint['state']})" if checkpoint else None),
            ("leaks", [str(leak) for leak in result.get("leaks") or []]),
        ]
    )


def _state(result: dict[str, Any]) -> str:
    state = str(result.get("state"))
    if result.get("signal"):
        return f"{state}, ended by SIG{result['signal']} ({result.get('reason')})"
    if result.get("exit_code") is not None:
        return f"{state} with {result['exit_code']}" + (
            "" if result.get("reason") == "exited" else f" ({result['reason']})"
        )
    return state
