"""`config`: the settings, in force and in the files."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api

_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group(short_help="Show, check and reload the settings.")
def command() -> None:
    """Show, check and reload the supervisor's settings."""


@command.command("show", short_help="Show the settings in force.")
@_JSON
def show(as_json: bool) -> None:
    """Show the settings that the supervisor goes by."""
    found = Api().get("/v1/config")
    if as_json:
        output.show_json(found)
        return
    output.show("\n".join(f"{key} = {json.dumps(value)}" for key, value in found["settings"].items()))
    for key in found["state"]["needs_restart"]:
        output.remark(f"{key} takes effect when the supervisor is started anew")


@command.command("check", short_help="Check the files without a supervisor.")
@click.option("--directory", default=None, help="Instead of /etc/cbx.")
def check(directory: str | None) -> None:
    """Check the files: an error names the file, the setting and what to do, and exits with 125."""
    from cbx_supervisor import paths, settings_sources  # noqa: PLC0415 -- most verbs need neither

    where = directory or paths.from_environment(os.environ, uid=os.getuid()).config
    settings_sources.load(where, os.environ)
    output.show(f"{where}: nothing is wrong with the settings")


@command.command("schema", short_help="Print the settings' JSON Schema.")
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    import msgspec  # noqa: PLC0415 -- most verbs do without

    from cbx_supervisor.settings import Settings  # noqa: PLC0415

    output.show(json.dumps(msgspec.json.schema(Settings), indent=2))


@command.command("diff", short_help="Show what a reload would change.")
@_JSON
def diff(as_json: bool) -> None:
    """Show what a reload would change: a setting in force, and what the files say now."""
    _show(Api().get("/v1/config/diff"), as_json)


@command.command("reload", short_help="Have the files read anew.")
@_JSON
def reload(as_json: bool) -> None:
    """Have settings and rules read anew, for root and who has the role admin. A broken file changes nothing."""
    _show(Api().post("/v1/config/reload"), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.show_json(found)
        return
    for change in found["changed"]:
        late = "  (at the next start)" if change["needs_restart"] else ""
        output.show(f"{change['key']}: {json.dumps(change['before'])} -> {json.dumps(change['after'])}{late}")
    if not found["changed"]:
        output.show("no setting differs")
