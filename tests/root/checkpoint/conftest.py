"""Places for checkpoints: directories on the root file system and on images of other ones."""

import contextlib
import os
import time

import pytest
from tests.root.checkpoint import harness

from cbx_sandbox.linux import mounts, namespaces


@pytest.fixture(scope="module", autouse=True)
def own_mounts():
    """What is mounted here is seen by this process alone: other supervisors on this host would overlay it."""
    if os.geteuid() != 0:
        yield
        return
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.getcwd()
    namespaces.unshare(namespaces.CLONE_NEWNS)
    try:
        mounts.mount_setattr(mounts.AT_FDCWD, "/", propagation=mounts.MS_PRIVATE, recursive=True)
        yield
    finally:
        go_back(before)
        os.close(before)
        os.chdir(directory)


def go_back(namespace):
    """Join the mount namespace again; refused as long as a thread that a test has joined is still on its way out."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            return namespaces.setns(namespace, namespaces.CLONE_NEWNS)
        time.sleep(0.01)
    return namespaces.setns(namespace, namespaces.CLONE_NEWNS)


@pytest.fixture(scope="module")
def mounted(own_mounts):
    """Give mount points by kind of file system; each is made once, when it is first asked for."""
    with images(harness.SCRATCH) as get:
        yield get


@contextlib.contextmanager
def images(where):
    """A function that gives mount points by kind; their images are files in ``where``."""
    with contextlib.ExitStack() as stack:
        made = {}

        def get(kind):
            if kind not in made:
                made[kind] = stack.enter_context(harness.image(kind, where))
            return made[kind]

        yield get


@pytest.fixture
def box():
    """A box on the root file system, as root."""
    with harness.box(harness.SCRATCH) as made:
        yield made


@pytest.fixture
def user_box():
    """A box of a user without rights."""
    with harness.box(harness.SCRATCH, who=harness.USER) as made:
        yield made
