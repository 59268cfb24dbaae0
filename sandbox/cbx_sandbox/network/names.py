"""The addresses that names stand for inside one job's namespace. Pure.

Each name that the job looks up gets an address of its own, out of a block for its ports. So the kernel can refuse a
wrong port when the job connects, and the relay knows by which name it was asked, however many names share a server.
"""

from __future__ import annotations

import ipaddress

from cbx_sandbox.allowlist import STAND_INS, Allowlist, Ranges, merged

# The job's own address: its sockets have a source, and an answer on what it sends.
OWN = ipaddress.IPv4Address(int(STAND_INS.broadcast_address) - 1)
OWN_6 = ipaddress.IPv6Address("fd63:6278::1")
BLOCK_PREFIX = 22
MAX_NAMES = 1000  # of one job, all blocks together: who wants more does not look up hosts
_MAX_BLOCKS = 100
_BLOCK = 1 << (32 - BLOCK_PREFIX)


class Names:
    """Names and what stands for them."""

    def __init__(self, allowlist: Allowlist) -> None:
        self._allowlist = allowlist
        kinds = dict.fromkeys(entry.ports for entry in allowlist.entries if entry.network is None)
        every = merged(part for kind in kinds for part in kind)
        # A name that several entries cover may have ports like no single one: the last block is open for all of them.
        self._kinds: list[Ranges] = [*list(kinds)[:_MAX_BLOCKS], every] if kinds else []
        self._by_name: dict[str, ipaddress.IPv4Address] = {}
        self._by_address: dict[ipaddress.IPv4Address, str] = {}
        self._used = [0] * len(self._kinds)

    def blocks(self) -> list[tuple[ipaddress.IPv4Network, Ranges]]:
        """Each block and the ports that it is for."""
        return [(self._block(index), ports) for index, ports in enumerate(self._kinds)]

    def stand_in(self, name: str) -> ipaddress.IPv4Address | None:
        """The address for an allowed name, always the same; None if the job has looked up too many."""
        known = self._by_name.get(name)
        if known is not None:
            return known
        if len(self._by_name) >= MAX_NAMES:
            return None
        ports = self._allowlist.ports_of(name)
        index = self._kinds.index(ports) if ports in self._kinds else len(self._kinds) - 1
        self._used[index] += 1
        address = self._block(index).network_address + self._used[index]
        self._by_name[name], self._by_address[address] = address, name
        return address

    def name_of(self, address: ipaddress.IPv4Address) -> str | None:
        """The name that ``address`` stands for, if it was given out."""
        return self._by_address.get(address)

    @staticmethod
    def _block(index: int) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network((int(STAND_INS.network_address) + index * _BLOCK, BLOCK_PREFIX))
