"""How findings look; the probes themselves are tried elsewhere."""

from cbx_sandbox.box.finding import MISSING, OK, UNKNOWN, Finding
from cbx_supervisor.cli.commands import doctor


def test_what_is_missing_comes_with_its_fix():
    """A table, the fixes, a count."""
    findings = [
        Finding("a", OK, "tried"),
        Finding("long-name", MISSING, "why \x1b", "do this"),
        Finding("c", UNKNOWN, "no"),
    ]
    assert doctor.render(findings).splitlines() == [
        "GUARANTEE  HERE     HOW IT WAS FOUND OUT",
        "a          ok       tried",
        r"long-name  MISSING  why \x1b",
        "c          ?        no",
        "",
        "What to do:",
        "  long-name  do this",
        "",
        "1 hold here, 1 missing, 1 not tried",
    ]
    assert doctor.describe(findings[1])["fix"] == "do this"
