"""A launcher for each module, in a mount namespace that neither other tests nor other programs change."""

import os
from collections.abc import Iterator

import pytest
from tests.root.box.harness import Harness, launcher
from tests.vm.places import thin_out

from cbx_sandbox.linux import mountinfo, mounts, namespaces

MS_SHARED, MS_PRIVATE = 1 << 20, mounts.MS_PRIVATE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the guest one set of parameters of each test and one with shifted ids; tests of the guest alone stay whole."""
    here = os.path.dirname(__file__)
    shifted = ("shifted", "DANGEROUS", "guest-dangerous")
    both = [item for item in items if item.get_closest_marker("root")]
    kept = list(both)
    thin_out(config, kept, here, lambda name: any(word in name for word in shifted))
    items[:] = [item for item in items if item in kept or item not in both]


@pytest.fixture(scope="module", autouse=True)
def own_mounts() -> Iterator[None]:
    """What a test mounts is seen by this process alone. Shared within, as the root of most hosts is."""
    if os.geteuid() != 0:
        yield
        return
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.getcwd()
    namespaces.unshare(namespaces.CLONE_NEWNS)
    try:
        mounts.mount_setattr(mounts.AT_FDCWD, "/", propagation=MS_PRIVATE, recursive=True)
        # What other tests have mounted meanwhile would come and go, inside too.
        for mount in reversed(mountinfo.read()):
            if mount.target.startswith(("/tmp/", "/var/tmp/")):
                mounts.umount(mount.target, mounts.MNT_DETACH)
        mounts.mount_setattr(mounts.AT_FDCWD, "/", propagation=MS_SHARED, recursive=True)
        yield
    finally:
        namespaces.setns(before, namespaces.CLONE_NEWNS)
        os.close(before)
        os.chdir(directory)


@pytest.fixture(scope="module")
def box(own_mounts: None) -> Iterator[Harness]:
    """A launcher and a place for sacrifices."""
    with launcher() as harness:
        yield harness
