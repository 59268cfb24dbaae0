"""Hostile bytes: messages of resolvers, first messages of TLS, packets that the kernel logged."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
import ssl
import struct

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.network import denials, hello
from cbx_sandbox.network import dns as answers

STAND_IN = ipaddress.IPv4Address("198.18.0.1")


def query(name="web.test", kind="A", **options):
    return dns.message.make_query(name, kind, **options).to_wire()


class TestResolver:
    @pytest.mark.parametrize(
        ("kind", "count"), [("A", 1), ("AAAA", 0), ("TXT", 0), ("MX", 0), ("ANY", 0), ("HTTPS", 0)]
    )
    def test_only_the_stand_in_is_told(self, kind, count):
        question = answers.read(query(kind=kind))
        answer = dns.message.from_wire(answers.answer(question, STAND_IN))
        assert (answer.rcode(), len(answer.answer)) == (dns.rcode.NOERROR, count)
        assert not count or answer.answer[0][0].address == str(STAND_IN)

    def test_names_are_read_in_one_way(self):
        assert answers.read(query("WEB.Test.")).name == "web.test"

    def test_what_is_not_there(self):
        question = answers.read(query(use_edns=0))
        answer = dns.message.from_wire(answers.missing(question))
        assert answer.rcode() == dns.rcode.NXDOMAIN
        assert [int(option.code) for option in answer.options] == [15]
        assert dns.message.from_wire(answers.failed(question)).rcode() == dns.rcode.SERVFAIL

    def test_what_is_no_question(self):
        two = dns.message.make_query("a.test", "A")
        two.question.append(dns.message.make_query("b.test", "A").question[0])
        response = dns.message.make_response(dns.message.make_query("a.test", "A")).to_wire()
        for wire in (
            b"",
            b"\0" * 12,
            query() + b"x",
            two.to_wire(),
            response,
            query(kind="A", rdclass="CH"),
            b"\0" * 600,
        ):
            assert answers.read(wire) is None

    @given(st.binary(max_size=600))
    def test_no_bytes_are_a_fault(self, wire):
        question = answers.read(wire)
        assert question is None or dns.message.from_wire(answers.answer(question, STAND_IN))

    @given(st.integers(0, 10_000), st.integers(0, 255))
    def test_nor_is_one_wrong_byte(self, at, value):
        wire = bytearray(query())
        wire[at % len(wire)] = value
        question = answers.read(bytes(wire))
        assert question is None or dns.message.from_wire(answers.missing(question))


@functools.cache
def client_hello(name):
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class TestHello:
    def test_the_name(self):
        data = client_hello("web.test")
        assert hello.is_tls(data)
        assert hello.server_name(data) == "web.test"

    def test_no_name(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        outgoing = ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
        assert hello.server_name(outgoing.read()) is None

    def test_each_part_of_it_wants_more(self):
        data = client_hello("web.test")
        for length in range(1, len(data)):
            with pytest.raises(hello.IncompleteError):
                hello.server_name(data[:length])

    def test_spread_over_records(self):
        data = client_hello("web.test")
        body = data[5:]
        parts = [body[at : at + 100] for at in range(0, len(body), 100)]
        split = b"".join(data[:3] + struct.pack(">H", len(part)) + part for part in parts)
        assert hello.server_name(split) == "web.test"

    def test_what_is_something_else(self):
        assert not hello.is_tls(b"GET / HTTP/1.1")
        assert not hello.is_tls(b"SSH-2.0-x")
        for data in (b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", b"\x17\x03\x01\x00\x01x"):
            with pytest.raises(ValueError):
                hello.server_name(data)

    @given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
    def test_no_bytes_are_a_fault(self, at, value, length):
        data = bytearray(client_hello("web.test"))
        data[at % len(data)] = value
        with contextlib.suppress(ValueError, hello.IncompleteError):
            hello.server_name(bytes(data[: length % (len(data) + 1)]))


class TestDenials:
    def logged(self, packet):
        attribute = struct.pack("=HH", 4 + len(packet), 9) + packet + b"\0" * (-len(packet) % 4)
        body = struct.pack(">BBH", socket.AF_INET, 0, 1) + struct.pack("=HHI", 8, 5, 0) + attribute
        return struct.pack("=IHHII", 16 + len(body), 0x400, 0, 0, 0) + body

    def test_where_a_packet_was_going(self):
        four = struct.pack(">BBHHHBBH4s4sHH", 0x45, 0, 60, 0, 0, 64, 17, 0, b"\1\1\1\1", b"\2\2\2\2", 5, 53)
        six = struct.pack(">IHBB16s16sHH", 6 << 28, 20, 6, 64, b"\1" * 16, b"\2" * 16, 5, 443)
        assert list(denials.parse(self.logged(four) + self.logged(six))) == [
            ("udp", "2.2.2.2", 53),
            ("tcp", "202:202:202:202:202:202:202:202", 443),
        ]
        assert denials.target(four[:9] + b"\x01" + four[10:]) == ("icmp", "2.2.2.2", 0)

    @given(st.binary(max_size=120))
    def test_no_packet_is_a_fault(self, packet):
        denials.target(packet)
        list(denials.parse(self.logged(packet)))
        list(denials.parse(packet))
