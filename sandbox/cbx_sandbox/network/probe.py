"""Whether a job can have an allowlist here, found by giving one to a namespace that nobody else has."""

from __future__ import annotations

import os
import socket

from cbx_sandbox.allowlist import Allowlist, parse
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import namespaces

_ALLOWED, _REFUSED = "203.0.113.1", "203.0.113.2"
_PORT = 443
_SECONDS = 5.0
_REPORT_BYTES = 4096


def probe() -> tuple[str | None, str]:
    """Why it cannot be had and what to do; (None, "") if it works. Needs root; for single-threaded callers."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, _tried().encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        text = answer.read(_REPORT_BYTES).decode()
    os.waitpid(pid, 0)
    if text == "works":
        return None, ""
    why, _, fix = text.partition("\0")
    return why or "the trial ended without an answer", fix


def _tried() -> str:
    try:
        return _try()
    except CbxError as error:
        return f"{error.brief}: {error.details}".rstrip(": ") + f"\0{error.hint}"
    except ImportError as error:
        return f"{error}\0pip install pyroute2 dnspython"
    except OSError as error:
        return f"{error}\0it needs root, nf_tables with nat, reject, redirect, fib and log, and nfnetlink_log"


def _try() -> str:
    from cbx_sandbox.network import denials, namespace, rules, sockets  # noqa: PLC0415  # may be missing
    from cbx_sandbox.network.names import Names  # noqa: PLC0415

    namespaces.unshare(namespaces.CLONE_NEWNET)
    allowlist = Allowlist(parse([f"{_ALLOWED}:{_PORT}"], {}, ()))
    inside = namespace.prepare(allowlist, Names(allowlist))
    log = denials.listen(rules.LOG_GROUP)
    if _connects(_REFUSED):
        return "a connection to what is not allowed was made"
    if ("tcp", _REFUSED, _PORT) not in denials.read(log):
        return "a refusal was not logged"
    if not _connects(_ALLOWED):
        return "a connection to what is allowed was not led to the relay"
    inside.relay[0].setblocking(True)
    inside.relay[0].settimeout(_SECONDS)
    connection, _ = inside.relay[0].accept()
    target = sockets.original_target(connection)
    return "works" if (str(target[0]), target[1]) == (_ALLOWED, _PORT) else "the relay was not told the target"


def _connects(address: str) -> bool:
    with socket.socket() as trial:
        trial.settimeout(_SECONDS)
        return trial.connect_ex((address, _PORT)) == 0
