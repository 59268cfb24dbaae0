"""`checkpoint commit`: with an answer for each conflict, of a part, or only as a preview."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api

CHOICES = ("abort", "ours", "theirs", "merge")


def _rules(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """PATH=HOW, the path made absolute here: the supervisor has another working directory."""
    found = {}
    for value in values:
        path, separator, how = value.rpartition("=")
        if not separator or not path or how not in CHOICES:
            raise click.BadParameter(f"{value!r} is not PATH=HOW, with one of {', '.join(CHOICES)}")
        found[os.path.abspath(path)] = how
    return found


def _absolute(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    return [os.path.abspath(value) for value in values]


def deciding(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of whatever commits: what is allowed, and what becomes of conflicts."""
    for option in reversed(_DECIDING):
        function = option(function)
    return function


_DECIDING = (
    click.option(
        "--allow-privileged", is_flag=True, help="Also setuid files, file capabilities and foreign owners (root)."
    ),
    click.option(
        "--on-conflict",
        type=click.Choice(CHOICES),
        default="abort",
        show_default=True,
        help="What to do where the live file changed meanwhile: keep ours (the job's), keep theirs, merge the lines of "
        "both, or change nothing.",
    ),
    click.option(
        "--resolve",
        metavar="PATH=HOW",
        multiple=True,
        callback=_rules,
        help="The same for one path and what is beneath it (again for more).",
    ),
    click.option(
        "--in-place",
        metavar="PATH",
        multiple=True,
        callback=_absolute,
        help="Write new contents into the files there and beneath, which keep their inodes and other names, instead of "
        "exchanging them (again for more).",
    ),
)


dry = click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")


@click.command()
@click.argument("checkpoint", type=click.IntRange(min=1))
@deciding
@click.option(
    "--only", metavar="PATH", multiple=True, callback=_absolute,
    help="Commit what is changed there and beneath; the rest stays held (again for more).",
)  # fmt: skip
@click.option(
    "--except", "without", metavar="PATH", multiple=True, callback=_absolute,
    help="Commit all but what is changed there and beneath; that stays held (again for more).",
)  # fmt: skip
@dry
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def commit(
    checkpoint: int,
    allow_privileged: bool,
    on_conflict: str,
    resolve: dict[str, str],
    in_place: list[str],
    only: list[str],
    without: list[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a checkpoint's changes real."""
    more: dict[str, object] = {"resolve": resolve, "in_place": in_place, "only": only}
    more |= {"without": without, "dry_run": dry_run}
    body: dict[str, object] = {"allow_privileged": allow_privileged, "on_conflict": on_conflict}
    body |= {key: value for key, value in more.items() if value}
    answer = Api().post(f"/v1/checkpoints/{checkpoint}/commit", body)
    if as_json:
        output.show_json(answer)
    elif dry_run:
        output.show(preview(answer))
    else:
        output.show(committed(checkpoint, answer))


def committed(checkpoint: int, answer: dict[str, Any]) -> str:
    """One line about what was done."""
    changes = output.counted(answer.get("changes"))
    if answer.get("state") == "held":
        return f"checkpoint {checkpoint} committed in part; still held: {changes}\n{output.cell(answer['message'])}"
    return f"checkpoint {checkpoint} committed" + (f" ({changes})" if changes else "")


def preview(answer: dict[str, Any]) -> str:
    """What a commit would do, a line each: what it makes, what it leaves, the conflicts, and whether it would."""
    lines = [_change("would commit", change) for change in answer["changes"]]
    lines += [_change("keeps the live version of", change) for change in answer["skipped"]]
    lines += [_change("stays held", change) for change in answer["left"]]
    lines += [_conflict(conflict) for conflict in answer["conflicts"]]
    if answer["refused"]:
        lines += [output.lines(answer["refused"])]
    undecided = sum(1 for conflict in answer["conflicts"] if conflict["resolution"] == "abort")
    if undecided or answer["refused"]:
        what = f"{undecided} conflict{'' if undecided == 1 else 's'} to decide" if undecided else "it is refused"
        lines.append(f"nothing would be committed: {what}")
    return "\n".join(lines) if lines else "nothing would be committed: there are no changes"


def _change(what: str, change: dict[str, Any]) -> str:
    return f"{what}  {change['letter']}  {output.cell(change['path'])}"


def _conflict(conflict: dict[str, Any]) -> str:
    since = conflict["seconds_after_start"]
    when = "" if since is None else f", {since:.3f} s after the checkpoint began"
    why = f"; {conflict['why']}" if conflict["why"] else ""
    told = output.cell(f"{conflict['path']}: {conflict['reason']} ({conflict['proof']}{when}){why}")
    return f"conflict, {conflict['resolution']}  {told}"
