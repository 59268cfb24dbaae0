"""The command line: a table of verbs, and one funnel for what goes wrong.

`cbx-sandbox run` does not come here; its script goes to cbx_supervisor.client.run, which starts in a third of the time.
Nor does `cbx-sandbox explain` without --help, which goes to cbx_supervisor.cli.explain.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from cbx_supervisor.cli import funnel
from cbx_supervisor.client.failure import ClientError, unwritten

# In the order of the help: first a command's life, then what came of it, then what cbx knows.
VERBS = (
    "run",
    "submit",
    "explain",
    "analyse",
    "relate",
    "list",
    "show",
    "wait",
    "logs",
    "cancel",
    "kill",
    "pause",
    "resume",
    "retry",
    "abandon",
    "priority",
    "move",
    "why",
    "checkpoint",
    "tx",
    "status",
    "queue",
    "pools",
    "locks",
    "breakers",
    "simulate",
    "report",
    "audit",
    "incidents",
    "config",
    "doctor",
    "fsck",
    "rules",
    "install-service",
)
HELP = {"help_option_names": ["-h", "--help"]}
EPILOG = "cbx-sandbox VERB --help explains a verb. Usage errors and failures of cbx itself exit with status 125."


class _HungUpError(Exception):
    """Who reads what is printed went away."""


@contextmanager
def _printing() -> Iterator[None]:
    """Raise _HungUpError for a BrokenPipeError: click would end the process with 1, as if the verb had failed.

    And ClientError where click cannot write a help text or the version.
    """
    try:
        yield
    except BrokenPipeError as why:
        raise _HungUpError from why
    except OSError as why:
        if not _printed_by_click(why):
            raise
        raise unwritten(why) from why


def _printed_by_click(why: OSError) -> bool:
    trace = why.__traceback__
    while trace is not None and trace.tb_frame.f_code is not click.echo.__code__:
        trace = trace.tb_next
    return trace is not None


class Verbs(click.Group):
    """Imports a verb when it is used: cli/commands has a module for each, with the command in `command`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the options before the verb, of which some print and end."""
        with _printing():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run one verb."""
        with _printing():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the table's order."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"cbx_supervisor.cli.commands.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # noqa: PLC0415 -- it imports the parsers of e-mail

        click.echo(f"cbx-sandbox {metadata.version('cbx')}")
        ctx.exit()


@click.group(cls=Verbs, context_settings=HELP, epilog=EPILOG)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def command() -> None:
    """Run commands contained and reversible."""


def main() -> None:
    """Run one verb; a failure is one message and an exit status, never a traceback."""
    sys.exit(status_of(sys.argv[1:]))


def status_of(argv: list[str]) -> int:
    """Run one verb and return its exit status."""
    return funnel.status_of(lambda: _verb(argv))


def _verb(argv: list[str]) -> object:
    try:
        return command.main(argv, prog_name="cbx-sandbox", standalone_mode=False)
    except click.ClickException as why:
        raise _usage(why) from why
    except click.Abort as why:
        raise KeyboardInterrupt from why
    except _HungUpError as why:
        raise BrokenPipeError from why


def _usage(why: click.ClickException) -> ClientError:
    verb = getattr(why, "ctx", None)
    path = verb.command_path if verb is not None else "cbx-sandbox"
    # What there is to choose from stands in lines of its own.
    return ClientError(why.format_message().replace("\n\t", " "), hint=f"see `{path} --help`")


if __name__ == "__main__":
    main()
