"""Which tests run where, told by their marks. Loaded by the host's pytest and by the guest's.

root          on this host
vm            in the guest
root and vm   in both: two items, [host] and [guest]
vm, with the fixture `make_guest`   on this host, and drives guests of its own
"""

import os
from collections.abc import Callable

import pytest

IN_GUEST = os.environ.get("CBX_IN_GUEST") == "1"
HOW = "runs in the guest: make test-vm, or pytest --vm"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cbx", "where tests run")
    group.addoption(
        "--vm",
        action="store_true",
        default=os.environ.get("CBX_VM") == "1",
        help="run the tests marked `vm` in the guest (default: CBX_VM=1)",
    )
    group.addoption("--place", choices=["host", "guest"], help="leave out what needs the guest, or what does not")


@pytest.fixture
def cbx_place(request: pytest.FixtureRequest) -> str:
    """Where this item of a test that is both `root` and `vm` runs: "host" or "guest"."""
    return str(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if {"root", "vm"} <= marks and "make_guest" not in metafunc.fixturenames:
        if "cbx_place" not in metafunc.fixturenames:
            metafunc.fixturenames.append("cbx_place")
        metafunc.parametrize("cbx_place", ["host", "guest"], indirect=True)


def needs_vm(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    on_host = callspec is not None and callspec.params.get("cbx_place") == "host"
    return item.get_closest_marker("vm") is not None and not on_host


def thin_out(config: pytest.Config, items: list[pytest.Item], folder: str, group: Callable[[str], object]) -> None:
    """In the guest, where everything takes forty times as long: of each test in ``folder`` one item of each group."""
    if IN_GUEST:
        return  # the host says what runs here
    seen: set[tuple[str, object]] = set()
    unwanted = []
    for item in items:
        if str(item.path).startswith(folder) and needs_vm(item):
            key = (f"{item.path}::{getattr(item, 'originalname', item.name)}", group(item.name))
            if key in seen:
                unwanted.append(item)
            seen.add(key)
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in unwanted]


def runs_in_guest(item: pytest.Item) -> bool:
    return needs_vm(item) and "make_guest" not in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if IN_GUEST:
        return  # the host says what runs here
    if place := config.getoption("--place"):
        unwanted = [item for item in items if needs_vm(item) != (place == "guest")]
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if item not in unwanted]
    for item in items:
        if needs_vm(item):
            if not config.getoption("--vm"):
                item.add_marker(pytest.mark.skip(reason=HOW))
        elif item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test-root"))
