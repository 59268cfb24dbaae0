"""The disk fails at the atomic point of a commit: nobody knows whether its record lasts, and that is said."""

import errno
import os
import time

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State
from tests.root.checkpoint.workloads import SETUP

from cbx_sandbox.checkpoint import journal, recover
from cbx_sandbox.errors import CbxError

pytestmark = pytest.mark.root

JOB = "echo new > f; mkdir made; echo in > made/it; rm -r a"


def failing(*_arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("kept", [True, False], ids=["the-record-lasts", "the-record-is-lost"])
def test_it_is_said_and_decided_at_the_next_start(box, monkeypatch, kept):
    """Nothing is changed until then; then all of it, if the record is there, or nothing, and the layers have it all."""
    box.shell(SETUP)
    native = f"{box.base}/native"
    harness.copy_bytes(box.live, native)
    start = time.time_ns() - 20_000_000
    session = box.run(JOB)
    before = harness.manifest(box.live)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_sync_directory", failing)
        patch.setattr(journal, "remove", failing)
        with pytest.raises(journal.InDoubtError, match="in doubt"):
            checkpoint.commit(session)
    assert harness.manifest(box.live) == before
    with pytest.raises(CbxError):  # it is not begun again while the first one is undecided
        checkpoint.commit(session)
    assert harness.manifest(box.live) == before
    if kept:
        assert recover.recover(session) is recover.Recovered.COMMITTED
        box.shell(JOB, cwd=native)
        assert harness.manifest(box.live, times_since=start) == harness.manifest(native, times_since=start)
    else:
        os.unlink(f"{next(d for d in recover.directories(session) if journal.read(d))}/{journal.NAME}")
        assert recover.recover(session) is recover.Recovered.UNTOUCHED
        assert harness.manifest(box.live) == before
        assert checkpoint.commit(session).state is State.COMMITTED


def test_a_record_that_is_known_to_be_gone_is_no_doubt(box, monkeypatch):
    """The control: where the failed record could be removed, the commit has failed, and can be made again."""
    box.shell(SETUP)
    session = box.run(JOB)
    before = harness.manifest(box.live)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_sync_directory", failing)
        patch.setattr(journal, "remove", lambda directory: os.unlink(f"{directory}/{journal.NAME}"))
        with pytest.raises(OSError, match="Input/output error"):
            checkpoint.commit(session)
    assert harness.manifest(box.live) == before
    assert checkpoint.commit(session).state is State.COMMITTED
