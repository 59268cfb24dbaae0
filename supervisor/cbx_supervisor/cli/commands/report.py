"""`report`: what the supervisor's history says."""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api

_SPAN = re.compile(r"([0-9]+)([mhdw])$")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SHOWN = 10  # commands in each list for people; --json has more


def _since(_ctx: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Turn a span before now (90m, 12h, 7d, 2w) or a date into seconds of the Unix clock."""
    if value is None:
        return None
    if span := _SPAN.match(value):
        return max(0.0, time.time() - int(span[1]) * _SECONDS[span[2]])
    try:
        return max(0.0, dt.datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError, OSError):
        message = f"{value!r} is neither a span (90m, 12h, 7d, 2w) nor a date (2030-01-31)"
        raise click.BadParameter(message) from None


@click.group(short_help="Show what the history says.")
def command() -> None:
    """Show what the supervisor's history says."""


@command.command()
@click.option("--since", metavar="TIME", callback=_since, help="Only runs since then: 12h, 7d, 2030-01-31.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def accuracy(since: float | None, as_json: bool) -> None:
    """Show how right the predictions were.

    Runs over an overlay show what was written; that is held against what was predicted. Your own jobs, or
    everybody's for root.
    """
    query = None if since is None else f"{since:.3f}"
    report = Api().get("/v1/reports/accuracy", since=query)
    if as_json:
        output.show_json(report)
    else:
        output.show("\n".join(_render(report)))


@command.command()
@click.option("--since", metavar="TIME", callback=_since, help="Only jobs that ended since then: 12h, 7d, 2030-01-31.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def operations(since: float | None, as_json: bool) -> None:
    """Show how jobs went: how long they waited and ran, and how they ended.

    Your own jobs, or everybody's for root. A failure of cbx's own is a job that could not be started, or was lost.
    """
    query = None if since is None else f"{since:.3f}"
    report = Api().get("/v1/reports/operations", since=query)
    if as_json:
        output.show_json(report)
    else:
        output.show("\n".join(_operations(report)))


def _operations(report: dict[str, Any]) -> list[str]:
    own = report["own_failures"]
    rows = []
    for name, tier in report["tiers"].items():
        others = ", ".join(f"{count} {end}" for end, count in tier["ends"].items() if end != "exited")
        times = [output.seconds(tier[what][key]) for what in ("waited", "ran") for key in ("p50", "p95", "p99")]
        rows.append((name, str(tier["jobs"]), str(tier["succeeded"]), *times, others))
    return [
        output.pairs(
            [
                ("since", report["since"]),
                ("jobs", str(report["jobs"])),
                ("a minute", report["per_minute"] and f"{report['per_minute']:g}"),
                ("own failures", f"{own['jobs']}, {_share(own['share'])} of all"),
            ]
        ),
        "",
        output.table(
            ("TIER", "JOBS", "SUCCEEDED", "WAITED P50", "P95", "P99", "RAN P50", "P95", "P99", "NOT EXITED"), rows
        ),
    ]


def _render(report: dict[str, Any]) -> list[str]:
    sets, paths, reads = report["write_sets"], report["paths"], report["read_sets"]
    parts = [
        output.pairs(
            [
                ("since", report["since"]),
                ("runs", str(report["runs"])),
                ("covered", f"{_share(sets['share'])} of {sets['observed']} runs changed only what was predicted"),
                ("recall", f"{_share(paths['recall'])} of {paths['changed']} changed paths were predicted"),
                ("precision", f"{_share(paths['precision'])} of {paths['predicted']} predicted paths were changed"),
                ("reads", _reads(reads) if reads["observed"] else None),
                *((f"time, {source}", _error(found["seconds"])) for source, found in report["estimates"].items()),
                *((f"memory, {source}", _error(found["memory"])) for source, found in report["estimates"].items()),
            ]
        ),
        "",
        output.table(
            ("TIER", "RUNS", "FAILED", "LOOKED AT", "COVERED", "WROTE NOTHING"),
            [
                (name, str(tier["runs"]), str(tier["failed"]), str(tier["observed"]), _share(tier["share"]),
                 str(tier["wrote_nothing"]))
                for name, tier in report["tiers"].items()
            ],
        ),
    ]  # fmt: skip
    parts += _listed("changed what was not predicted", report["misses"], "PATHS", lambda entry: entry["paths"])
    parts += _listed("read what was not predicted", report["read_misses"], "PATHS", lambda entry: entry["paths"])
    parts += _listed(
        "never changed anything (too strict?)", report["too_strict"], "TIER", lambda entry: [entry["tier"]]
    )
    parts += _listed(
        "failed read-only (too lax?)", report["too_lax"], "STATUSES", lambda entry: map(str, entry["statuses"])
    )
    return parts


def _listed(title: str, entries: list[dict[str, Any]], last: str, value: Any) -> list[str]:
    if not entries:
        return []
    rows = [
        (entry["fingerprint"], entry["runs"], entry["last_job"], entry["command"] or "", " ".join(value(entry)))
        for entry in entries[:SHOWN]
    ]
    more = [f"… and {len(entries) - SHOWN} more: see --json"] if len(entries) > SHOWN else []
    return ["", f"{title}:", output.table(("FINGERPRINT", "RUNS", "LAST JOB", "COMMAND", last), rows), *more]


def _reads(found: dict[str, Any]) -> str:
    text = f"{_share(found['share'])} of {found['observed']} runs read only what was predicted"
    return f"{text}; of {found['incomplete']} not all is known" if found["incomplete"] else text


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _error(found: dict[str, Any]) -> str | None:
    if not found["runs"]:
        return None
    return f"off by a factor of {found['median_error']:g} (median of {found['runs']} runs)"
