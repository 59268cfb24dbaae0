"""Messages to the service manager: sd_notify(3) is one datagram. Says nothing where no manager asked for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def tell(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send ``text`` to NOTIFY_SOCKET. That the manager is gone or busy is its own time-outs' to judge."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # A name that begins with @ is one of the abstract name space, unix(7).
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return
