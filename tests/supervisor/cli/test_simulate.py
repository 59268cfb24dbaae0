"""`simulate` that somebody stops."""

from __future__ import annotations

import itertools
import json

from click.testing import CliRunner

from cbx_supervisor.cli.commands import simulate
from cbx_supervisor.scheduling.simulation import host


def test_who_stops_it_is_told_what_there_is(monkeypatch):
    """Two hosts' days are whole when the third is broken off: they count for each strategy, the third for none."""
    calls, whole = itertools.count(1), host.run

    def run(*arguments):
        if next(calls) == 6:  # the second strategy of the third host
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(host, "run", run)
    chosen = ["--strategy", "shortest-first", "--strategy", "critical-path"]
    done = CliRunner().invoke(simulate.command, ["--synthetic", "--jobs", "100", "--hosts", "10", "--json", *chosen])
    assert done.exit_code == 130
    told = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    assert [strategy["waits"]["count"] for strategy in told] == [20, 20]
    assert "the first 2 hosts" in done.output
