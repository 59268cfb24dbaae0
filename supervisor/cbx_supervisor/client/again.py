"""What a client does whose supervisor went away: it finds the next one and asks for the same job.

The job has not noticed: it holds the caller's descriptors itself, and its lease is this process.
"""

import contextlib
import select
import time

from cbx_supervisor.client.connection import Connection, open_socket, runtime_directory
from cbx_supervisor.client.failure import ClientError
from cbx_supervisor.client.session import GONE, LATER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

PATIENCE = 30.0  # s; a supervisor keeps the place of a job that needs its client for as long
BETWEEN_MS = 100


def reconnect(signals: int, ask: "Callable[[Connection], None]") -> Connection:
    """Return a connection on which ``ask`` has asked again. A signal (``signals`` is readable) ends the search."""
    runtime = runtime_directory()
    end = time.monotonic() + PATIENCE
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    why: ClientError | None = None
    while not poll.poll(BETWEEN_MS) and time.monotonic() < end:
        try:
            connection = Connection(_open(runtime))
        except ClientError as failed:
            why = failed
            continue
        except OSError:  # it went away, too
            continue
        with contextlib.suppress(OSError):  # it hung up before it had read everything: that is read next
            ask(connection)
        return connection
    raise ClientError(GONE, hint=(why.hint if why is not None else None) or LATER)


def _open(runtime: bytes) -> "_socket.socket":
    try:
        return open_socket(runtime + b"/exec.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        from cbx_supervisor.client.starter import start_supervisor

        start_supervisor(runtime)
        return open_socket(runtime + b"/exec.sock")
