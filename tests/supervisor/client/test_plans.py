"""What a plan says to people."""

from cbx_sandbox import runner
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.policy import Identity
from cbx_supervisor.client import plans


def told(line, **options):
    """The plan of a line of root's, as it is shown."""
    request = runner.Request(
        identity=Identity(0, 0, (0,), "root", "/root"),
        cwd="/",
        environment={"PATH": "/usr/bin:/bin"},
        line=line,
        options=runner.Options(**options),
        submitter_is_root=True,
    )
    return plans.summary(
        runner.plan(request, StaticFacts(), runner.Defaults(), runner.HostReport(landlock=1)).describe()
    )


def test_what_may_be_changed_of_the_host_is_said():
    """Where that was asked for; a plan without that has no such line (the control)."""
    shown = told("kill 1234", host_effects=frozenset({"process", "service"}))
    assert "  the host   may be changed (process, service)\n" in shown
    assert "the host  " not in told("ls")
