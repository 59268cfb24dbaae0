"""`relate`: how two commands get along, and what resolves it; needs no supervisor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cbx_sandbox import environment
from cbx_sandbox.facts import HostFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.relations import relate
from cbx_supervisor.cli import output, own_rules
from cbx_supervisor.client.failure import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbx_sandbox.shell.relations import Relation, Tie


@click.command(short_help="Say how two commands get along.")
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(first: str, second: str, as_json: bool) -> None:
    """Say how two shell lines get along when FIRST is submitted before SECOND; nothing is run.

    They are independent, dependent (SECOND needs what FIRST leaves), conflicting (not at the same time), dangerous (one
    destroys what the other uses) or critical (one changes the machine beneath the other). Each thing that they share is
    named with its cell of the conflict matrix and what resolves it.
    """
    own_rules.use()
    visible = {name: value for name, value in os.environ.items() if not environment.dropped(name)}
    facts = HostFacts(os.getcwd(), visible)
    relation, ties = relate(analyse(first, facts).effects, analyse(second, facts).effects)
    if as_json:
        output.show_json(describe(first, second, relation, ties))
    else:
        output.show(render(relation, ties))


def describe(first: str, second: str, relation: Relation, ties: Sequence[Tie]) -> dict[str, Any]:
    """Return it as plain JSON values."""
    return {
        "first": first,
        "second": second,
        "relation": relation.value,
        "ties": [
            {
                "code": tie.code,
                "relation": tie.relation.value,
                "text": tie.text,
                "resource": tie.resource,
                "cell": {
                    "operation": tie.cell.operation.value,
                    "resource": tie.cell.resource.value,
                    "safety": tie.cell.safety.value,
                },
                "resolution": tie.cell.resolution.value,
            }
            for tie in ties
        ],
    }


def render(relation: Relation, ties: Sequence[Tie]) -> str:
    """Lay it out for people: the worst tie first."""
    lines = [relation.value]
    for tie in ties:
        cell = tie.cell
        named = f"{cell.operation.value} x {cell.resource.value}: {cell.safety.value}"
        lines += ["", f"  {printable(tie.text)}  [{tie.relation.value}, {tie.code}]"]
        lines += [f"    {named}, resolved by {cell.resolution.value}"]
    return "\n".join(lines)
