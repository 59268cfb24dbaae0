"""`move`: put a waiting job elsewhere among those of its line."""

from __future__ import annotations

from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Put a waiting job before or behind others.")
@click.argument("job", type=click.IntRange(min=1))
@click.option("--first", is_flag=True, help="Before all of its line.")
@click.option("--before", metavar="OTHER", type=click.IntRange(min=1), help="Right before this job.")
@click.option("--last", is_flag=True, help="Behind all of its line.")
def command(job: int, first: bool, before: int | None, last: bool) -> None:
    """Put a waiting job before or behind others of its line: those of its user, tier and class.

    Between users, tiers and classes the strategy decides, and every tenth start goes to the oldest job all the same.
    """
    if first + last + (before is not None) != 1:
        raise click.UsageError("one of --first, --before and --last is needed")
    where: dict[str, Any] = {"first": first, "last": last, "before": before}
    answer = Api().post(f"/v1/jobs/{job}/move", where)
    if not answer["changed"]:
        output.remark(f"job {job} does not wait ({answer['state']})")
