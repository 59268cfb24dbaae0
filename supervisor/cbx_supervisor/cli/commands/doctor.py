"""`doctor`: what this host can really enforce, found by trying it; needs no supervisor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cbx_sandbox.box import finding as found
from cbx_sandbox.box import probe
from cbx_sandbox.network import probe as network_probe
from cbx_supervisor import paths as places
from cbx_supervisor import rule_files
from cbx_supervisor.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKS = {found.OK: "ok", found.MISSING: "MISSING", found.UNKNOWN: "?"}


@click.command(short_help="Try what this host can enforce.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> int:
    """Try what this host can really enforce, and say how to get what is missing.

    The exit status is 1 when something is missing. Most of it can only be tried as root.
    """
    directory = places.from_environment(os.environ, uid=os.getuid()).rules
    findings = [*probe.probe(), allowlist_finding(), rules_finding(directory, rule_files.read(directory))]
    if as_json:
        output.show_json({"findings": [describe(finding) for finding in findings]})
    else:
        output.show(render(findings))
    return int(any(finding.state == found.MISSING for finding in findings))


def allowlist_finding() -> found.Finding:
    """Say whether jobs can have an allowlist here."""
    name = "network-allowlist"
    if os.geteuid() != 0:
        return found.Finding(name, found.UNKNOWN, "only root can try it", "run `sudo cbx-sandbox doctor`")
    why, fix = network_probe.probe()
    if why is not None:
        return found.Finding(name, found.MISSING, why, fix)
    return found.Finding(name, found.OK, "in a namespace of its own, one address was led to a relay, one refused")


def rules_finding(directory: str, loaded: rule_files.Loaded) -> found.Finding:
    """Say whether the administrator's rules can be used."""
    if loaded.problems:
        text = "; ".join(str(problem) for problem in loaded.problems[:3])
        return found.Finding(
            "rule-files",
            found.MISSING,
            f"not used: {text}",
            f"`cbx-sandbox rules check` names each mistake in {directory}",
        )
    count = len(loaded.files)
    return found.Finding("rule-files", found.OK, f"read {count} in {directory}" if count else f"none in {directory}")


def describe(finding: found.Finding) -> dict[str, Any]:
    """Return a finding as plain JSON values."""
    return {"name": finding.name, "state": finding.state, "detail": finding.detail, "fix": finding.fix}


def render(findings: Sequence[found.Finding]) -> str:
    """Lay findings out: a table, then the fixes, then a count."""
    parts = [
        output.table(
            ("GUARANTEE", "HERE", "HOW IT WAS FOUND OUT"),
            [(finding.name, MARKS.get(finding.state, finding.state), finding.detail) for finding in findings],
        )
    ]
    fixes = [(finding.name, finding.fix) for finding in findings if finding.state != found.OK and finding.fix]
    if fixes:
        parts += ["", "What to do:", output.pairs((f"  {name}", fix) for name, fix in fixes)]
    counts = [sum(finding.state == state for finding in findings) for state in (found.OK, found.MISSING, found.UNKNOWN)]
    words = (f"{counts[0]} hold here", f"{counts[1]} missing", f"{counts[2]} not tried")
    return "\n".join([*parts, "", ", ".join(word for word, count in zip(words, counts, strict=True) if count)])
