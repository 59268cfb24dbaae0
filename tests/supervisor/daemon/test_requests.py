"""Requests as a hostile caller would word them: refused with a reason, or taken with the right types."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.errors import CbxError, DeniedError, UsageError
from cbx_sandbox.policy import CommitMode, NetworkMode
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.daemon import requests
from cbx_supervisor.daemon.peers import Peer, within

ROOT, USER = Peer(1, 0, 0), Peer(1, 12345, 12345)
BASE = [("kind", b"run"), ("version", b"1"), ("cwd", b"/tmp"), ("arg", b"true")]


def parse(*more, peer=ROOT, base=BASE):
    return requests.submission(requests.Fields([*base, *more]), peer, lambda _: peer.uid == 0)


def test_all_options_arrive_typed():
    """As the client sends them."""
    taken = parse(
        ("arg", b"-x"), ("env", b"A=1=2"), ("setenv", b"B="), ("timeout", b"1.5"), ("memory", b"1048576"),
        ("cpus", b"0.25"), ("network", b"host"), ("rw", b"/a//b/../c"), ("rw", b"/d"), ("tier", b"DANGEROUS_ISOLATED"),
        ("commit", b"hold"), ("lock_timeout", b"0"), ("tty", b"1"), ("rows", b"10"), ("cols", b"20"),
        ("allow_missing", b"memory,cpus"), ("detach", b"1"), ("session", b"s"), ("env", b"SUDO_UID=1000"),
        ("retries", b"0"),
    )  # fmt: skip
    options = taken.request.options
    assert taken.request.argv == ("true", "-x")
    assert taken.request.environment["A"] == "1=2"
    assert (options.timeout, options.memory, options.cpus, options.network) == (1.5, 1 << 20, 0.25, NetworkMode.HOST)
    assert (options.writable, options.tier) == (("/a/c", "/d"), Tier.DANGEROUS_ISOLATED)
    assert (options.commit, taken.lock_timeout, taken.terminal) == (CommitMode.HOLD, 0.0, (10, 20))
    assert (taken.retries, parse(("detach", b"1")).retries) == (0, None)
    assert (options.allow_missing, taken.detached, taken.sudo_uid) == (frozenset({"memory", "cpus"}), True, 1000)


@pytest.mark.parametrize(
    "field",
    [
        ("timeout", b"nan"), ("timeout", b"-1"), ("timeout", b"inf"), ("memory", b"1e9"), ("memory", b"0"),
        ("memory", b"1048575"), ("memory", b"9" * 30), ("cpus", b"0"), ("pids", "٣".encode()),
        ("network", b"any"), ("tier", b"none"),
        ("commit", b"yes"), ("detach", b"0"), ("env", b"=x"), ("env", b"x"), ("rw", b"relative"), ("workdir", b"x"),
        ("user", b"no such user"), ("user", b"99999999999999"), ("kind", b"run"), ("uid", b"0"), ("line", b"true"),
        ("cpus_allowed", b"2-1"), ("nice", b"x"), ("cpu_weight", b"0"),
        ("tty", b"1\n"), ("version", b"2"), ("retries", b"1"), ("retries", b"0"),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused(field):
    """With 125 and a reason, never with a traceback."""
    with pytest.raises(UsageError):
        parse(field)


VALUES = (
    b"1",
    b"1048576",
    b"/x",
    b"A=b",
    b"none",
    b"hold",
    b"SAFE_PARALLEL",
    b"memory",
    b"process",
    b"host",
    b"x.org",
    b"8080",
)


def test_no_option_is_passed_over(monkeypatch):
    """Requests without options take a short way: it must know every field that is one."""
    told = set()
    for key in sorted(requests._KNOWN - {"kind", "version", "cwd", "arg", "line"}):
        for value in VALUES:
            with contextlib.suppress(CbxError):
                short = parse((key, value)).request.options
                with monkeypatch.context() as patch:
                    patch.setattr(requests, "_OF_OPTIONS", requests._KNOWN)
                    long = parse((key, value)).request.options
                assert short == long, key
                if long != parse().request.options:
                    told.add(key)
    assert told >= requests._OF_OPTIONS, "none of the values says something"


@pytest.mark.parametrize(
    "field",
    [
        ("user", b"root"),
        ("allow_missing", b"memory"),
        ("allow_privileged", b"1"),
        ("host_effects", b"process"),
        ("seccomp_log", b"1"),
        ("nice", b"-1"),
        ("cpu_weight", b"101"),
        ("io_weight", b"10000"),
    ],
)
def test_only_root_may_loosen(field):
    """Others get 126 and a hint; the uid is the kernel's word."""
    with pytest.raises(DeniedError) as caught:
        parse(field, peer=USER)
    assert caught.value.hint
    parse(field)


def test_a_user_without_an_entry_is_still_themselves():
    """A uid needs no name."""
    identity = parse(peer=USER).request.identity
    assert (identity.uid, identity.gid, identity.groups) == (12345, 12345, (12345,))


@pytest.mark.parametrize(
    ("text", "ok"), [(b"stdin,stdout,stderr,cwd,lease", True), (b"stdin,stdin", False), (b"x", False)]
)
def test_names_of_descriptors(text, ok):
    """Known ones, each once."""
    fields = requests.Fields([("fds", text)])
    if ok:
        assert len(requests.names_of_descriptors(fields)) == 5
    else:
        with pytest.raises(UsageError):
            requests.names_of_descriptors(fields)


@given(st.lists(st.tuples(st.sampled_from(sorted(requests._KNOWN)), st.binary(max_size=8)), max_size=6))
def test_nothing_but_errors_for_people(fields):
    """Whatever comes."""
    with contextlib.suppress(CbxError):
        parse(*fields, base=BASE[:3])


@pytest.mark.parametrize(
    ("group", "inside"),
    [
        ("/cbx/jobs/1/payload", True), ("/cbx/jobs", True), ("/cbx/supervisor", False), ("/", False),
        ("/user.slice/cbx", False), ("/cbx-12345678/jobs/1", False), ("/system.slice/cbx.service/cbx/jobs/7", True),
    ],
)  # fmt: skip
def test_which_groups_are_jobs(group, inside):
    """Only those below the jobs of this supervisor."""
    assert within(group, "cbx") is inside
