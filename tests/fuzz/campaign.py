"""Hostile input in bulk: `make fuzz-input`. Frames and requests for the daemon, and commands for the analysis.

Frames go through the daemon's own parsers in this process, as fast as those are, and a part of them to a supervisor
over its sockets, in pieces, with descriptors, and hung up in the middle. Commands go through the analysis in this
process, and all of them to a supervisor, which is asked what it would do: it looks at files, plans, and runs nothing.
Whatever comes, the answer is an error for people or none; nothing else may be raised, and the supervisor must be the
same afterwards: alive, with the descriptors it had, and ready for the next job. Each input is made from the seed and
its number, so each can be made again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.daemon.conftest import Call, Supervisor, until
from tests.fuzz.grammar import generate

from cbx_sandbox.errors import CbxError
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_supervisor.daemon import requests
from cbx_supervisor.daemon.peers import Peer
from cbx_supervisor.protocol import frame

CALLERS = 8  # at once, of those who ask about commands
TOLD_EVERY = 30.0  # s between two words about how far it is
SLOWEST = 5  # commands that are told with their times
BASE = [("kind", b"run"), ("version", b"1"), ("cwd", b"/"), ("line", b"true"), ("env", b"A=b")]
KEYS = sorted(requests._KNOWN)
VALUES = (
    b"",
    b"1",
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"/",
    b"/..",
    b"a=b",
    b"\xff\xfe",
    b"9" * 40,
    b"x" * 5000,
    b"root",
    b",",
)
WORDS = (
    "rm -rf /",
    "$(",
    "`",
    "<<E\n",
    "'",
    '"',
    "${x:-",
    "((",
    "[[",
    "\\",
    "\n",
    "&&",
    "|",
    ";",
    "\x00",
    "\ud800",
    "{1..9}",
)
HTTP = (
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/jobs?limit=5&state=running HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/audit?after=0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 28\r\n\r\n{"cwd":"/x","line":"true"}  ',
    b"POST /v1/jobs/1/kill HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n0\r\n\r\n",
)


class Progress:
    """How far a part of the campaign is, on standard error, and which inputs took longest."""

    def __init__(self, what: str, count: int) -> None:
        self.what, self.count = what, count
        self.began = self.told = time.monotonic()
        self.slowest: list[tuple[float, int]] = []

    def at(self, number: int, seconds: float = 0.0) -> None:
        """The input with this number is done, and took so long."""
        self.slowest = sorted([*self.slowest, (round(seconds, 3), number)], reverse=True)[:SLOWEST]
        now = time.monotonic()
        if now - self.told >= TOLD_EVERY:
            self.told = now
            print(f"{self.what}: {number} of {self.count}, {number / (now - self.began):.0f}/s", file=sys.stderr)


def mutated(data: bytes, choose: random.Random) -> bytes:
    """A few bytes of it changed, removed, repeated or put in."""
    found = bytearray(data)
    for _ in range(choose.randint(1, 4)):
        place = choose.randrange(len(found) + 1)
        end = min(len(found), place + choose.randint(1, 8))
        match choose.randrange(5):
            case 0 if place < len(found):
                found[place] ^= 1 << choose.randrange(8)
            case 1:
                del found[place:end]
            case 2:
                found[place:place] = found[place:end] * choose.randint(1, 3)
            case 3:
                found[place:place] = choose.randbytes(choose.randint(1, 6))
            case _:
                found[place:end] = choose.choice((b"\0", b"\xff" * 4, b"\r\n", b"=", b""))
    return bytes(found)


def stream(choose: random.Random) -> list[bytes]:
    """One to three frames, most of them nearly right."""
    parts = []
    for _ in range(choose.randint(1, 3)):
        fields = [*BASE, *((choose.choice(KEYS), choose.choice(VALUES)) for _ in range(choose.randrange(4)))]
        if choose.random() < 0.3:
            choose.shuffle(fields)
        whole = frame.encode(fields)
        parts.append(mutated(whole, choose) if choose.random() < 0.7 else whole)
    return parts


def read_frames(data: bytes, choose: random.Random, counts: Counter[str]) -> None:
    """As the daemon reads a caller's bytes: cut, decoded, converted."""
    splitter, place = frame.Splitter(), 0
    try:
        while place < len(data):
            step = choose.randint(1, max(1, len(data) // 2))
            for payload in splitter.feed(data[place : place + step]):
                fields = requests.Fields(frame.decode(payload))
                requests.names_of_descriptors(fields)
                requests.submission(fields, Peer(61234, 61234, 1), lambda _: False)
                counts["accepted"] += 1
            place += step
    except (frame.FrameError, CbxError):
        counts["refused"] += 1


def frames(count: int, seed: int) -> Counter[str]:
    """At least ``count`` frames through the parsers, in callers' streams of one to three."""
    counts: Counter[str] = Counter()
    progress = Progress("frames", count)
    number = 0
    while counts["frames"] < count:
        choose = random.Random(f"{seed} frames {number}")
        parts = stream(choose)
        counts["frames"] += len(parts)
        read_frames(b"".join(parts), choose, counts)
        number += 1
        progress.at(counts["frames"])
    return counts


def command(number: int, seed: int) -> str:
    """A text that is written by the grammar, or bent, or made of what shells trip over."""
    choose = random.Random(f"{seed} commands {number}")
    text = generate(choose.randrange, depth=choose.choice((0, 0, 0, 1, 1, 2)))
    if choose.random() < 0.5:
        for _ in range(choose.randint(1, 3)):
            place = choose.randrange(len(text) + 1)
            text = text[:place] + choose.choice(WORDS) + text[place + choose.randrange(3) :]
    return text


def commands(count: int, seed: int) -> Counter[str]:
    """``count`` texts analysed in this process."""
    counts: Counter[str] = Counter()
    facts = StaticFacts()
    progress = Progress("commands", count)
    for number in range(count):
        text = command(number, seed)
        began = time.monotonic()
        counts[analyse(text, facts).tier.value] += 1
        progress.at(number, time.monotonic() - began)
    if count > SLOWEST:
        print(f"the slowest of {count}, in seconds and by number: {progress.slowest}", file=sys.stderr)
    return counts


def asked(supervisor: Supervisor, count: int, seed: int, directory: Path) -> Counter[str]:
    """The same ``count`` texts, each planned by the supervisor for a caller in ``directory``."""
    counts: Counter[str] = Counter()
    progress = Progress("asked", count)
    cwd = os.fsencode(directory)

    def ask(number: int) -> str:
        text = command(number, seed).encode("utf-8", "surrogatepass").replace(b"\0", b"")  # no caller can send one
        call = Call(supervisor.paths.exec_socket, [("dry_run", b"1"), ("cwd", cwd), ("line", text)])
        try:
            answer = call.end()
        finally:
            call.close()
            os.close(call.output)
        return answer["kind"].decode() if answer["status"] == 0 else f"refused with {answer['status']}"

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        for first in range(0, count, 1000):
            counts.update(callers.map(ask, range(first, min(count, first + 1000))))
            progress.at(first)
    return counts


def live(supervisor: Supervisor, count: int, seed: int) -> Counter[str]:
    """``count`` callers of the exec socket and of the HTTP socket, one after the other."""
    counts: Counter[str] = Counter()
    for number in range(count):
        choose = random.Random(f"{seed} live {number}")
        over_http = number % 3 == 2
        data = mutated(choose.choice(HTTP), choose) if over_http else b"".join(stream(choose))
        path = supervisor.paths.http_socket if over_http else supervisor.paths.exec_socket
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(30)
            caller.connect(path)
            passed = [os.open(os.devnull, os.O_RDWR) for _ in range(choose.randrange(3))] if not over_http else []
            try:
                socket.send_fds(caller, [data[: len(data) // 2] or b"\0"], passed)
                caller.sendall(data[len(data) // 2 :])
                if choose.random() < 0.5:
                    caller.shutdown(socket.SHUT_WR)
                    counts["answered" if caller.recv(1 << 16) else "hung up on"] += 1
                else:
                    counts["left"] += 1
            except OSError as error:
                counts[type(error).__name__] += 1
            finally:
                for fd in passed:
                    os.close(fd)
    return counts


def outlived(supervisor: Supervisor, work: Callable[[], Counter[str]]) -> Counter[str]:
    """What ``work`` counts; the supervisor is what it was before."""
    supervisor.run("true").end()
    supervisor.get("/v1/status")
    pid, before = supervisor.process.pid, _descriptors(supervisor)
    counts = work()
    assert supervisor.process.poll() is None, "the supervisor has ended"
    assert supervisor.run("true").end()["status"] == 0
    supervisor.hang_up()
    until(lambda: _descriptors(supervisor) <= before + 2, 60)
    assert supervisor.get("/v1/status")["supervisor"]["pid"] == pid
    lines = supervisor.log.read_text().splitlines()
    wrong = [line for line in lines if "internal error" in line or "Traceback" in line]
    assert not wrong, wrong[:3]
    return counts


def _descriptors(supervisor: Supervisor) -> int:
    return len(os.listdir(f"/proc/{supervisor.process.pid}/fd"))


def main() -> None:
    """Run the campaign and print what was tried."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--live", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--asked", type=int, default=100_000, help="commands that a supervisor plans")
    given = parser.parse_args()
    for name, work in (("frames", frames), ("commands", commands)):
        began = time.monotonic()
        tell(name, work(getattr(given, name), given.seed), began)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "project")
        place.mkdir()
        supervisor = Supervisor(Path(directory)).start("--idle-exit", "600")
        try:
            for name, part in (
                ("asked", lambda: asked(supervisor, given.asked, given.seed, place)),
                ("live", lambda: live(supervisor, given.live, given.seed)),
            ):
                began = time.monotonic()
                tell(name, outlived(supervisor, part), began)
        finally:
            supervisor.clean()


def tell(what: str, counts: Counter[str], began: float) -> None:
    """One line of what was tried, as JSON."""
    print(json.dumps({"what": what, **counts, "seconds": round(time.monotonic() - began, 1)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
