"""`rules`: what cbx knows about programs; needs no supervisor."""

from __future__ import annotations

import fnmatch
from typing import Any

import click

from cbx_sandbox.shell import rules
from cbx_supervisor.cli import output
from cbx_supervisor.client.failure import ClientError, quoted


@click.group(short_help="Show what is known about programs.")
def command() -> None:
    """Show what cbx knows about programs: the data that tiers and effects are predicted from."""


@command.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print each rule as a line of JSON.")
def list_(pattern: str, as_json: bool) -> None:
    """List the programs that have a rule; PATTERN may have * and ?."""
    found = [rule for name in sorted(fnmatch.filter(rules.names(), pattern)) if (rule := rules.find(name)) is not None]
    if as_json:
        for rule in found:
            output.show_json({"name": rule.name, "tier": rule.tier.value, "worst": rule.worst().value, "why": rule.why})
        return
    rows = [(rule.name, rule.tier.value, rule.worst().value, rule.why) for rule in found]
    output.show(output.table(("PROGRAM", "USUAL TIER", "WORST TIER", "WHY"), rows))


@command.command()
@click.argument("program")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(program: str, as_json: bool) -> None:
    """Show the rule of one program, with its options and subcommands."""
    rule = rules.find(program)
    if rule is None:
        raise ClientError(
            f"there is no rule for {quoted(program)}",
            hint="an unknown program is SEQUENTIAL_REQUIRED, with the project directory as what it writes",
        )
    if as_json:
        output.show_json(describe(rule))
    else:
        output.show("\n".join(_render(rule)))


def describe(rule: rules.Rule) -> dict[str, Any]:
    """Return a rule as plain JSON values."""
    return {
        "name": rule.name,
        "tier": rule.tier.value,
        "worst": rule.worst().value,
        "why": rule.why,
        "operands": list(rule.operands),
        "options": {
            name: {"role": option.role, "tier": option.tier.value if option.tier else None}
            for name, option in rule.options.items()
        },
        "writes": None if rule.writes is None else list(rule.writes),
        "caches": list(rule.caches),
        "network": rule.network,
        "host": rule.host,
        "benign_exits": sorted(rule.benign),
        "cost": rule.cost,
        "subcommands": {name: describe(sub) for name, sub in rule.subs.items()},
        "examples": dict(rule.examples),
    }


def _render(rule: rules.Rule) -> list[str]:
    worst = rule.worst()
    parts = [
        output.pairs(
            [
                ("program", rule.name),
                ("tier", rule.tier.value + (f", up to {worst.value}" if worst is not rule.tier else "")),
                ("why", rule.why),
                ("operands", " ".join(rule.operands)),
                ("writes", ", ".join(rule.writes or ())),
                ("caches", ", ".join(rule.caches)),
                ("network", rule.network),
                ("acts on", rule.host and f"the host: {rule.host}"),
                ("benign", ", ".join(map(str, sorted(rule.benign)))),
            ]
        )
    ]
    if rule.options:
        rows = [(name, option.role, option.tier and option.tier.value) for name, option in sorted(rule.options.items())]
        parts += ["", output.table(("OPTION", "ROLE", "TIER"), rows)]
    if rule.subs:
        rows = [(name, sub.tier.value, sub.why) for name, sub in sorted(rule.subs.items())]
        parts += ["", output.table(("SUBCOMMAND", "TIER", "WHY"), rows)]
    if rule.examples:
        parts += ["", output.table(("EXAMPLE", "TIER"), rule.examples)]
    return parts
