"""The oracle of execution: what bash really did with a text, and whether the analysis had predicted it.

A stage has a PATH of stub programs that do nothing but log: their directory, their name and arguments and, for ``r0``,
what they read. bash runs a text there as a user of its own with nothing to lose, in a fresh directory, under limits.
Each program that ran has to be among those predicted, with its arguments, its directory and its input; each file that
changed among those predicted to be written. Only texts of ``grammar`` are run: they name nothing but stubs and relative
paths.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import marks
from cbx_sandbox.shell.effects import Certainty
from cbx_sandbox.shell.infer import Interpreter
from cbx_sandbox.shell.state import Offsets, Record, State
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.effects import FileKind
    from cbx_sandbox.shell.state import Where

USER = 64_999  # nobody's id: what runs as it can be counted and harms no one
STUBS = ("p0", "p1", "p2", "r0")
REAL = ("env", "nice", "timeout", "nohup")  # wrappers that run what they are given
FILES = {"a": "file", "a.b": "file", "b": "file", "d": "dir", "d/e": "file"}
VARIABLES = {"w": "b c", "x": ""}

# Appends one record: count of arguments, directory, name, arguments, input; each ended by a NUL, in one write.
_STUB = r"""#!/bin/dash
input=
case ${0##*/} in r0) while IFS= read -r line || [ -n "$line" ]; do input="$input$line
"; done;; esac
printf '%s\0' "$#" "$PWD" "${0##*/}" "$@" "$input" >> @LOG@
case ${0##*/} in p1) echo "p0 out"; exit 0;; p2) exit 1;; esac
"""


@dataclass(frozen=True)
class Event:
    """A program that ran."""

    cwd: str
    argv: tuple[str, ...]
    stdin: str


@dataclass
class Ran:
    """What bash did."""

    events: list[Event]
    changed: list[str]
    complete: bool  # it came to its end within the limits


class Stage:
    """A directory with stubs in which texts are run."""

    def __init__(self, *, seconds: float = 20) -> None:
        self.seconds = seconds  # after which a text is ended; what it did is then no evidence
        self.root = Path(tempfile.mkdtemp(prefix="cbx-stage-"))
        self.bin, self.work, self.log = self.root / "bin", self.root / "work", self.root / "log"
        self.root.chmod(0o755)
        self.bin.mkdir()
        self.log.touch()
        self.log.chmod(0o666)
        text = _STUB.replace("@LOG@", str(self.log))
        for name in STUBS:
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        for name in (*REAL, "bash"):
            (self.bin / name).symlink_to(shutil.which(name) or "")
        (self.bin / "sh").symlink_to("bash")
        self.env = {"PATH": str(self.bin), "HOME": str(self.work), "LC_ALL": "C.UTF-8", "FUNCNEST": "8", **VARIABLES}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def facts(self) -> StaticFacts:
        """Return what the analysis may know of the stage."""
        files: dict[str, FileKind] = {f"{self.work}/{name}": kind for name, kind in FILES.items()}
        work = str(self.work)
        return StaticFacts(
            cwd=work, home=work, uid=_user() or os.getuid(), path=(str(self.bin),), env=self.env, files=files, root=work
        )

    def run(self, text: str) -> Ran:
        """Run a text and return what happened."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for name, kind in FILES.items():
            path = self.work / name
            path.mkdir() if kind == "dir" else path.write_text(f"in {name}\n")
        before = self._snapshot()
        for path in (self.work, *self.work.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        self.log.write_bytes(b"")
        complete = self._bash(text)
        after = self._snapshot()
        changed = [name for name, state in after.items() if before.get(name) != state]
        return Ran(_events(self.log.read_bytes()), changed, complete)

    def _bash(self, text: str) -> bool:
        """Run bash and wait for everything that it started, which holds a pipe open."""
        theirs, low = os.pipe()
        ours = fcntl.fcntl(low, fcntl.F_DUPFD, 200)  # out of the way of the descriptors that texts open and close
        os.close(low)
        user = {"user": USER, "group": USER, "extra_groups": []} if _user() else {}
        process = subprocess.Popen(
            [str(self.bin / "bash"), "--norc", "--noprofile", "-c", text],
            cwd=self.work,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[ours],
            start_new_session=True,
            preexec_fn=_limits,  # noqa: PLW1509 -- one thread
            **user,
        )
        os.close(ours)
        complete = _closed(theirs, self.seconds)
        if not complete:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(theirs)
        return complete and process.returncode != -signal.SIGKILL

    def _snapshot(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in self.work.rglob("*"):
            if not path.is_dir():
                state = path.lstat()
                found[str(path.relative_to(self.work))] = (state.st_ino, state.st_size, state.st_mtime_ns)
        return found


def _user() -> int | None:
    return USER if os.getuid() == 0 else None


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    if os.getuid() == 0:  # before the user is changed: its own count, not that of root
        resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))


def _closed(descriptor: int, seconds: float) -> bool:
    """Wait until nobody holds the other end of a pipe."""
    import select  # noqa: PLC0415

    ready, _, _ = select.select([descriptor], [], [], seconds)
    return bool(ready) and os.read(descriptor, 1) == b""


def _events(log: bytes) -> list[Event]:
    fields = log.decode("utf-8", "surrogateescape").split("\0")[:-1]
    events, at = [], 0
    while at < len(fields):
        count = int(fields[at])
        cwd, argv, stdin = fields[at + 1], tuple(fields[at + 2 : at + 3 + count]), fields[at + 3 + count]
        events.append(Event(cwd, argv, stdin))
        at += 4 + count
    return events


# -- the prediction -------------------------------------------------------------------------------------------------


@dataclass
class Predicted:
    """What the analysis expects."""

    runs: list[tuple[str | None, str, list[Arg], str | None]] = field(
        default_factory=list
    )  # directory, name, words, input
    writes: list[tuple[str, Certainty]] = field(default_factory=list)
    anything: bool = False  # it said that it cannot tell what runs
    # A cd is taken to succeed, and so is what stands before && and a cd: after a mistake the kernel lets nothing be
    # written elsewhere. And what programs and the shell say on standard error is not followed into pipes.
    anywhere: bool = False
    any_input: bool = False

    def has_run(self, event: Event) -> bool:
        """Whether a program that ran was expected so."""
        return self.anything or any(self._matches(expected, event) for expected in self.runs)

    def _matches(self, expected: tuple[str | None, str, list[Arg], str | None], event: Event) -> bool:
        cwd, name, args, stdin = expected
        if name.rpartition("/")[2] != event.argv[0] or not (self.anywhere or cwd in {None, event.cwd}):
            return False
        pattern = "".join(_argument(arg) for arg in args)
        if not re.fullmatch(pattern, "".join(arg + "\0" for arg in event.argv[1:]), re.DOTALL):
            return False
        return self.any_input or event.argv[0] != "r0" or _reads(stdin, event.stdin)

    def has_write(self, path: str) -> bool:
        """Whether a file that changed was expected to."""
        if self.anything:
            return True
        if self.anywhere:
            path = os.path.basename(path)
            return any(
                os.path.basename(place) == path or certainty is not Certainty.LITERAL
                for place, certainty in self.writes
            )
        return any(_covers(place, certainty, path) for place, certainty in self.writes)


def predict(text: str, facts: StaticFacts) -> Predicted:
    """Analyse a text and keep each program that is expected to run, not only what it touches."""
    record = Record(Offsets(text))
    found = Predicted(anywhere="cd " in text, any_input="|&" in text or ">&" in text or "&>" in text)

    class Watching(Interpreter):
        def program(self, name: str, args: list[Arg], stdin: str | None, where: Where) -> str:
            if self.record is record:
                found.runs.append((self.state.cwd, name, list(args), stdin))
            return super().program(name, args, stdin, where)

        def writes(self, arg: Arg, where: Where, **options: object) -> bool:
            if self.record is record:
                found.writes.append(self.place(arg))
            return super().writes(arg, where, **options)

    shell = Watching(facts, record, State(facts.cwd))
    shell.read(text)
    shell.ends()
    shell.uncalled()
    found.anything = record.opaque or any(reason.code == "executes-unknown" for reason in record.reasons)
    return found


def _argument(arg: Arg) -> str:
    if arg.pattern:
        return r"(?:[^\x00]*\x00)*?"
    anything = ".*" if arg.many else r"[^\x00]*"
    parts = f"{re.escape(HOLE)}[{marks.OWN}{marks.PART}]"
    text = re.sub(parts, lambda _: r"[^\x00/ \t\n]+", re.escape(arg.text).replace(marks.DEEP, ""))
    text = text.replace(HOLE, anything) + r"\x00"
    if arg.many:  # its known blanks may stand between words
        text = re.sub(r"(?:\\[ \t\n])+", r"[ \\t\\n\\x00]*", text)
    text = re.sub(r"/dev/fd/\d+", r"/dev/fd/\\d+", text)  # which number it gets is bash's affair
    return f"(?:{text})?" if arg.many else text


def _reads(expected: str | None, real: str) -> bool:
    """Whether an input is what was expected, or what another reader has left of it."""
    wanted, real = (expected or "").rstrip("\n"), real.rstrip("\n")
    if HOLE in wanted:
        return True
    return wanted.endswith(real)


def _covers(place: str, certainty: Certainty, path: str) -> bool:
    match certainty:
        case Certainty.LITERAL:
            return place == path
        case Certainty.PATTERN:
            return fnmatch.fnmatchcase(path, place) or place == path
        case _:
            return path.startswith(place.rstrip("/") + "/")


@dataclass(frozen=True)
class Miss:
    """Something that happened and was not predicted."""

    what: str
    text: str


def misses(stage: Stage, text: str) -> tuple[list[Miss], bool]:
    """Run a text and return what was not predicted, and whether the prediction said anything definite."""
    predicted = predict(text, stage.facts())
    ran = stage.run(text)
    if not ran.complete:
        return [], False
    found = [Miss(f"ran {event}", text) for event in ran.events if not predicted.has_run(event)]
    found += [Miss(f"wrote {path}", text) for path in ran.changed if not predicted.has_write(f"{stage.work}/{path}")]
    return found, not predicted.anything
