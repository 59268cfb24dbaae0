"""Places for checkpoints: directories on the root file system and on images of other ones."""

import contextlib

import pytest
from tests.root.checkpoint import harness


@pytest.fixture(scope="session")
def mounted():
    """Give mount points by kind of file system; each is made once, when it is first asked for."""
    with contextlib.ExitStack() as stack:
        made = {}

        def get(kind):
            if kind not in made:
                made[kind] = stack.enter_context(harness.image(kind))
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
