"""The parts of a relay that do no I/O: stand-ins, packet rules, figures."""

from __future__ import annotations

import asyncio
import ipaddress
import re

import dns.message
import dns.rcode

from cbx_sandbox.allowlist import STAND_INS, Allowlist, parse
from cbx_sandbox.network import rules
from cbx_sandbox.network.ledger import MAX_DECISIONS, Ledger
from cbx_sandbox.network.names import MAX_NAMES, OWN, Names
from cbx_sandbox.network.resolver import NameServer


def allowlist(*texts):
    return Allowlist(parse(texts, {}, (80, 443)))


class TestNames:
    def test_a_name_keeps_its_address(self):
        names = Names(allowlist("*.test"))
        first, second = names.stand_in("a.test"), names.stand_in("b.test")
        assert first != second
        assert names.stand_in("a.test") == first
        assert names.name_of(first) == "a.test"
        assert names.name_of(ipaddress.IPv4Address("198.18.99.99")) is None

    def test_it_lies_in_the_block_for_its_ports(self):
        names = Names(allowlist("web.test:80", "git.test:22", "*.test:443"))
        blocks = dict(names.blocks())
        for name in ("web.test", "git.test", "other.test"):
            address = names.stand_in(name)
            (ports,) = [ports for block, ports in blocks.items() if address in block]
            wanted = names._allowlist.ports_of(name)
            assert all(any(low <= first and last <= high for low, high in ports) for first, last in wanted), name
        assert OWN in STAND_INS
        assert not any(OWN in block for block in blocks)

    def test_blocks_do_not_run_out(self):
        texts = [f"host{number}.test:{number}" for number in range(1, 250)]
        names = Names(allowlist(*texts))
        assert all(block.subnet_of(STAND_INS) for block, _ in names.blocks())
        assert len({names.stand_in(text.partition(":")[0]) for text in texts}) == len(texts)

    def test_there_is_an_end(self):
        names = Names(allowlist("*"))
        given = {names.stand_in(f"n{number}.test") for number in range(MAX_NAMES)}
        assert len(given) == MAX_NAMES
        assert all(address in names.blocks()[0][0] for address in given)
        assert names.stand_in("more.test") is None
        assert names.stand_in("n0.test") is not None


class TestRules:
    def test_case_138_each_match_of_an_address_says_its_version(self):
        """A match on IPv4 alone would see bytes of IPv6."""
        made = allowlist("web.test", "10.0.0.0/8:22", "0.0.0.0/0:443", "[2001:db8::1]:443", "[::/0]:80")
        text = rules.ruleset(made, Names(made), relay_port=1, dns_port=2)
        for line in text.splitlines():
            if "daddr" in line and "accept" in line and "fib" not in line:
                assert re.match(r"\s*meta nfproto ipv[46] ip6? daddr ", line), line

    def test_what_is_special_is_refused_before_what_is_wide(self):
        made = allowlist("10.0.0.0/8:22", "0.0.0.0/0:443")
        text = rules.ruleset(made, Names(made), relay_port=1, dns_port=2)
        meant, special, wide = (
            text.index(part) for part in ("ip daddr 10.0.0.0/8 tcp", "goto refused", "0.0.0.0/0 tcp")
        )
        assert meant < special < wide
        assert text.index("goto refused", wide) > wide  # and everything else after all

    def test_an_empty_list_accepts_nothing_but_names_and_its_own(self):
        made = allowlist()
        gate = rules.ruleset(made, Names(made), relay_port=1, dns_port=2).partition("chain gate")[2].partition("}")[0]
        accepted = [line.strip() for line in gate.splitlines() if line.strip().endswith(" accept")]
        assert accepted == ["udp dport 53 accept", "tcp dport 53 accept", "fib daddr type local accept"]


class TestLedger:
    def test_figures(self):
        ledger = Ledger()
        for _ in range(2):
            ledger.carried(ledger.allowed("web.test", 443, "192.0.2.1"), sent=3, received=5)
        ledger.denied("other.test", 0, "not on the allowlist", "dns")
        found = ledger.describe()
        assert (found["connections"], found["refused"], found["sent_bytes"], found["received_bytes"]) == (2, 1, 6, 10)
        assert [(d["host"], d["count"], d["allowed"]) for d in found["decisions"]] == [
            ("web.test", 2, True),
            ("other.test", 1, False),
        ]

    def test_it_does_not_grow(self):
        ledger = Ledger()
        for number in range(1000):
            ledger.denied(f"{number:04}" * 200, 1, "no")
        found = ledger.describe()
        assert len(found["decisions"]) == MAX_DECISIONS
        assert found["decisions_left_out"] == 1000 - MAX_DECISIONS
        assert found["refused"] == 1000
        assert max(len(d["host"]) for d in found["decisions"]) <= 255


class TestNameServer:
    def test_who_has_looked_up_too_many_names_is_not_answered(self):
        """Also before anybody is asked: whether such a name exists is not found out."""
        made = allowlist("*.test")
        names, ledger = Names(made), Ledger()
        for number in range(MAX_NAMES):
            names.stand_in(f"n{number}.test")
        server = NameServer(made, names, ledger)
        answer = asyncio.run(server.answer(dns.message.make_query("more.test", "A").to_wire()))
        assert dns.message.from_wire(answer).rcode() == dns.rcode.SERVFAIL
        assert [(d["host"], d["why"]) for d in ledger.describe()["decisions"]] == [("more.test", "too many names")]
