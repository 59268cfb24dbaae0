"""`submit`: `run -d` by the name that other queues have for it."""

from __future__ import annotations

import click

from cbx_supervisor.cli.commands.run import Run


class _Submit(Run):
    """The same options; the job is detached."""

    def get_help(self, ctx: click.Context) -> str:
        """Say what is different, and leave the rest to `run`."""
        del ctx
        return (
            "Usage: cbx-sandbox submit [OPTIONS] [--] COMMAND [ARGUMENT...]\n"
            "       cbx-sandbox submit [OPTIONS] -c LINE\n\n"
            "Have one command run in a box and do not wait for it: prints its number.\n\n"
            "The same as `cbx-sandbox run --detach`, whose options it takes."
        )

    def invoke(self, ctx: click.Context) -> int:
        """Detach it."""
        if ctx.args[:1] in (["--help"], ["-h"]):
            click.echo(self.get_help(ctx))
            return 0
        return self.start(["--detach", *ctx.args])


command = _Submit("submit", short_help="Have one command run and do not wait.", add_help_option=False)
