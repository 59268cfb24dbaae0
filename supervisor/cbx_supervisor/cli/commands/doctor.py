"""`doctor`: what this host can really enforce, found by trying it; needs no supervisor."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import click

from cbx_supervisor.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKS = {"ok": "ok", "missing": "MISSING", "unknown": "?"}


class Finding(Protocol):
    """What a probe found out about one guarantee."""

    @property
    def name(self) -> str:
        """The guarantee."""

    @property
    def state(self) -> str:
        """Whether it holds: ok, missing or unknown."""

    @property
    def detail(self) -> str:
        """What was tried, or why it does not hold."""

    @property
    def fix(self) -> str:
        """What to do about it."""


@click.command(short_help="Try what this host can enforce.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> int:
    """Try what this host can really enforce, and say how to get what is missing.

    The exit status is 1 when something is missing. Most of it can only be tried as root.
    """
    findings: Sequence[Finding] = importlib.import_module("cbx_sandbox.box.probe").probe()
    if as_json:
        output.show_json({"findings": [describe(finding) for finding in findings]})
    else:
        output.show(render(findings))
    return int(any(finding.state == "missing" for finding in findings))


def describe(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain JSON values."""
    return {"name": finding.name, "state": finding.state, "detail": finding.detail, "fix": finding.fix}


def render(findings: Sequence[Finding]) -> str:
    """Lay findings out: a table, then the fixes, then a count."""
    parts = [
        output.table(
            ("GUARANTEE", "HERE", "HOW IT WAS FOUND OUT"),
            [(finding.name, MARKS.get(finding.state, finding.state), finding.detail) for finding in findings],
        )
    ]
    fixes = [(finding.name, finding.fix) for finding in findings if finding.state != "ok" and finding.fix]
    if fixes:
        parts += ["", "What to do:", output.pairs((f"  {name}", fix) for name, fix in fixes)]
    held = sum(finding.state == "ok" for finding in findings)
    return "\n".join([*parts, "", f"{held} of {len(findings)} hold on this host"])
