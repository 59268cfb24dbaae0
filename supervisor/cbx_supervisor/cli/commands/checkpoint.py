"""`checkpoint`: the change sets that overlays captured: look at them, keep them, drop them."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from cbx_supervisor.cli import checkpoint_diff, output
from cbx_supervisor.cli.checkpoint_commit import commit
from cbx_supervisor.cli.checkpoint_diff import looking
from cbx_supervisor.cli.commands.run import Run
from cbx_supervisor.client.http import Api

ID = click.IntRange(min=1)


@click.group(
    short_help="Review, commit and roll back changes.", context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    """Review, commit and roll back the changes that jobs made in overlays."""


@command.command("list")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those in which nothing was changed.")
@click.option("--held", is_flag=True, help="Only those that wait for a decision.")
@click.option("--pinned", is_flag=True, help="Only those that are pinned.")
@click.option("--job", type=ID, help="Only that of one job.")
@click.option("--label", help="Only those with this label.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print each checkpoint as a line of JSON.")
def list_(
    everything: bool, held: bool, pinned: bool, job: int | None, label: str | None, limit: int | None, as_json: bool
) -> None:
    """List checkpoints, the newest first."""
    states = "held,conflict" if held else None if everything else "open,held,conflict,committed,rolled-back"
    query = {"state": states, "pinned": "true" if pinned else None, "job": job, "label": label, "limit": limit}
    checkpoints = output.rows_of(Api().get("/v1/checkpoints", **query), "checkpoints")
    if as_json:
        for checkpoint in checkpoints:
            output.show_json(checkpoint)
        return
    rows = [
        (
            checkpoint.get("id"),
            checkpoint.get("state"),
            checkpoint.get("job"),
            output.counted(checkpoint.get("changes")),
            output.when(checkpoint.get("created")),
            "pinned" if checkpoint.get("pinned") else output.when(checkpoint.get("expires")),
            checkpoint.get("label"),
            checkpoint.get("command"),
        )
        for checkpoint in checkpoints
    ]
    headers = ("ID", "STATE", "JOB", "CHANGES", "CREATED", "EXPIRES", "LABEL", "COMMAND")
    output.show(output.table(headers, rows))


@command.command()
@click.argument("checkpoint", type=ID)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(checkpoint: int, as_json: bool) -> None:
    """Show one checkpoint."""
    found = Api().get(f"/v1/checkpoints/{checkpoint}")
    if as_json:
        output.show_json(found)
        return
    output.show(output.pairs((key.replace("_", " "), _flat(key, value)) for key, value in found.items()))


def _flat(key: str, value: Any) -> Any:
    if key in {"created", "decided", "expires"}:
        return output.when(value)
    if isinstance(value, dict):
        return (
            output.counted(value) if "added" in value else ", ".join(f"{name} {item}" for name, item in value.items())
        )
    return [str(_flat("", item)) for item in value] if isinstance(value, list) else value


@command.command()
@click.argument("checkpoint", type=ID)
@looking
def diff(checkpoint: int, paths: tuple[str, ...], form: str | None, no_pager: bool) -> None:
    """Show what a checkpoint would change, as a text diff; of a committed one, what it has changed, as a list."""
    checkpoint_diff.show(f"/v1/checkpoints/{checkpoint}/diff", paths, form, no_pager=no_pager)


command.add_command(commit)


@command.command()
@click.argument("checkpoints", metavar="CHECKPOINT...", type=ID, nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print each outcome as a line of JSON.")
def rollback(checkpoints: tuple[int, ...], as_json: bool) -> None:
    """Throw the changes of checkpoints away."""
    for checkpoint in checkpoints:
        _outcome(Api().post(f"/v1/checkpoints/{checkpoint}/rollback"), checkpoint, "rolled back", as_json=as_json)


@command.command()
@click.argument("checkpoint", type=ID)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def undo(checkpoint: int, as_json: bool) -> None:
    """Put back what a commit has replaced, unless somebody has changed what it made."""
    _outcome(Api().post(f"/v1/checkpoints/{checkpoint}/undo"), checkpoint, "undone", as_json=as_json)


@command.command()
@click.argument("checkpoint", type=ID)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def redo(checkpoint: int, as_json: bool) -> None:
    """Do a commit again that was undone."""
    _outcome(Api().post(f"/v1/checkpoints/{checkpoint}/redo"), checkpoint, "done again", as_json=as_json)


@command.command()
@click.argument("paths", metavar="[-- PATH]...", nargs=-1)
@click.option("--checkpoint", type=ID, help="Only what was done with one.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Look at so many.")
@click.option("--json", "as_json", is_flag=True, help="Print each operation as a line of JSON.")
def log(paths: tuple[str, ...], checkpoint: int | None, limit: int, as_json: bool) -> None:
    """Show what was committed, undone and done again, the newest first: when, by whom, which paths.

    UNDO is `yes` where what was replaced is kept, or names the checkpoints that have to be undone before, since they
    changed the same paths later.
    """
    wanted = [os.path.abspath(path) for path in paths]
    answer = json.loads(Api().get_bytes("/v1/checkpoints/log", checkpoint=checkpoint, limit=limit, path=wanted))
    operations = output.rows_of(answer, "operations")
    if as_json:
        for entry in operations:
            output.show_json(entry)
        return
    rows = [
        (
            entry["kind"],
            entry["checkpoint"],
            output.when(entry["at"]),
            entry["uid"],
            output.counted(entry["changes"]),
            _undo(entry),
            ", ".join(entry["paths"][:3]) + (", …" if len(entry["paths"]) > 3 or entry["more"] else ""),
        )
        for entry in operations
    ]
    output.show(output.table(("DID", "CHECKPOINT", "WHEN", "UID", "CHANGES", "UNDO", "PATHS"), rows))


def _undo(entry: Any) -> str | None:
    if not entry["undoable"]:
        return None
    return "after " + ", ".join(map(str, entry["under"])) if entry["under"] else "yes"


class _Shell(Run):
    """`run`, in the view of a checkpoint, whose number is the first word."""

    def get_help(self, ctx: click.Context) -> str:
        """Say what is different, and leave the rest to `run`."""
        del ctx
        return (
            "Usage: cbx-sandbox checkpoint shell CHECKPOINT [OPTIONS OF RUN]\n"
            "                                    [-- COMMAND [ARGUMENT...]]\n\n"
            "Open $SHELL, or run a command, where the changes of a held checkpoint are shown\n"
            "over the live tree. Nothing can be written, and there is no time limit."
        )

    def invoke(self, ctx: click.Context) -> int:
        """Hand it to the client of `run`."""
        number, *words = ctx.args or [""]
        if number in {"", "-h", "--help"}:
            if not number:
                raise click.UsageError("which checkpoint?", ctx)
            click.echo(self.get_help(ctx))
            return 0
        asked = [] if "--" in words else ["--interactive", *words, "--", os.environ.get("SHELL", "/bin/sh")]
        return self.start(["--view", number, "--timeout", "0", *(asked or words)])


command.add_command(_Shell("shell", short_help="Look around in a held checkpoint.", add_help_option=False))


@command.command()
@click.argument("checkpoints", metavar="CHECKPOINT...", type=ID, nargs=-1, required=True)
def rm(checkpoints: tuple[int, ...]) -> None:
    """Forget checkpoints that are decided on, and what they replaced: no undo puts that back any more."""
    for checkpoint in checkpoints:
        Api().post(f"/v1/checkpoints/{checkpoint}/remove")
        output.show(f"checkpoint {checkpoint} removed")


@command.command()
@click.argument("checkpoints", metavar="CHECKPOINT...", type=ID, nargs=-1, required=True)
def pin(checkpoints: tuple[int, ...]) -> None:
    """Keep checkpoints until somebody decides, however old they get."""
    for checkpoint in checkpoints:
        Api().post(f"/v1/checkpoints/{checkpoint}/mark", {"pinned": True})
        output.show(f"checkpoint {checkpoint} is kept until somebody decides")


@command.command()
@click.argument("checkpoints", metavar="CHECKPOINT...", type=ID, nargs=-1, required=True)
def unpin(checkpoints: tuple[int, ...]) -> None:
    """Let checkpoints grow old again."""
    for checkpoint in checkpoints:
        found = Api().post(f"/v1/checkpoints/{checkpoint}/mark", {"pinned": False})
        until = output.when(found.get("expires"))
        output.show(f"checkpoint {checkpoint} " + (f"is held until {until}" if until else "is not pinned"))


@command.command()
@click.argument("checkpoint", type=ID)
@click.argument("text")
def label(checkpoint: int, text: str) -> None:
    """Give a checkpoint a label; an empty one takes it away."""
    Api().post(f"/v1/checkpoints/{checkpoint}/mark", {"label": text})
    output.show(f"checkpoint {checkpoint} labelled" if text else f"checkpoint {checkpoint} has no label")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def du(as_json: bool) -> None:
    """Show what checkpoints take on disk, the largest first: what is held, and what an undo would put back."""
    found = Api().get("/v1/checkpoints/usage")
    if as_json:
        output.show_json(found)
        return
    rows = [
        (entry["id"], output.size(entry["bytes"]), entry["uid"], entry["state"], "pinned" if entry["pinned"] else None)
        for entry in found["checkpoints"]
    ]
    output.show(output.table(("ID", "SIZE", "UID", "STATE", "PINNED"), rows))
    for uid, taken in found["users"].items():
        output.show(f"user {uid}: {output.size(taken)}")
    output.show(f"all: {output.size(found['bytes'])}, {output.size(found['free'])} free")


def _outcome(answer: Any, checkpoint: int, done: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json(answer)
        return
    changes = output.counted(answer.get("changes")) if isinstance(answer, dict) else None
    output.show(f"checkpoint {checkpoint} {done}" + (f" ({changes})" if changes else ""))
