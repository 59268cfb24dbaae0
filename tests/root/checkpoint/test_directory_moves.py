"""Programs that rename directories: in a SEQUENTIAL job they can, and it stays a rename down to the live tree."""

import os

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import Kind, State

pytestmark = pytest.mark.root

SETUP = """
mkdir -p src/deep; for i in $(seq 50); do echo $i > src/$i; echo $i > src/deep/$i; done
git init -q; git add src; git -c user.name=a -c user.email=a@example.org commit -qm one
"""
PROGRAMS = {
    "git": "git mv src lib",
    "python": "python3 -c \"import os; os.rename('src', 'lib')\"",
    "shell": "mv src lib",
    "perl": 'perl -e \'rename("src", "lib") or die\'',
    "into another": "mkdir to; mv src to/; mv to/src lib; rmdir to",
}


def entries(path):
    return sum(len(directories) + len(files) for _, directories, files in os.walk(path))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_rename_stays_one(program):
    """The layer has a few entries whatever is in the directory, the diff says so, and the very directory moves."""
    with harness.box(harness.SCRATCH, redirect=True) as box:
        box.shell(SETUP)
        inode = os.stat(f"{box.live}/src").st_ino
        session = box.begin()
        assert box.inside(PROGRAMS[program]) == 0
        changes = checkpoint.diff(session)
        assert [(c.path, c.source) for c in changes if c.kind is Kind.RENAMED] == [(b"lib", b"src")]
        assert not os.listdir(f"{session.layers[0].upper}/lib")
        assert checkpoint.commit(session).state is State.COMMITTED
        assert os.stat(f"{box.live}/lib").st_ino == inode
        assert entries(f"{box.live}/lib") == 101


@pytest.mark.parametrize("program", ["git", "python", "perl"])
def test_the_control_without_redirects_they_fail(program):
    """rename(2) of a directory that was not made in the job is EXDEV then; mv copies all of it instead."""
    with harness.box(harness.SCRATCH, redirect=False) as box:
        box.shell(SETUP)
        box.begin()
        assert box.inside(f"{PROGRAMS[program]} 2>/dev/null") != 0


def test_the_control_mv_copies_without_redirects():
    """Every file of the directory is in the layer."""
    with harness.box(harness.SCRATCH, redirect=False) as box:
        box.shell(SETUP)
        session = box.run(PROGRAMS["shell"])
        assert entries(f"{session.layers[0].upper}/lib") == 101
