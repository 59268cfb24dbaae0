"""What a job did with its network: counts, and each decision once. Pure; bounded, whatever the job tries."""

from __future__ import annotations

import dataclasses
from typing import Any

MAX_DECISIONS = 64


@dataclasses.dataclass(slots=True)
class Decision:
    """One host and port, decided one way."""

    allowed: bool
    why: str
    count: int = 0
    addresses: dict[str, None] = dataclasses.field(default_factory=dict)
    sent: int = 0
    received: int = 0


_ADDRESSES = 4  # of each decision


class Ledger:
    """One job's figures. Bytes."""

    def __init__(self) -> None:
        self.connections = self.refused = self.lookups = self.sent = self.received = self.published = 0
        self.left_out = 0
        self._decisions: dict[tuple[str, int, str, bool, str], Decision] = {}

    def allowed(self, host: str, port: int, address: str) -> Decision:
        """Count a connection that was made; what it carries is added with :meth:`carried`."""
        self.connections += 1
        decision = self._decision(host, port, "tcp", "", allowed=True)
        if len(decision.addresses) < _ADDRESSES:
            decision.addresses[address] = None
        return decision

    def denied(self, host: str, port: int, why: str, protocol: str = "tcp") -> None:
        """Count a connection or a look-up (port 0) that was refused."""
        self.refused += 1
        self._decision(host, port, protocol, why, allowed=False)

    def carried(self, decision: Decision | None, *, sent: int = 0, received: int = 0) -> None:
        """Add what went over a connection."""
        self.sent += sent
        self.received += received
        if decision is not None:
            decision.sent += sent
            decision.received += received

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "connections": self.connections,
            "published": self.published,
            "refused": self.refused,
            "lookups": self.lookups,
            "sent_bytes": self.sent,
            "received_bytes": self.received,
            "decisions": [
                {
                    "host": host,
                    "port": port or None,
                    "protocol": protocol,
                    "allowed": allowed,
                    "why": why,
                    "count": decision.count,
                    "addresses": list(decision.addresses),
                    "sent_bytes": decision.sent,
                    "received_bytes": decision.received,
                }
                for (host, port, protocol, allowed, why), decision in self._decisions.items()
            ],
            "decisions_left_out": self.left_out,
        }

    def _decision(self, host: str, port: int, protocol: str, why: str, *, allowed: bool) -> Decision:
        key = (host[:255], port, protocol, allowed, why)
        decision = self._decisions.get(key)
        if decision is None:
            decision = Decision(allowed, why)
            if len(self._decisions) >= MAX_DECISIONS:
                self.left_out += 1
            else:
                self._decisions[key] = decision
        decision.count += 1
        return decision
