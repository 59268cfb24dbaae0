"""The host's pytest: items that belong in the guest are run there, and reported under their own names here.

They do so in one pytest with one guest, so not under pytest-xdist, whose workers would each start their own and do not
know beforehand what they will be given to run.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.vm import image
from tests.vm.guest import Guest
from tests.vm.machine import Machine
from tests.vm.places import IN_GUEST, needs_vm, runs_in_guest
from tests.vm.remote import RemoteFailure, RemoteRun

REMOTE = pytest.StashKey[RemoteRun]()


@pytest.fixture
def make_guest(request: pytest.FixtureRequest) -> Iterator[Callable[..., Guest]]:
    """Make guests that the test starts and drives from the host: restored ones, or cold ones with `machine=`."""
    guests: list[Guest] = []

    def make(machine: Machine | None = None) -> Guest:
        guest = Guest(image.ensure(), machine=machine) if machine else image.restored()
        guests.append(guest)
        return guest

    yield make
    for guest in guests:
        guest.close()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--vm") and config.getoption("--place") != "host" and getattr(config.option, "tx", None):
        raise pytest.UsageError("one pytest drives one guest: leave out -n, or the guest's tests with --place=host")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _drives_guest(config):
        for item in items:
            if runs_in_guest(item):
                # The guest watches over the test's time; the first one here also waits for the guest.
                item.add_marker(pytest.mark.timeout(0), append=False)


def _drives_guest(config: pytest.Config) -> bool:
    return bool(config.getoption("--vm")) and not IN_GUEST


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the guest needs before any test runs: a host that cannot is an error, not a skip."""
    wanted = _drives_guest(session.config) and not session.config.option.collectonly
    if wanted and any(needs_vm(item) for item in session.items):
        try:
            image.ensure_saved()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why
            pytest.exit(
                f"--vm was asked for, and there is no guest: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR
            )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Replace set-up, call and tear-down by the reports of the guest's."""
    if not (_drives_guest(item.config) and runs_in_guest(item)):
        return None
    remote = item.config.stash.setdefault(REMOTE, RemoteRun(Path(item.config.rootpath)))
    items = item.session.items
    following = [other.nodeid for other in items[items.index(item) + 1 :] if runs_in_guest(other)]
    hooks = item.ihook
    hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    began = time.time()
    try:
        for data in remote.run(item.nodeid, following):
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            report.location = item.location
            if isinstance(report.longrepr, list):  # a skip's place and reason: JSON knows no tuples
                report.longrepr = tuple(report.longrepr)
            hooks.pytest_runtest_logreport(report=report)
    except RemoteFailure as failure:
        hooks.pytest_runtest_logreport(report=_failed(item, str(failure), began))
    hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What earlier items on this host had set up is not wanted by this one, and is torn down as after any other.
    item.session._setupstate.teardown_exact(nextitem)
    return True


def _failed(item: pytest.Item, text: str, began: float) -> pytest.TestReport:
    now = time.time()
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=text,
        when="call",
        duration=now - began,
        start=began,
        stop=now,
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    if remote := config.stash.get(REMOTE, None):
        remote.close()
