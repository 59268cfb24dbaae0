"""What is done before a commit asks for its locks: large contents are copied to where a rename can take them from."""

import contextlib
import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from tests.root.checkpoint import checkpoint, harness

from cbx_sandbox.checkpoint import homes
from cbx_sandbox.checkpoint import session as session_module
from cbx_sandbox.checkpoint.ahead import LARGE, prepare
from cbx_sandbox.checkpoint.diff import diff

pytestmark = pytest.mark.root

JOB = f"head -c {3 * LARGE} /dev/urandom > large; mkdir d; head -c {2 * LARGE} /dev/urandom > d/inner; echo s > small"


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def apart(mounted, request, monkeypatch):
    """A box whose layers lie on another file system than its directory."""
    monkeypatch.setattr(session_module, "_COARSE_NS", 0)  # nobody else changes anything here
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory(dir=harness.SCRATCH))
        stack.enter_context(mock.patch.object(homes, "claimed", return_value=None))
        yield stack.enter_context(harness.box(mounted(request.param), state=state))


def test_large_files_are_copied_without_a_name(apart):
    """Nothing of it is seen in the live tree, no time of it moves; the commit gives a name to the very copies."""
    apart.shell("echo old > large")
    session = apart.run(JOB)
    before = harness.manifest(apart.live)
    wanted = {name: Path(session.layers[0].upper, name).read_bytes() for name in ("large", "d/inner")}
    changes = diff(session)
    with prepare(session, changes) as ahead:
        assert harness.manifest(apart.live) == before
        copies = {os.fstat(fd).st_ino for fd in ahead.copies[0].values()}
        assert len(copies) == 2
        checkpoint.commit(session, changes, copies=ahead.copies)
    assert {os.stat(f"{apart.live}/{name}").st_ino for name in wanted} == copies
    assert {name: Path(apart.live, name).read_bytes() for name in wanted} == wanted
    assert (os.stat(f"{apart.live}/large").st_mode & 0o7777, os.stat(f"{apart.live}/large").st_nlink) == (0o644, 1)
    assert sorted(os.listdir(apart.live)) == ["d", "large", "small"]


def test_a_copy_of_what_is_no_longer_in_the_layer_is_not_taken(apart):
    """What became another file in the layer, as a merged one does, is copied as it is now."""
    session = apart.run(JOB)
    with prepare(session, diff(session)) as ahead:
        upper = Path(session.layers[0].upper)
        (upper / "merged").write_bytes(b"m" * LARGE)
        os.rename(upper / "merged", upper / "large")
        checkpoint.commit(session, diff(session), copies=ahead.copies)
    assert Path(apart.live, "large").read_bytes() == b"m" * LARGE


def test_copies_that_nobody_takes_go(apart):
    """Without a commit nothing is left of them, not even the space."""
    apart.shell(": > file")
    session = apart.run(JOB)
    with prepare(session, diff(session)) as ahead:
        (fds,) = [list(copies.values()) for copies in ahead.copies.values()]
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)
    assert os.listdir(apart.live) == ["file"]


def test_where_there_is_no_room_the_commit_says_so(apart):
    """A copy that does not fit is none: nothing is raised before the commit, which refuses and leaves the layers."""
    session = apart.run(f"head -c {24 * LARGE} /dev/urandom > large")
    changes = diff(session)
    with open(f"{apart.base}/ballast", "wb") as ballast:
        with contextlib.suppress(OSError):
            for place in range(1000):
                os.posix_fallocate(ballast.fileno(), place * 4 * LARGE, 4 * LARGE)
        os.truncate(ballast.fileno(), os.fstat(ballast.fileno()).st_size - 12 * LARGE)
    with prepare(session, changes) as ahead:
        assert not ahead.copies
    with pytest.raises(OSError, match="No space"):
        checkpoint.commit(session, changes, copies=ahead.copies)
    assert os.listdir(apart.live) == []
    assert harness.listed(session) == [("A", b"large")]
