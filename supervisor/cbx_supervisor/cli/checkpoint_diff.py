"""`checkpoint diff` and `tx diff`: in one of the forms, in a pager on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from cbx_supervisor.cli import output, pager
from cbx_supervisor.client.http import Api


def looking(function: Callable[..., None]) -> Callable[..., None]:
    """Add the paths and options of whatever shows changes."""
    for option in reversed(_LOOKING):
        function = option(function)
    return function


_LOOKING = (
    click.argument("paths", metavar="[-- PATH]...", nargs=-1),
    click.option("--stat", "form", flag_value="stat", help="Counts instead of contents."),
    click.option("--name-status", "form", flag_value="name-status", help="Only what happened to which path."),
    click.option("--list", "form", flag_value="list", help="A line for each path, with what about it changed."),
    click.option("--tree", "form", flag_value="tree", help="As a tree of directories."),
    click.option("--json", "form", flag_value="json", help="As JSON."),
    click.option("--no-pager", is_flag=True, help="No pager, also on a terminal."),
)


def show(page: str, paths: tuple[str, ...], form: str | None, *, no_pager: bool) -> None:
    """Print the diff at ``page`` of the API."""
    content = Api().get_bytes(page, format=form or "text", path=[os.path.abspath(path) for path in paths])
    if not sys.stdout.isatty():
        output.write(content)
        return
    text = output.lines(content.decode("utf-8", "surrogateescape"))
    if no_pager:
        output.write(text)
    else:
        pager.show(text)
