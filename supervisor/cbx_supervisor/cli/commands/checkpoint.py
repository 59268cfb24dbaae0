"""`checkpoint`: the change sets that overlays captured: look at them, keep them, drop them."""

from __future__ import annotations

import sys
from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.cli.checkpoint_commit import commit
from cbx_supervisor.client.http import Api

ID = click.IntRange(min=1)


@click.group(
    short_help="Review, commit and roll back changes.", context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    """Review, commit and roll back the changes that jobs made in overlays."""


@command.command("list")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those in which nothing was changed.")
@click.option("--json", "as_json", is_flag=True, help="Print each checkpoint as a line of JSON.")
def list_(everything: bool, as_json: bool) -> None:
    """List checkpoints, the newest first."""
    checkpoints = output.rows_of(Api().get("/v1/checkpoints"), "checkpoints")
    checkpoints = [found for found in checkpoints if everything or found.get("state") != "empty"]
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
            checkpoint.get("command"),
        )
        for checkpoint in checkpoints
    ]
    output.show(output.table(("ID", "STATE", "JOB", "CHANGES", "CREATED", "COMMAND"), rows))


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
    if key in {"created", "decided"}:
        return output.when(value)
    if isinstance(value, dict):
        return (
            output.counted(value) if "added" in value else ", ".join(f"{name} {item}" for name, item in value.items())
        )
    return [str(_flat("", item)) for item in value] if isinstance(value, list) else value


@command.command()
@click.argument("checkpoint", type=ID)
@click.option("--stat", "form", flag_value="stat", help="Counts instead of contents.")
@click.option("--name-status", "form", flag_value="name-status", help="Only what happened to which path.")
@click.option("--tree", "form", flag_value="tree", help="As a tree of directories.")
@click.option("--json", "form", flag_value="json", help="As JSON.")
def diff(checkpoint: int, form: str | None) -> None:
    """Show what a checkpoint would change, as a text diff."""
    content = Api().get_bytes(f"/v1/checkpoints/{checkpoint}/diff", format=form or "text")
    if sys.stdout.isatty():
        sys.stdout.write(output.lines(content.decode("utf-8", "surrogateescape")))
    else:
        sys.stdout.buffer.write(content)


command.add_command(commit)


@command.command()
@click.argument("checkpoint", type=ID)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def rollback(checkpoint: int, as_json: bool) -> None:
    """Throw a checkpoint's changes away."""
    _outcome(Api().post(f"/v1/checkpoints/{checkpoint}/rollback"), checkpoint, "rolled back", as_json=as_json)


def _outcome(answer: Any, checkpoint: int, done: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json(answer)
        return
    changes = output.counted(answer.get("changes")) if isinstance(answer, dict) else None
    output.show(f"checkpoint {checkpoint} {done}" + (f" ({changes})" if changes else ""))
