"""`doctor`: what this host can really enforce, found by trying it; needs no supervisor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cbx_sandbox.box import attacks, probe
from cbx_sandbox.box import finding as found
from cbx_sandbox.network import probe as network_probe
from cbx_supervisor import paths as places
from cbx_supervisor import rule_files
from cbx_supervisor.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKS = {found.OK: "ok", found.MISSING: "MISSING", found.UNKNOWN: "?"}


@click.command(short_help="Try what this host can enforce.")
@click.option("--attack", is_flag=True, help="Also attack every layer from within boxes, as root, harmlessly.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(attack: bool, as_json: bool) -> int:
    """Try what this host can really enforce, and say how to get what is missing.

    The exit status is 1 when something is missing, or an attack was not stopped. Most of it can only be tried as root.
    """
    directory = places.from_environment(os.environ, uid=os.getuid()).rules
    findings = [*probe.probe(), allowlist_finding(), rules_finding(directory, rule_files.read(directory))]
    results = probe.attack() if attack else []
    if as_json:
        told: dict[str, Any] = {"findings": [describe(finding) for finding in findings]}
        output.show_json(told | ({"attacks": [tried(result) for result in results]} if attack else {}))
    else:
        output.show("\n\n".join([render(findings), *([render_attacks(results)] if attack else [])]))
    broken = any(finding.state == found.MISSING for finding in findings)
    return int(broken or not all(result.held for result in results))


def tried(result: attacks.Result) -> dict[str, Any]:
    """Return what became of an attack as plain JSON values."""
    return {
        "layer": result.attack.layer,
        "attack": result.attack.name,
        "held": result.held,
        "answers": result.answers,
    }


def render_attacks(results: Sequence[attacks.Result]) -> str:
    """Lay attacks out: what each kind of box answered, then a count."""
    rows = [
        (
            result.attack.layer,
            result.attack.name,
            "held" if result.held else "NOT STOPPED",
            *(result.answers.get(kind, "") for kind in attacks.KINDS),
        )
        for result in results
    ]
    held = sum(result.held for result in results)
    headers = ("LAYER", "ATTACK", "HERE", *(kind.upper() for kind in attacks.KINDS))
    return f"{output.table(headers, rows)}\n\n{held} attacks stopped, {len(results) - held} not"


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
