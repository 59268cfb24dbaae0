"""Where things are, and that the client spells them the same."""

from __future__ import annotations

import pytest

from cbx_sandbox.errors import CbxError
from cbx_supervisor import paths
from cbx_supervisor.client import connection, starter


def test_the_client_means_the_same_places():
    """It cannot import this module on its hot path."""
    usual = paths.Paths()
    assert (connection.RUNTIME.decode(), starter.STATE.decode()) == (usual.runtime, usual.state)


def test_a_moved_runtime_directory_is_a_lock_domain_of_its_own():
    """Own lock, own cgroups."""
    moved = paths.from_environment({"CBX_RUNTIME_DIR": "/tmp/x"}, uid=0)
    assert (moved.lock, moved.exec_socket) == ("/tmp/x/lock", "/tmp/x/exec.sock")
    assert moved.cgroup.startswith("cbx-")
    assert len(moved.cgroup) == 12
    assert paths.from_environment({}, uid=1000).lock == "/run/cbx.lock"


@pytest.mark.parametrize(
    ("path", "uid"), [("/tmp/x", 1000), ("relative", 0), ("/tmp/../etc", 0), ("/", 0), ("/tmp/x/", 0)]
)
def test_only_root_moves_them_and_only_to_plain_paths(path, uid):
    """Everybody else would have a supervisor of their own making."""
    with pytest.raises(CbxError):
        paths.from_environment({"CBX_RUNTIME_DIR": path}, uid=uid)
