"""Making a job's network namespace lead to the relay: an address, a route over loopback, packet rules, listeners.

Nothing of it exists outside of the namespace: no interface, no rule and no route of the host is touched, and all of it
is gone with the job's last process.
"""

from __future__ import annotations

import dataclasses
import errno
import shutil
import socket
import subprocess

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cbx_sandbox.allowlist import Allowlist
from cbx_sandbox.errors import UnavailableError
from cbx_sandbox.network import rules
from cbx_sandbox.network.names import OWN, OWN_6, Names

BACKLOG = 64
_LOOPBACK_INDEX = 1
_NO_DAD = 0x02  # IFA_F_NODAD: at once usable, nobody else can have it
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_NFT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Inside:
    """Sockets in the job's namespace. The relay's listeners take every allowed connection, wherever it was meant to."""

    relay: list[socket.socket]
    dns_stream: list[socket.socket]
    dns_datagram: list[socket.socket]


def prepare(allowlist: Allowlist, names: Names) -> Inside:
    """Do all of it in the caller's namespace, which must be the job's. Raises UnavailableError, OSError."""
    ipv6 = _routes()
    addresses = [(socket.AF_INET, "127.0.0.1"), *([(socket.AF_INET6, "::1")] if ipv6 else [])]
    relay_port, relay = _listeners(addresses)
    dns_port, stream = _listeners(addresses)
    datagram = [_bound(family, socket.SOCK_DGRAM, address, dns_port) for family, address in addresses]
    _load(rules.ruleset(allowlist, names, relay_port=relay_port, dns_port=dns_port))
    return Inside(relay, stream, datagram)


def _routes() -> bool:
    """Have every address routed over loopback; False if there is no IPv6 here."""
    with IPRoute() as netlink:
        netlink.link("set", index=_LOOPBACK_INDEX, state="up")
        netlink.addr("add", index=_LOOPBACK_INDEX, address=str(OWN), prefixlen=32)
        netlink.route("add", dst="0.0.0.0/0", oif=_LOOPBACK_INDEX, prefsrc=str(OWN))
        try:
            netlink.addr("add", index=_LOOPBACK_INDEX, address=str(OWN_6), prefixlen=128, flags=_NO_DAD)
            netlink.route("add", family=socket.AF_INET6, dst="::/0", oif=_LOOPBACK_INDEX, prefsrc=str(OWN_6))
        except NetlinkError as error:
            # Without a route nothing of IPv6 leaves the program: that is refused, too.
            if error.code not in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM}:
                raise
            return False
    return True


def _listeners(addresses: list[tuple[socket.AddressFamily, str]]) -> tuple[int, list[socket.socket]]:
    made: list[socket.socket] = []
    port = 0
    for family, address in addresses:
        made.append(_bound(family, socket.SOCK_STREAM, address, port))
        port = made[0].getsockname()[1]
    for listener in made:
        listener.listen(BACKLOG)
    return port, made


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    made.setblocking(False)
    return made


def nft() -> str:
    """Where nft is. Raises UnavailableError."""
    found = shutil.which("nft", path=_PATH)
    if found is None:
        raise UnavailableError("cannot make an allowlist: nft is not installed", hint="install the package nftables")
    return found


def _load(text: str) -> None:
    done = subprocess.run(
        [nft(), "-f", "-"],
        input=text.encode(),
        capture_output=True,
        check=False,
        env={"PATH": _PATH},
        timeout=_NFT_SECONDS,
    )
    if done.returncode:
        raise UnavailableError(
            "cannot make an allowlist: the kernel refused the packet rules",
            details=done.stderr.decode(errors="replace").strip()[:500],
            hint="it needs nf_tables with nat, reject, redirect, fib and log (Linux 5.2 or later)",
        )
