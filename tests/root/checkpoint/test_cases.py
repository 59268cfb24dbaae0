"""Known cases that no other test has: two jobs over one tree, full disks, parts of file systems."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State

from cbx_sandbox.checkpoint.undo import redo, undo
from cbx_sandbox.errors import CbxError

pytestmark = pytest.mark.root


def test_both_removed_the_same(box):
    """What the job removed and somebody else, too, is gone: no conflict, and nothing is left to do."""
    box.shell("echo a > a; mkdir d; echo x > d/x; ln -s a l")
    session = box.run("rm a l; rm -r d")
    box.shell("rm a l; rm -r d")
    assert checkpoint.commit(session).state is State.EMPTY
    assert os.listdir(box.live) == []


def test_both_made_the_same(box):
    """The same content twice is a conflict as any other, for owner and times may differ: theirs or ours decides."""
    box.shell("echo a > a")
    session = box.run("echo b > a; echo n > n")
    box.shell("echo b > a; echo n > n")
    result = checkpoint.commit(session)
    assert (result.state, {conflict.path for conflict in result.conflicts}) == (State.CONFLICT, {b"a", b"n"})


def test_jobs_that_share_no_path(box):
    """Begun at once over one tree, both land; the third, which changed what the first did, is a conflict."""
    box.shell("echo a > a; echo b > b")
    sessions = [box.run("echo 1 >> a; echo 1 > one"), box.run("echo 2 >> b; echo 2 > two"), box.run("echo 3 >> a")]
    assert [checkpoint.commit(session).state for session in sessions] == [
        State.COMMITTED, State.COMMITTED, State.CONFLICT,
    ]  # fmt: skip
    assert {name: Path(box.live, name).read_text() for name in os.listdir(box.live)} == {
        "a": "a\n1\n", "b": "b\n2\n", "one": "1\n", "two": "2\n",
    }  # fmt: skip
    checkpoint.discard(sessions[2])


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_an_undo_on_a_full_disk(mounted, kind):
    """What was replaced is there already: an undo needs no space but for its record, or is refused whole."""
    with harness.box(mounted(kind)) as box:
        box.shell("mkdir d; for i in $(seq 50); do echo $i > d/$i; done; head -c 4M /dev/urandom > large")
        before = harness.manifest(box.live)
        session = box.run("for i in $(seq 50); do echo n > d/$i; done; head -c 4M /dev/urandom > large; rm d/7")
        checkpoint.commit(session, keep=True)
        after = harness.manifest(box.live)
        ballast = f"{box.base}/ballast"
        with contextlib.suppress(OSError), open(ballast, "wb") as file:
            for size in (16 << 20, 1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"b" * size)
                        file.flush()
                        os.fsync(file.fileno())
        try:
            for turn, wanted, other in ((undo, before, after), (redo, after, before)):
                try:
                    turn(session)
                    assert harness.manifest(box.live) == wanted
                except (CbxError, OSError):
                    assert harness.manifest(box.live) == other
                    break
        finally:
            os.unlink(ballast)
        if harness.manifest(box.live) == after:
            undo(session)
        assert harness.manifest(box.live) == before


def test_a_subvolume_in_the_tree(mounted):
    """Nothing can be renamed into a part of btrfs from another: it is refused whole, and the layer stays."""
    with harness.box(mounted("btrfs")) as box:
        inner = f"{box.live}/inner"
        subprocess.run(["btrfs", "-q", "subvolume", "create", inner], check=True)
        try:
            box.shell("echo a > a; echo b > inner/b")
            before = harness.manifest(box.live)
            session = box.run("echo n > n; echo 1 >> a; echo 1 >> inner/b")
            with pytest.raises(CbxError):
                checkpoint.commit(session)
            assert harness.manifest(box.live) == before
            assert harness.listed(session) == [("M", b"a"), ("A", b"n"), ("M", b"inner/b")]
            checkpoint.discard(session)
        finally:
            subprocess.run(["btrfs", "-q", "subvolume", "delete", inner], check=True)
