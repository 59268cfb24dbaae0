"""`tx`: several commands whose changes are committed together, or not at all."""

from __future__ import annotations

import os
from typing import Any

import click

from cbx_supervisor.cli import checkpoint_diff, output
from cbx_supervisor.cli.checkpoint_commit import deciding, dry, preview
from cbx_supervisor.cli.checkpoint_diff import looking
from cbx_supervisor.cli.commands.run import Run
from cbx_supervisor.client.http import Api

ID = click.IntRange(min=1)


@click.group(short_help="Commit several commands together.", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run several commands over the same layers, and commit what all of them did as one, or nothing of it.

    They see each other's changes; nobody else does. Between them no locks are held: what others have changed meanwhile
    is a conflict when it is committed. What nobody touches for as long as a held checkpoint is kept is rolled back.
    """


@command.command()
@click.argument("directories", metavar="[DIRECTORY]...", nargs=-1)
@click.option("--label", default="", help="What it is for.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def begin(directories: tuple[str, ...], label: str, as_json: bool) -> None:
    """Begin a transaction over directories (the current one); print its number.

    Its commands can change what is in them, and nothing else.
    """
    paths = [os.path.abspath(path) for path in directories or (".",)]
    found = Api().post("/v1/transactions", {"directories": paths, "label": label})
    output.show_json(found) if as_json else output.show(str(found["id"]))


class _InIt(Run):
    """`run`, in a transaction, whose number is the first word."""

    def __init__(self, name: str, short_help: str, usage: str, text: str, more: tuple[str, ...] = ()) -> None:
        super().__init__(name, short_help=short_help, add_help_option=False)
        self._text = f"Usage: cbx-sandbox tx {name} {usage}\n\n{text}"
        self._more = more

    def get_help(self, ctx: click.Context) -> str:
        """Say what is different, and leave the rest to `run`."""
        del ctx
        return self._text

    def invoke(self, ctx: click.Context) -> int:
        """Hand it to the client of `run`."""
        words = list(ctx.args)
        if not words or words[0] in {"-h", "--help"}:
            if not words:
                raise click.UsageError("which transaction?", ctx)
            click.echo(self.get_help(ctx))
            return 0
        return self.start(["--transaction", words.pop(0), *self._words(words)])

    def _words(self, words: list[str]) -> list[str]:
        return words


class _Shell(_InIt):
    """A shell of the user's."""

    def _words(self, words: list[str]) -> list[str]:
        shell = os.environ.get("SHELL", "/bin/sh")
        return ["--timeout", "0", "--interactive", *words, "--", shell]


command.add_command(
    _InIt(
        "run",
        "Run a command in a transaction.",
        "TRANSACTION [OPTIONS OF RUN] [--] COMMAND [ARGUMENT...]",
        "Run a command in a transaction, over the changes of those before it. What it\n"
        "changes stays there, also when it fails: savepoints are there to go back to.\n\n"
        "It takes the options of `cbx-sandbox run`, but for --rw, --commit and --tier.",
    )
)


@command.command()
@click.argument("transaction", type=ID)
@click.argument("name")
def savepoint(transaction: int, name: str) -> None:
    """Give the state of a transaction a name to go back to."""
    Api().post(f"/v1/transactions/{transaction}/savepoint", {"name": name})
    output.show(f"savepoint {output.cell(name)} in transaction {transaction}")


@command.command("rollback-to")
@click.argument("transaction", type=ID)
@click.argument("name")
def rollback_to(transaction: int, name: str) -> None:
    """Throw away what was done since a savepoint, which stays."""
    Api().post(f"/v1/transactions/{transaction}/rollback-to", {"name": name})
    output.show(f"transaction {transaction} is as it was at {output.cell(name)}")


@command.command()
@click.argument("transaction", type=ID)
@looking
def diff(transaction: int, paths: tuple[str, ...], form: str | None, no_pager: bool) -> None:
    """Show what a commit of all its commands would change, as a text diff; while none of them runs."""
    checkpoint_diff.show(f"/v1/transactions/{transaction}/diff", paths, form, no_pager=no_pager)


@command.command()
@click.argument("transaction", type=ID)
@deciding
@dry
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def commit(
    transaction: int,
    allow_privileged: bool,
    on_conflict: str,
    resolve: dict[str, str],
    in_place: list[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the changes of all its commands real, at once.

    When that is refused, the transaction stays open, without its savepoints.
    """
    body: dict[str, object] = {"allow_privileged": allow_privileged, "on_conflict": on_conflict, "resolve": resolve}
    body |= {key: value for key, value in {"in_place": in_place, "dry_run": dry_run}.items() if value}
    answer = Api().post(f"/v1/transactions/{transaction}/commit", body)
    if as_json:
        output.show_json(answer)
        return
    if dry_run:
        output.show(preview(answer))
        return
    changes = output.counted(answer.get("changes"))
    output.show(f"transaction {transaction} committed" + (f" ({changes})" if changes else ": nothing was changed"))


@command.command()
@click.argument("transaction", type=ID)
def rollback(transaction: int) -> None:
    """Throw the changes of all its commands away."""
    Api().post(f"/v1/transactions/{transaction}/rollback")
    output.show(f"transaction {transaction} rolled back")


@command.command()
@click.argument("transaction", type=ID)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(transaction: int, as_json: bool) -> None:
    """Show a transaction: its commands, its savepoints, what became of it."""
    found = Api().get(f"/v1/transactions/{transaction}")
    if as_json:
        output.show_json(found)
        return
    wanted = ("id", "state", "label", "directories", "running", "message")
    pairs = [(key, found[key]) for key in wanted if found[key] not in (None, "")]
    pairs += [(key, output.when(found[key])) for key in ("begun", "touched", "expires") if found[key]]
    output.show(output.pairs(pairs))
    saved = {savepoint["name"] for savepoint in found["savepoints"]}
    for step in found["steps"]:
        output.show(f"  {output.when(step['at'])}  {output.cell(_told(step, saved))}")


def _told(step: dict[str, Any], saved: set[str]) -> str:
    if step["kind"] == "run":
        return f"job {step['job']}, exit status {step['status']}: {step['command']}"
    if step["kind"] == "savepoint" and step["name"] not in saved:
        return f"savepoint {step['name']} (gone)"
    return f"{step['kind']} {step.get('name', '')}".rstrip()


@command.command("list")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that are over.")
@click.option("--json", "as_json", is_flag=True, help="Print each transaction as a line of JSON.")
def list_(everything: bool, as_json: bool) -> None:
    """List transactions, the newest first."""
    found = output.rows_of(Api().get("/v1/transactions", open=None if everything else "true"), "transactions")
    if as_json:
        for transaction in found:
            output.show_json(transaction)
        return
    rows = [
        (
            entry["id"],
            entry["state"],
            sum(1 for step in entry["steps"] if step["kind"] == "run"),
            ", ".join(savepoint["name"] for savepoint in entry["savepoints"]),
            output.when(entry["touched"]),
            entry["label"],
            ", ".join(entry["directories"]),
        )
        for entry in found
    ]
    output.show(output.table(("ID", "STATE", "COMMANDS", "SAVEPOINTS", "TOUCHED", "LABEL", "DIRECTORIES"), rows))


command.add_command(
    _Shell(
        "shell",
        "Open a shell in a transaction.",
        "TRANSACTION [OPTIONS OF RUN]",
        "Open $SHELL in a transaction: one command of it, without a time limit and without\na network.",
    )
)
