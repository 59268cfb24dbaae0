"""Entries of an allowlist: what can be written, and what each covers."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.allowlist import SETS, Allowlist, is_special, parse, parse_published
from cbx_sandbox.errors import UsageError
from cbx_sandbox.policy import USUAL_PORTS, Published


def made(*texts, sets=None):
    return Allowlist(parse(texts, sets or {}, USUAL_PORTS))


def address(text):
    return ipaddress.ip_address(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("pypi.org", "pypi.org:80,443"),
        ("PyPI.org.", "pypi.org:80,443"),
        ("*.example.com:22", "*.example.com:22"),
        ("*", "*:80,443"),
        ("web:443,80,81-90,91", "web:80-91,443"),
        ("web:*", "web:*"),
        ("192.0.2.7:22", "192.0.2.7:22"),
        ("192.0.2.7/24", "192.0.2.0/24:80,443"),
        ("2001:db8::1", "[2001:db8::1]:80,443"),
        ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
        ("bücher.example", "xn--bcher-kva.example:80,443"),
    ],
)
def test_an_entry_is_written_in_one_way(text, written):
    assert [str(entry) for entry in made(text).entries] == [written]
    assert made(written).entries == made(text).entries


@pytest.mark.parametrize(
    "text",
    ["", "a..b", "-a.org", "a.org:0", "a.org:65536", "a.org:9-8", "a.org:", "a.org:http", "https://a.org", "a.*.org",
     "1.2.3", "300.1.1.1", "[::1", "[::1]x", "@none", "a b", "x" * 300, "198.18.3.4", "198.19.0.0/16"],
)  # fmt: skip
def test_what_is_no_entry_is_refused(text):
    with pytest.raises(UsageError) as refused:
        made(text)
    assert text in str(refused.value)


def test_too_many_are_refused():
    with pytest.raises(UsageError, match="256 at most"):
        made(*(f"host{number}.test" for number in range(257)))


def test_names_and_ports():
    both = made("web.test:80", "*.web.test:443", "*.test:22")
    assert both.allows_name("web.test", 80)
    assert both.allows_name("web.test", 22)
    assert not both.allows_name("web.test", 443)
    assert both.allows_name("a.b.web.test", 443)
    for other in ("evil-web.test.org", "web.test.evil.org", "test", "xweb.org", ""):
        assert not both.ports_of(other), other


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200",
     "168.63.129.16", "224.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "::127.0.0.1"],
)  # fmt: skip
def test_where_names_may_not_lead(text):
    """Also where an IPv6 address carries one of IPv4; only an entry of that kind itself opens it."""
    target = address(text)
    assert is_special(target)
    wide = made("*:*", "0.0.0.0/0:*", "[::/0]:*")
    assert not wide.may_lead_to(target, 80)
    assert not wide.may_lead_somewhere(target, ((1, 65535),))
    assert not wide.allows_address(target, 80)


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:4700::1", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_where_they_may(text):
    assert not is_special(address(text))
    assert made("*").may_lead_to(address(text), 80)


def test_an_address_entry_opens_what_is_special():
    private = made("10.1.0.0/16:80", "169.254.169.254:80")
    assert private.may_lead_to(address("10.1.2.3"), 80)
    assert private.may_lead_somewhere(address("10.1.2.3"), ((80, 443),))
    assert not private.may_lead_to(address("10.1.2.3"), 443)
    assert not private.may_lead_somewhere(address("10.1.2.3"), ((443, 443),))
    assert not private.may_lead_to(address("10.2.2.3"), 80)
    assert private.allows_address(address("169.254.169.254"), 80)


def test_the_host_itself_is_named_by_its_very_address():
    assert made("203.0.113.5").names_address(address("203.0.113.5"), 443)
    assert not made("203.0.113.0/24").names_address(address("203.0.113.5"), 443)


def test_sets():
    entries = made("@mine", "@pypi", sets={**SETS, "mine": ("a.test:1",)}).entries
    assert [str(entry) for entry in entries] == ["a.test:1", "pypi.org:443", "files.pythonhosted.org:443"]
    for name in SETS:
        assert made(f"@{name}", sets=SETS).entries


@given(st.text(max_size=60))
def test_no_text_is_a_fault(text):
    """Whatever is written is an entry or refused."""
    try:
        entries = made(text).entries
    except UsageError:
        return
    assert made(*map(str, entries)).entries == entries


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("8080:80", Published("127.0.0.1", 8080, 80)),
        ("0.0.0.0:8080:80", Published("0.0.0.0", 8080, 80)),
        ("[::1]:8080:80", Published("::1", 8080, 80)),
    ],
)
def test_published_ports(text, is_):
    assert parse_published(text) == is_


@pytest.mark.parametrize("text", ["", "80", "a:80", "80:0", "70000:1", "host:80:80", ":80", "80:"])
def test_what_cannot_be_published(text):
    with pytest.raises(UsageError):
        parse_published(text)
