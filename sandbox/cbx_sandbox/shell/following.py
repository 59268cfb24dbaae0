"""A shell that follows what its programs read, print and save, for the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks, things
from cbx_sandbox.shell.checks import catalogue, places
from cbx_sandbox.shell.checks.follow import EACH
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.walk import Walker
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call

_REMOTE = expression(r"[\w.@+-]+:")  # a place on another machine, a URL


class Follower(Walker):
    """A shell as far as the checks are concerned; the interpreter runs the programs."""

    def followed(self, call: Call, action: Callable[[], str]) -> str:
        """Run a program by the action, look at it, and mark what it prints and saves."""
        trail, name, texts, where = self.record.trail, call.name, call.texts(), call.where
        trail.look(name, texts, call.stdin, where, self._scripts(call))
        if self._many(call):
            trail.many(name, texts, call.stdin, where)
        if not self.state.remote:
            for thing, called, changes in things.named(name, texts):
                self.record.thing(thing, called, where, changes=changes)
        step = trail.begin(name, texts, call.stdin)
        if name in catalogue.words("upload"):
            trail.reads(self._uploads(name, texts))
        output = action()
        passed = trail.end(step, where) | trail.source(name, texts, call.stdin)
        saved = passed & marks.PASSED_ON
        if saved:
            for path in step.written:
                self.state.files[path] = marks.add(self.state.files.get(path, HOLE), saved)
        return marks.add(output, passed)

    def _scripts(self, call: Call) -> list[str]:
        """Return what the files hold that the words name and this text has written."""
        if not self.state.files:
            return []
        paths = (self.absolute(arg.text) for arg in call.args if arg.known)
        return [self.state.files[path] for path in paths if path in self.state.files]

    def _many(self, call: Call) -> bool:
        """Whether a command is run for many files, or on many."""
        running = {step.name for step in self.record.trail.steps} | {call.name}
        return self.loops > 0 or bool(running & EACH) or any(arg.many or arg.pattern for arg in call.args)

    def _uploads(self, name: str, texts: list[str]) -> frozenset[str]:
        """Return the marks of the files that a program sends because its words name them."""
        found = frozenset[str]()
        identity = str(catalogue.tables("flow")["identity"].get(name, "")).split()
        for before, text in zip(["", *texts], texts, strict=False):
            if before in identity or _REMOTE.match(text):
                continue
            for part in {text, text.rpartition("@")[2], text.rpartition("=")[2], text.rpartition("<")[2]}:
                path = self.absolute(part.replace("~", self.facts.home, 1) if part.startswith("~") else part)
                if path is not None and HOLE not in path and " " not in part:  # with blanks it is talk
                    found |= {places.read(path, whole=True)[0]} - {""} | marks.of(self.state.files.get(path))
        return found
