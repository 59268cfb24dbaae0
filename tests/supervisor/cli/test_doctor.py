"""How findings look; the probes themselves are tried elsewhere."""

from cbx_sandbox.box.attacks import Attack, Result
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


def test_an_attack_that_was_not_stopped_stands_out():
    """As one that gave no answer does; an answer that the kernel gives to everybody is no stop either."""
    attack = Attack("seccomp", "x", "pass", ("safe", "dangerous"), ("done", "EBADF"))
    results = [Result(attack, {"safe": said, "dangerous": "EPERM"}) for said in ("EPERM", "done", "EBADF", "?")]
    assert [result.held for result in results] == [True, False, False, False]
    lines = doctor.render_attacks(results[:2]).splitlines()
    assert lines == [
        "LAYER    ATTACK  HERE         SAFE   SEQUENTIAL  DANGEROUS",
        "seccomp  x       held         EPERM  -           EPERM",
        "seccomp  x       NOT STOPPED  done   -           EPERM",
        "",
        "1 attacks stopped, 1 not",
    ]
