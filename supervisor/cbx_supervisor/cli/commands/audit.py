"""`audit`: who did what, whether that is still what was written down, and a copy of it."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.failure import ClientError
from cbx_supervisor.client.http import Api
from cbx_supervisor.model import chain

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 1000
_ANCHOR = re.compile(r"(\d+):([0-9a-f]{64})")


@click.group(short_help="Show and check who did what.", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Show and check the audit trail: for root and who has the role auditor or admin.

    Every decision and operation is in it. Each entry holds a hash of itself and of the one before it, so what was
    changed, removed or reordered is found. Without a subcommand: the newest entries.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@command.command("show", short_help="Show the newest entries.")
@click.option("-n", "--limit", type=click.IntRange(min=1, max=1000), default=20, show_default=True, help="So many.")
@click.option("--before", type=click.IntRange(min=1), help="Only entries with smaller numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print each entry as a line of JSON.")
def show(limit: int, before: int | None, as_json: bool) -> None:
    """Show the newest entries first."""
    entries = output.rows_of(Api().get("/v1/audit", limit=limit, before=before), "entries")
    if as_json:
        for entry in entries:
            output.show_json(entry)
        return
    rows = [
        (
            entry["id"],
            output.when(entry["at"]),
            entry["uid"],
            entry["action"],
            entry["subject"],
            _detail(entry["detail"]),
        )
        for entry in entries
    ]
    output.show(output.table(("ENTRY", "TIME", "USER", "ACTION", "SUBJECT", "DETAIL"), rows))


@command.command("export", short_help="Print the whole trail, a line of JSON each.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only entries with larger numbers.")
def export(after: int) -> None:
    """Print the trail, the oldest first, as lines of JSON: `audit verify --file` checks such a copy anywhere."""
    for entry in _Trail(after).entries():
        output.show_json(entry)


@command.command("verify", short_help="Check that nothing was changed, removed or reordered.")
@click.option("--file", "path", type=click.Path(dir_okay=False), help="Check a copy that `audit export` made.")
@click.option("--anchor", "anchors", multiple=True, metavar="NUMBER:HASH", help="An entry as it was noted earlier.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def verify(path: str | None, anchors: tuple[str, ...], as_json: bool) -> int:
    """Check every entry against its hash, its predecessor, and what was noted.

    Names each entry that is not what was written down, and exits with 1 then. The head that it prints is worth noting
    elsewhere: with --anchor it shows later that everything up to it is as it was, also against somebody who can write
    all of the trail anew.
    """
    noted = [_anchor(text) for text in anchors]
    if path is None:
        trail = _Trail(0)
        verdict = chain.verify(map(_link, trail.entries()), last=trail.last, anchors=noted)
    else:
        verdict = chain.verify(_read(path), anchors=noted)
    head = None if verdict.head is None else str(verdict.head)
    if as_json:
        problems = [{"entry": problem.id, "problem": problem.text} for problem in verdict.problems]
        output.show_json({"entries": verdict.entries, "head": head, "intact": not problems, "problems": problems})
        return int(bool(problems))
    for problem in verdict.problems:
        output.show(problem.text)
    state = "NOT INTACT" if verdict.problems else "intact"
    output.show(f"{verdict.entries} entries, {state}" + (f"; head {head}" if head else ""))
    return int(bool(verdict.problems))


class _Trail:
    """The supervisor's trail, page after page; ``last`` is known from the first one on."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._api = Api()
        self._page = self._ask(after)
        self.last = int(self._page["last"])

    def entries(self) -> Iterator[dict[str, Any]]:
        while found := output.rows_of(self._page, "entries"):
            yield from found
            self._page = self._ask(int(found[-1]["id"]))

    def _ask(self, after: int) -> Any:
        return self._api.get("/v1/audit", after=after, limit=PAGE)


def _read(path: str) -> Iterator[chain.Link]:
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield _link(json.loads(line))
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                    raise ClientError(f"cannot read {path}: line {number} is no entry: {_why(error)}") from None
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"cannot read {path}: it is no text in UTF-8") from None


def _why(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _link(told: dict[str, Any]) -> chain.Link:
    for name in ("action", "subject", "record", "previous", "hash"):
        if not isinstance(told[name], str):
            raise TypeError(f"its {name!r} is no text")
    # The detail that people read must be the one that was hashed.
    record = told["record"] if chain.detail(told["record"]) == told["detail"] else json.dumps(told["detail"])
    entry = chain.Entry(
        int(told["id"]), _time(told["at"]), told["uid"], told["pid"], told["action"], told["subject"], record
    )
    return chain.Link(entry, told["previous"], told["hash"])


def _time(told: Any) -> float:
    """JSON has no endless numbers; a time never is one, but somebody may have made it so."""
    return math.inf if told is None else float(told)


def _anchor(text: str) -> chain.Anchor:
    if (found := _ANCHOR.fullmatch(text)) is None:
        raise click.BadParameter(f"{text!r} is not NUMBER:HASH, as `audit verify` prints it", param_hint="--anchor")
    return chain.Anchor(int(found[1]), found[2])


def _detail(detail: dict[str, object]) -> str:
    return " ".join(f"{name}={json.dumps(value)}" for name, value in detail.items())
