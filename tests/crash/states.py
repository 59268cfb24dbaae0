"""How many states the crash tests have looked at: said at the end of a run, in one line, and held against a number.

Tests may run in several processes; each report brings the states of its test to the one that counts.
"""

import collections
import os

import pytest

NAME = "crash states"
WHOLE = {"old", "new"}
# So many a run must have seen, or it fails: make crash says how many.
WANTED = int(os.environ.get("CBX_CRASH_STATES", "0"))

_told: list[str] = []
_seen: collections.Counter[str] = collections.Counter()
_torn: collections.Counter[str] = collections.Counter()


def told(found) -> None:
    """Count states by what became of each; those of controls are none."""
    _told.extend(found)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and _told:
        torn = sum(found not in WHOLE for found in _told)
        report.user_properties.append((NAME, f"{len(_told)} {torn}"))
        _told.clear()
    return report


def pytest_runtest_logreport(report) -> None:
    for name, value in report.user_properties if report.when == "call" else ():
        if name == NAME:
            test = report.nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")
            seen, torn = map(int, value.split())
            _seen[test] += seen
            _torn[test] += torn


def _gathers(config) -> bool:
    return not hasattr(config, "workerinput")


def pytest_sessionfinish(session) -> None:
    if _gathers(session.config) and _seen.total() < WANTED and not session.config.option.collectonly:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter) -> None:
    if _seen or WANTED:
        kinds = ", ".join(f"{test} {count}" for test, count in _seen.most_common())
        fewer = f", fewer than the {WANTED:,} wanted" if _seen.total() < WANTED else ""
        terminalreporter.write_line(
            f"crash: {_seen.total():,} states, {_torn.total()} not whole{fewer}" + (f" ({kinds})" if kinds else "")
        )
