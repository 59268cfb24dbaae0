"""The one funnel for what goes wrong in a verb: one message and an exit status, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cbx_sandbox.errors import CbxError
from cbx_supervisor.client.failure import ClientError, internal
from cbx_supervisor.client.report import complain

if TYPE_CHECKING:
    from collections.abc import Callable


def status_of(action: Callable[[], object]) -> int:
    """Run a verb and return its exit status."""
    try:
        status = action()
        sys.stdout.flush()
    except ClientError as why:
        return fail(why)
    except CbxError as why:
        brief = "\n".join(part for part in (why.brief, why.details) if part)
        return fail(ClientError(brief, hint=why.hint, status=why.exit_status))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it flushes at its end
        return 141
    except Exception as why:  # noqa: BLE001 - whatever it is, a traceback would help nobody who reads it here
        return fail(internal(why))
    return status if isinstance(status, int) else 0


def fail(why: ClientError) -> int:
    """Say what went wrong and return the exit status for it."""
    complain(why)
    return why.status
