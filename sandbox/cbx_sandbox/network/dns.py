"""The answers of a job's name server: the stand-ins of allowed names, and nothing else of anybody's. No I/O here.

Whatever is asked of an allowed name but its IPv4 address has an empty answer: no data travels in other record types.
"""

from __future__ import annotations

import dataclasses
import ipaddress

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from cbx_sandbox.allowlist import normal

TTL = 60  # s; a name's stand-in never changes while the job runs
MAX_QUERY = 512  # bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question, and the message that it came in."""

    message: dns.message.Message
    name: str
    wants_address: bool


def read(wire: bytes) -> Question | None:
    """The question in a message; None if it is none that a stub resolver asks."""
    if len(wire) > MAX_QUERY:
        return None
    try:
        message = dns.message.from_wire(wire)
        if message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
            return None
        asked = message.question[0]
        name = normal(asked.name.to_text())
    except (dns.exception.DNSException, ValueError, UnicodeError):
        return None
    if asked.rdclass != dns.rdataclass.IN:
        return None
    return Question(message, name, asked.rdtype == dns.rdatatype.A)


def answer(question: Question, stand_in: ipaddress.IPv4Address | None) -> bytes:
    """The answer for a name that is allowed and exists; without ``stand_in`` an empty one."""
    response = dns.message.make_response(question.message, recursion_available=True)
    if question.wants_address and stand_in is not None:
        asked = question.message.question[0]
        response.answer.append(dns.rrset.from_text(asked.name, TTL, "IN", "A", str(stand_in)))
    return response.to_wire()


def missing(question: Question) -> bytes:
    """There is no such name: it is not allowed, or nobody has it."""
    return _failed(question, dns.rcode.NXDOMAIN, blocked=True)


def failed(question: Question) -> bytes:
    """It cannot be told now."""
    return _failed(question, dns.rcode.SERVFAIL, blocked=False)


def _failed(question: Question, code: dns.rcode.Rcode, *, blocked: bool) -> bytes:
    response = dns.message.make_response(question.message, recursion_available=True)
    response.set_rcode(code)
    if blocked and question.message.edns >= 0:
        response.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.BLOCKED)])
    return response.to_wire()
