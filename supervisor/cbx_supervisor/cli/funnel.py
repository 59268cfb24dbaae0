"""The one funnel for what goes wrong in a verb: one message and an exit status, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cbx_sandbox.errors import CbxError
from cbx_supervisor.cli import output
from cbx_supervisor.client.failure import ClientError, internal
from cbx_supervisor.client.report import complain

if TYPE_CHECKING:
    from collections.abc import Callable


def status_of(action: Callable[[], object]) -> int:
    """Run a verb and return its exit status."""
    _have_streams()
    try:
        status = action()
        output.flush()
    except ClientError as why:
        return fail(why)
    except CbxError as why:
        brief = "\n".join(part for part in (why.brief, why.details) if part)
        return fail(ClientError(brief, hint=why.hint, status=why.exit_status))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except Exception as why:  # noqa: BLE001 - whatever it is, a traceback would help nobody who reads it here
        return fail(internal(why))
    return status if isinstance(status, int) else 0


def _have_streams() -> None:
    """Open in place of each stream that the caller has closed what answers as a closed one does.

    Python has None there, and what is opened next would take its number.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")  # EBADF for who writes
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _drop_output() -> None:
    """Have nothing to write at the end: the interpreter would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def fail(why: ClientError) -> int:
    """Say what went wrong and return the exit status for it."""
    try:
        output.flush()
    except (ClientError, BrokenPipeError):
        _drop_output()
    complain(why)
    return why.status
