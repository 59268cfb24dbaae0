"""`run`, for the help and for those who reach it by way of click: the client parses its own options."""

from __future__ import annotations

import click

from cbx_supervisor.client.run import status_of
from cbx_supervisor.client.usage import help_text


class Run(click.Command):
    """Leaves all arguments to the client's own parser and takes the help from its table."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep every word."""
        ctx.args = args
        return args

    def get_help(self, ctx: click.Context) -> str:
        """Return the client's help."""
        del ctx
        return help_text().rstrip("\n")

    def invoke(self, ctx: click.Context) -> int:
        """Do what the fast path does."""
        return self.start(ctx.args)

    def start(self, arguments: list[str]) -> int:
        """Hand the words to the client."""
        return status_of(arguments)


command = Run("run", short_help="Run one command in a box.", add_help_option=False)
