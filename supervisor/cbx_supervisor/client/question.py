"""The one question that `run` asks: whether what a check has found is meant."""

import _signal  # type: ignore[import-not-found]  # typeshed has no stub; `signal` itself builds enums for 5 ms
import posix

from cbx_supervisor.client.report import write

QUESTION = "Run it all the same? [y/N] "


def agrees() -> bool:
    """Ask on the terminal; anything but yes is no, and an interrupt ends the client."""
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    write(2, QUESTION)
    answer = posix.read(0, 100)
    if not answer.endswith(b"\n"):
        write(2, "\n")
    return answer.strip().lower() in {b"y", b"yes"}
