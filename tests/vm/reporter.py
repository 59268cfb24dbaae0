"""The guest's side of a test run: runs the items that the host names, in its order, and reports each to the host.

`pytest -p tests.vm.reporter` in the guest. What it says goes out by the agent's channel, a JSON object a line.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

# A test's time-out is for a hang, so it grows with the guest's slowness, but not past what a CI run can wait for.
# A test that asks for more itself has that: a campaign, which no CI run has.
TIME_SCALE = float(os.environ.get("CBX_TIME_SCALE", "1"))
LONGEST = 1200.0


class Reporter:
    def __init__(self, config: pytest.Config, channel: int) -> None:
        os.set_inheritable(channel, False)  # a daemon that a test leaves behind must not hold it open
        self.config = config
        self.stream = os.fdopen(channel, "w", encoding="utf-8")
        self.wanted: list[str] = json.loads(Path(os.environ["CBX_GUEST_ITEMS"]).read_text())

    def say(self, **message: Any) -> None:
        self.stream.write(json.dumps(message, default=repr) + "\n")
        self.stream.flush()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        order = {nodeid: index for index, nodeid in enumerate(self.wanted)}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in order])
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
        for item in items:
            item.add_marker(pytest.mark.timeout(_scaled(_timeout(item))), append=False)
        self.say(missing=sorted(order.keys() - {item.nodeid for item in items}))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say(collection_error=f"{report.nodeid}\n{report.longreprtext}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.say(report=self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.say(finished=nodeid)


def _scaled(seconds: float) -> float:
    return max(seconds, min(seconds * TIME_SCALE, LONGEST))


def _timeout(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    if mark is None:
        return float(item.config.getini("timeout") or LONGEST)
    return float(mark.args[0] if mark.args else mark.kwargs.get("timeout", LONGEST)) or LONGEST


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config, int(os.environ["CBX_AGENT_CHANNEL"])), "cbx-reporter")
