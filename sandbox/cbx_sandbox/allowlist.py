"""Which hosts and ports a job may connect to: entries as people write them, and whether one of them covers a target.

An entry is a name (``pypi.org``), all names below one (``*.example.com``), every name (``*``), an address or a prefix;
then, after a colon, its ports (``:22,443``, ``:8000-8100``, or ``:*`` for every port). An IPv6 address with ports
stands in brackets. ``@NAME`` stands for a configured set. Pure: nothing is looked up here.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from cbx_sandbox.errors import UsageError
from cbx_sandbox.policy import Published

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Ranges = tuple[tuple[int, int], ...]  # of ports, both ends included, sorted, apart from each other

MAX_ENTRIES = 256
MAX_PUBLISHED = 16
# What is allowed by @NAME without being configured; a configured set of the same name takes its place.
SETS: Mapping[str, tuple[str, ...]] = {
    "pypi": ("pypi.org:443", "files.pythonhosted.org:443"),
    "npm": ("registry.npmjs.org:443", "registry.yarnpkg.com:443"),
    "crates": ("crates.io:443", "index.crates.io:443", "static.crates.io:443"),
    "go": ("proxy.golang.org:443", "sum.golang.org:443", "storage.googleapis.com:443"),
    "debian": ("deb.debian.org:80,443", "security.debian.org:80,443"),
    "ubuntu": ("*.archive.ubuntu.com:80,443", "archive.ubuntu.com:80,443", "security.ubuntu.com:80,443"),
    "github": (
        "github.com:22,443", "api.github.com:443", "codeload.github.com:443", "*.githubusercontent.com:443",
        "ssh.github.com:443",
    ),
}  # fmt: skip
EVERY_PORT: Ranges = ((1, 65535),)
# The addresses that names stand for inside a job's namespace: set aside for benchmarks (RFC 2544), routed nowhere.
STAND_INS = ipaddress.ip_network("198.18.0.0/15")

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# Where hosts keep what is meant for themselves: not reached because a name leads there. The metadata services of clouds
# are among them (169.254.169.254, fd00:ec2::254, 100.100.100.200); Azure's is the one with a public address.
_SPECIAL: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
        "240.0.0.0/4", "168.63.129.16/32", "::/127", "100::/64", "2001:db8::/32", "fc00::/7", "fe80::/10", "fec0::/10",
        "ff00::/8",
    )
)  # fmt: skip
# IPv6 prefixes that carry an IPv4 address, and where in it: that one is what will be reached.
_CARRIERS: tuple[tuple[ipaddress.IPv6Network, int], ...] = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One entry: either names (``name`` with ``*.`` for all below it, ``*`` for all) or a network, and its ports."""

    name: str
    network: Network | None
    ports: Ranges

    def __str__(self) -> str:
        host = self.name
        if self.network is not None:
            alone = self.network.prefixlen == self.network.max_prefixlen
            host = str(self.network.network_address) if alone else str(self.network)
            host = f"[{host}]" if self.network.version == 6 else host
        return f"{host}:{_ports_text(self.ports)}"

    def matches(self, name: str) -> bool:
        """True if this entry covers ``name``, which is in lower case and ends in no dot."""
        if self.network is not None:
            return False
        return self.name in {"*", name} or (self.name.startswith("*.") and name.endswith(self.name[1:]))

    @property
    def special(self) -> bool:
        """True if it lies wholly where names may not lead: such an entry was meant so."""
        return self.network is not None and _within(self.network) is not None


class Allowlist:
    """The entries of one job."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)

    def ports_of(self, name: str) -> Ranges:
        """Every port on which ``name`` may be reached; empty if it is not allowed at all."""
        return merged(part for entry in self.entries if entry.matches(name) for part in entry.ports)

    def allows_name(self, name: str, port: int) -> bool:
        """True if ``name`` may be reached on ``port``."""
        return _inside(port, self.ports_of(name))

    def allows_address(self, address: Address, port: int) -> bool:
        """True if an entry gives ``address`` itself; one that names may not lead to needs an entry of its own kind."""
        meant = is_special(address)
        return any(
            entry.network is not None
            and entry.network.version == address.version
            and address in entry.network
            and _inside(port, entry.ports)
            and (entry.special or not meant)
            for entry in self.entries
        )

    def names_address(self, address: Address, port: int) -> bool:
        """True if an entry is that very address: what the host itself has is reached in no other way."""
        alone = int(address)
        return any(
            entry.network is not None
            and entry.network.version == address.version
            and entry.network.prefixlen == entry.network.max_prefixlen
            and int(entry.network.network_address) == alone
            and _inside(port, entry.ports)
            for entry in self.entries
        )

    def may_lead_to(self, address: Address, port: int) -> bool:
        """True if a name that is allowed on ``port`` may lead to ``address``."""
        return not is_special(address) or self.allows_address(address, port)

    def may_lead_somewhere(self, address: Address, ports: Ranges) -> bool:
        """True if :meth:`may_lead_to` holds for any of ``ports``."""
        return not is_special(address) or any(
            entry.special
            and entry.network is not None
            and entry.network.version == address.version
            and address in entry.network
            and any(
                first <= their_last and their_first <= last
                for first, last in entry.ports
                for their_first, their_last in ports
            )
            for entry in self.entries
        )


def is_special(address: Address) -> bool:
    """True for loopback, private, link-local, multicast and metadata addresses, also where IPv6 carries one of IPv4."""
    carried = _carried(address)
    if carried is not None:
        return is_special(carried) or address in ipaddress.ip_network("::/96")
    return any(address.version == block.version and address in block for block in _SPECIAL)


def special_blocks(version: int) -> list[str]:
    """The networks that names may not lead to, of IP version 4 or 6."""
    return [str(block) for block in _SPECIAL if block.version == version]


def parse(texts: Sequence[str], sets: Mapping[str, Sequence[str]], ports: Sequence[int]) -> tuple[Entry, ...]:
    """Read entries; those without ports get ``ports``. Raises UsageError that quotes the one that cannot be read."""
    usual = merged((port, port) for port in ports)
    found: dict[Entry, None] = {}
    for text in texts:
        if text.startswith("@"):
            if text[1:] not in sets:
                known = ", ".join(f"@{name}" for name in sorted(sets)) or "none"
                raise UsageError(f"cannot allow {text}: there is no such set", hint=f"the configured sets: {known}")
            found |= dict.fromkeys(_entry(inner, usual) for inner in sets[text[1:]])
        else:
            found[_entry(text, usual)] = None
    if len(found) > MAX_ENTRIES:
        raise UsageError(f"cannot allow {len(found)} hosts: {MAX_ENTRIES} at most", hint="use *.NAME or a prefix")
    return tuple(found)


def parse_published(text: str) -> Published:
    """Read ``[ADDRESS:]HOSTPORT:PORT``; without an address it is the host's loopback. Raises UsageError."""
    where, _, port = text.rpartition(":")
    host, _, host_port = where.rpartition(":")
    numbers = (host_port, port)
    if not all(part.isascii() and part.isdecimal() and len(part) < 6 and 0 < int(part) < 65536 for part in numbers):
        raise UsageError(f"cannot publish {text}: write HOSTPORT:PORT or ADDRESS:HOSTPORT:PORT")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]") or "127.0.0.1")
    except ValueError as error:
        raise UsageError(f"cannot publish {text}: {host} is no address") from error
    return Published(str(address), int(host_port), int(port))


def normal(name: str) -> str:
    """The one way to write a name: lower case, no dot at the end."""
    return name.lower().removesuffix(".")


def merged(parts: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges in order, those that touch made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(parts):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def _entry(text: str, usual: Ranges) -> Entry:
    host, ports = _split(text)
    ranges = usual if ports is None else _ports(text, ports)
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        return Entry(_name(text, host), None, ranges)
    if network.overlaps(STAND_INS) and network.prefixlen >= STAND_INS.prefixlen:
        raise UsageError(f"cannot allow {text}: {STAND_INS} stands for names inside of a job", hint="allow the name")
    return Entry("", network, ranges)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"cannot allow {text}: write [ADDRESS] or [ADDRESS]:PORT")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None  # an IPv6 address without ports
    host, colon, ports = text.partition(":")
    return host, ports if colon else None


def _ports(text: str, ports: str) -> Ranges:
    if ports == "*":
        return EVERY_PORT
    parts = []
    for part in ports.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() and len(end) < 6 and 0 < int(end) < 65536 for end in ends):
            raise UsageError(f"cannot allow {text}: {part!r} is not a port", hint="NAME:22,443, NAME:8000-8100, NAME:*")
        if int(ends[0]) > int(ends[1]):
            raise UsageError(f"cannot allow {text}: {part!r} ends before it begins")
        parts.append((int(ends[0]), int(ends[1])))
    return merged(parts)


def _name(text: str, host: str) -> str:
    name = normal(host)
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise UsageError(f"cannot allow {text}: it is not a host name") from error
    if name == "*":
        return name
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        hint = "a name, *.NAME, an address or a prefix, then :PORT,PORT if need be"
        raise UsageError(f"cannot allow {text}: it is not a host name", hint=hint)
    if labels[-1].isdecimal():
        raise UsageError(f"cannot allow {text}: it is no address, and names do not end in a number")
    return name


def _ports_text(ports: Ranges) -> str:
    if ports == EVERY_PORT:
        return "*"
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ports)


def _inside(port: int, ranges: Ranges) -> bool:
    return any(first <= port <= last for first, last in ranges)


def _within(network: Network) -> Network | None:
    for block in _SPECIAL:
        if (
            isinstance(network, ipaddress.IPv4Network)
            and isinstance(block, ipaddress.IPv4Network)
            and network.subnet_of(block)
        ):
            return block
        if (
            isinstance(network, ipaddress.IPv6Network)
            and isinstance(block, ipaddress.IPv6Network)
            and network.subnet_of(block)
        ):
            return block
    return None


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    for block, shift in _CARRIERS:
        if address in block:
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None
