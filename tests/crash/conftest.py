"""Places to crash in: the fixtures of the checkpoint's own tests."""

import pytest
from tests.crash import faults
from tests.root.checkpoint.conftest import images, own_mounts

__all__ = ["mounted", "own_mounts"]


@pytest.fixture(scope="module")
def mounted(own_mounts):
    """Mount points by kind of file system, whose disks are in memory: they are waited for at each of many syncs."""
    with images(faults.MEMORY) as get:
        yield get
