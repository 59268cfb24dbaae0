"""What a commit makes of the live tree is what the command would have made of it."""

import contextlib
import os
import tempfile
import time
from unittest import mock

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.workloads import SETUP, WORKLOADS

from cbx_sandbox.checkpoint import homes, survey
from cbx_sandbox.checkpoint import session as session_module

pytestmark = pytest.mark.root


def compare(where, workload, *, redirect, outside=False, copied=False):
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory(dir=harness.SCRATCH)) if outside else None
        box = stack.enter_context(harness.box(where, redirect=redirect, state=state))
        if copied:
            stack.enter_context(mock.patch.object(homes, "claimed", return_value=None))
            # The clock of such a target is estimated two seconds early; nobody changes anything here.
            stack.enter_context(mock.patch.object(session_module, "_COARSE_NS", 0))
        box.shell(SETUP)
        native = f"{box.base}/native"
        harness.copy_bytes(box.live, native)
        start = time.time_ns() - 20_000_000
        before = harness.manifest(box.live)
        assert harness.manifest(native) == before, "the byte copy is one"
        session = box.run(WORKLOADS[workload])
        assert harness.manifest(box.live) == before, "nothing reaches the live tree before the commit"
        assert session.layers[0].same_filesystem is not copied
        changes = checkpoint.diff(session)
        result = checkpoint.commit(session, changes, allow_privileged=True)
        assert result.state in {checkpoint.State.COMMITTED, checkpoint.State.EMPTY}, result.conflicts
        if result.state is checkpoint.State.EMPTY:
            assert harness.manifest(box.live) == before
            return
        box.shell(WORKLOADS[workload], cwd=native)
        wanted, got = harness.manifest(native, times_since=start), harness.manifest(box.live, times_since=start)
        differing = {path: (wanted.get(path), got.get(path)) for path in wanted.keys() | got.keys()}
        assert {path: pair for path, pair in differing.items() if pair[0] != pair[1]} == {}, workload
        assert not os.path.exists(session.layers[0].root)
        assert not [name for name in os.listdir(box.live) if name.startswith(".cbx")]


@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "plain"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_root_file_system(workload, redirect):
    """On the root file system, with directory renames recorded and without."""
    compare(harness.SCRATCH, workload, redirect=redirect)


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "tmpfs"])
def test_other_file_systems(mounted, kind):
    """On other file systems, where layers live beside the target on its own mount."""
    where = mounted(kind)
    for workload in WORKLOADS:
        # No state directory on that mount: the layer goes to the mount's own .cbx.
        compare(where, workload, redirect=True, outside=True)
    assert os.listdir(f"{where}/.cbx/layers") == []


@pytest.mark.parametrize("workload", WORKLOADS)
def test_slots_in_directories(workload, monkeypatch):
    """As those of large commits are, here one in each."""
    monkeypatch.setattr(survey, "WIDTH", 1)
    compare(harness.SCRATCH, workload, redirect=False)


def test_copy_mode(mounted):
    """Where the target's mount cannot hold a layer: objects are copied to the target's file system, then renamed."""
    where = mounted("ext4")
    for workload in WORKLOADS:
        compare(where, workload, redirect=True, outside=True, copied=True)
