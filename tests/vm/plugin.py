"""The host's pytest: items that belong in the guest are run there, and reported under their own names here.

With pytest-xdist all of them go to one worker, which alone starts a guest.
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

NODEID = pytest.StashKey[str]()
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


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let xdist keep the guest's items together; it only does so in this mode."""
    if config.getoption("--vm") and getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if IN_GUEST or not config.getoption("--vm"):
        return
    for item in items:
        if runs_in_guest(item):
            item.stash[NODEID] = item.nodeid  # as the guest knows it: xdist appends the group to the host's
            item.add_marker(pytest.mark.xdist_group("guest"))
            # The guest watches over the test's time; the first one here also waits for the guest.
            item.add_marker(pytest.mark.timeout(0), append=False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the guest needs before any test runs: a host that cannot is an error, not a skip."""
    config = session.config
    if IN_GUEST or config.option.collectonly or not config.getoption("--vm"):
        return
    if any(needs_vm(item) for item in session.items):
        try:
            image.ensure_saved()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why
            pytest.exit(
                f"--vm was asked for, and there is no guest: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR
            )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Replace set-up, call and tear-down by the reports of the guest's."""
    nodeid = item.stash.get(NODEID, None)
    if nodeid is None:
        return None
    remote = item.config.stash.setdefault(REMOTE, RemoteRun(Path(item.config.rootpath)))
    items = item.session.items
    following = [other.stash[NODEID] for other in items[items.index(item) + 1 :] if NODEID in other.stash]
    hooks = item.ihook
    hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    began = time.time()
    try:
        for data in remote.run(nodeid, following):
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            report.nodeid = item.nodeid
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
