"""The packet rules of one job's namespace, as nftables reads them. Pure: made of addresses and numbers only."""

from __future__ import annotations

from collections.abc import Iterable

from cbx_sandbox.allowlist import Allowlist, Entry, Ranges, special_blocks
from cbx_sandbox.network.names import Names

LOG_GROUP = 1
_LOGGED_BYTES = 64  # of a packet: both headers, IPv6 without extensions
_RATE = "50/second burst 50 packets"


def ruleset(allowlist: Allowlist, names: Names, *, relay_port: int, dns_port: int) -> str:
    """One table: what is not allowed is refused when the job connects, the rest is led to the relay.

    Each rule says which IP version it is for: a match on an IPv4 address alone would also see bytes of IPv6.
    """
    gate = ["udp dport 53 accept", "tcp dport 53 accept", "fib daddr type local accept"]
    gate += [_accept("ip", str(block), ports) for block, ports in names.blocks()]
    gate += [_entry(entry) for entry in allowlist.entries if entry.special]
    gate += [
        f"{family} daddr {{ {', '.join(special_blocks(version))} }} goto refused"
        for family, version in (("ip", 4), ("ip6", 6))
    ]
    gate += [_entry(entry) for entry in allowlist.entries if entry.network is not None and not entry.special]
    gate.append("goto refused")
    refused = [
        f"limit rate {_RATE} log group {LOG_GROUP} snaplen {_LOGGED_BYTES}",
        "meta l4proto tcp reject with tcp reset",
        "reject with icmpx type admin-prohibited",
    ]
    divert = [
        f"udp dport 53 redirect to :{dns_port}",
        f"tcp dport 53 redirect to :{dns_port}",
        "fib daddr type local accept",
        f"meta l4proto tcp redirect to :{relay_port}",
    ]
    return _table(
        _chain("refused", "", refused),
        _chain("gate", "type filter hook output priority -150; policy drop;", gate),
        _chain("divert", "type nat hook output priority -100; policy accept;", divert),
    )


def _accept(family: str, network: str, ports: Ranges) -> str:
    listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ports)
    version = "ipv4" if family == "ip" else "ipv6"
    return f"meta nfproto {version} {family} daddr {network} tcp dport {{ {listed} }} accept"


def _entry(entry: Entry) -> str:
    assert entry.network is not None
    return _accept("ip" if entry.network.version == 4 else "ip6", str(entry.network), entry.ports)


def _chain(name: str, head: str, rules: Iterable[str]) -> str:
    return "\n".join([f"  chain {name} {{", *([f"    {head}"] if head else []), *(f"    {r}" for r in rules), "  }"])


def _table(*chains: str) -> str:
    return "\n".join(["table inet cbx {", *chains, "}", ""])
