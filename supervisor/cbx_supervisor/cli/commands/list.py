"""`list`: jobs, the newest first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api

DEFAULT_LIMIT = 20
COLUMNS: dict[str, Callable[[dict[str, Any]], object]] = {
    "job": lambda job: job.get("job"),
    "state": lambda job: job.get("state"),
    "status": lambda job: job.get("status"),
    "tier": lambda job: str(job.get("tier") or "").partition("_")[0].lower(),
    "time": lambda job: output.seconds((job.get("usage") or {}).get("wall_seconds")),
    "checkpoint": lambda job: (job.get("checkpoint") or {}).get("id"),
    "user": lambda job: (job.get("identity") or {}).get("uid"),
    "cpu": lambda job: output.seconds((job.get("usage") or {}).get("cpu_seconds")),
    "memory": lambda job: output.size((job.get("usage") or {}).get("memory_peak_bytes")),
    "reason": lambda job: job.get("reason"),
    "started": lambda job: job.get("started"),
    "ended": lambda job: job.get("ended"),
    "directory": lambda job: job.get("workdir"),
    "command": lambda job: job.get("command"),
}
CLEAR = "\x1b[H\x1b[2J"
USUAL = "job,state,status,tier,time,checkpoint,command"


def _columns(_context: click.Context, _option: click.Parameter, text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not names:
        raise click.BadParameter(f"no such column: {', '.join(unknown)}; known are {', '.join(COLUMNS)}")
    return names


@click.command(short_help="List jobs, the newest first.")
@click.option("--state", help="Only jobs in this state, or in one of several: running,queued.")
@click.option("--user", help="Only this user's, by name or number.")
@click.option("--tier", help="Only jobs of this tier: safe, conditional, ...")
@click.option("--name", metavar="GLOB", help="Only commands like this: 'make *'.")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most this many."
)
@click.option("--columns", callback=_columns, default=USUAL, help="Which, with commas between them.")
@click.option("--watch", is_flag=True, help="Go on: on a terminal the table, else a line for each change.")
@click.option("--json", "as_json", is_flag=True, help="Print each job as a line of JSON.")
def command(
    state: str | None,
    user: str | None,
    tier: str | None,
    name: str | None,
    limit: int,
    columns: list[str],
    watch: bool,
    as_json: bool,
) -> None:
    """List jobs, the newest first: your own, or everybody's for root and who has a role.

    Columns: job, state, status, tier, time, checkpoint, user, cpu, memory, reason, started, ended, directory, command.
    """
    api = Api()

    def found() -> list[dict[str, Any]]:
        answer = api.get("/v1/jobs", state=state, user=user, tier=tier, name=name, limit=limit)
        return output.rows_of(answer, "jobs")

    def print_all() -> None:
        jobs = found()
        if as_json:
            for job in jobs:
                output.show_json(job)
        else:
            show(jobs, columns)

    if watch:
        _watch(api, print_all, as_json=as_json)
    else:
        print_all()


def _watch(api: Api, print_all: Callable[[], None], *, as_json: bool) -> None:
    """What is there, then what changes. Nothing is drawn over where nobody could see it."""
    table = sys.stdout.isatty() and not as_json
    for event in api.events("/v1/events"):
        if table:
            output.write(CLEAR)
            print_all()
        elif event is None:
            print_all()
        elif as_json:
            output.show_json(event)
        else:
            ended = "" if event["status"] is None else f", status {event['status']}"
            growing = f": {event['growing']}" if event.get("growing") else ""
            output.show(f"job {event['job']}: {event['state']}{ended}{growing}")
        output.flush()


def show(jobs: list[dict[str, Any]], columns: list[str]) -> None:
    """Print jobs as a table."""
    rows = [[COLUMNS[name](job) for name in columns] for job in jobs]
    output.show(output.table([name.upper() for name in columns], rows))
