"""The client spells the supervisor's paths itself, to start fast; both must mean the same."""

from cbx_supervisor import paths
from cbx_supervisor.client import connection, starter


def test_client_and_daemon_mean_the_same_places():
    """The usual directories, the socket's name, the log, and which variables move them."""
    usual = paths.Paths()
    assert connection.RUNTIME.decode() == usual.runtime
    assert usual.exec_socket == usual.runtime + "/exec.sock"
    assert usual.http_socket == usual.runtime + "/cbx.sock"
    assert starter.STATE.decode() + "/logs/supervisor.log" == usual.log_file
    moved = paths.from_environment({name.decode(): "/x/" + name.decode() for name in connection.MOVABLE}, uid=0)
    assert (moved.runtime, moved.state, moved.config) == ("/x/CBX_RUNTIME_DIR", "/x/CBX_STATE_DIR", "/x/CBX_CONFIG_DIR")
