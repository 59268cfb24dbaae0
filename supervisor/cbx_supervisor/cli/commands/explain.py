"""`explain`: what `run` would do with a command, and why; runs nothing and needs no supervisor."""

from __future__ import annotations

import click

from cbx_supervisor.cli import explain


class _Explain(click.Command):
    """Takes the options of `run`, so its parser reads them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep every word but a request for help."""
        if args and args[0] in {"-h", "--help"}:
            click.echo(self.get_help(ctx))
            ctx.exit()
        ctx.args = args
        return args

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show what the parser of `run` takes."""
        formatter.write_usage(ctx.command_path, "[OPTIONS OF RUN] [--json] (-c LINE | [--] COMMAND [ARGUMENT...])")

    def invoke(self, ctx: click.Context) -> int:
        """Explain one command."""
        return explain.run(ctx.args)


command = _Explain(
    "explain",
    short_help="Say what run would do, and why.",
    add_help_option=False,
    help="Say what run would do with a command, and why: its tier with the reasons (the part of the command that each "
    "is about is underlined), what it is predicted to touch, the locks, the policy and the mounts. Nothing is run. It "
    "takes the options of run.",
)
