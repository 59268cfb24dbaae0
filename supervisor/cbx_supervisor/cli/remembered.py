"""What a running supervisor would plan: it knows what earlier runs of the command taught. None is started for this."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from cbx_sandbox.shell.estimate import Bound, Estimate, Source
from cbx_sandbox.shell.tiers import Reason, Tier
from cbx_supervisor.client import request
from cbx_supervisor.client.connection import Connection, open_socket, runtime_directory
from cbx_supervisor.client.failure import ClientError
from cbx_supervisor.client.run import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbx_supervisor.client.options import Values

PATIENCE = 2.0  # s; a supervisor that is busier than that is not waited for


def plan(values: Values, command: Sequence[str]) -> dict[str, Any] | None:
    """Ask for the plan of a command as ``run --dry-run`` does; None where nobody answers, or it is refused."""
    try:
        server = open_socket(runtime_directory() + b"/exec.sock")
    except (ClientError, FileNotFoundError, ConnectionRefusedError):
        return None
    server.settimeout(PATIENCE)
    connection = Connection(server)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    reading, writing = os.pipe()
    try:
        cwd = request.working_directory()
        fields = [field for field in request.fields(values, list(command), cwd) if field[0] != "dry_run"]
        head = [("kind", b"run"), ("version", VERSION), ("fds", b"stdin,stdout,stderr,lease"), ("cwd", cwd)]
        connection.send([*head, ("dry_run", b"1"), *fields], [null, null, null, reading])
        return _answer(connection)
    except (ClientError, OSError, ValueError):
        return None
    finally:
        connection.close()
        for number in (null, reading, writing):
            os.close(number)


def estimate(known: dict[str, Any]) -> Estimate:
    """Return the estimate of such a plan."""
    found = known["estimate"]
    return Estimate(
        Bound(found["bound"]),
        found["memory_mb"],
        found["seconds"],
        Source(found["source"]),
        found["confidence"],
        found["seconds_p90"],
    )


def reasons(known: dict[str, Any]) -> list[Reason]:
    """Return those reasons of a plan that earlier runs taught."""
    found = known.get("reasons", ())
    return [Reason(entry["code"], entry["text"], Tier(entry["tier"])) for entry in found if entry["code"] == "learned"]


def _answer(connection: Connection) -> dict[str, Any] | None:
    while (frames := connection.receive()) is not None:
        for fields in frames:
            kind = fields["kind"][0]
            if kind == b"result":
                known = dict(json.loads(fields["json"][0]))
                return known if "estimate" in known else None  # a supervisor of an older release
            if kind == b"error":
                return None
    return None
