"""What the interpreter carries: the shell's state along the text, and the record of what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.checks import Check
from cbx_sandbox.shell.checks.follow import Trail
from cbx_sandbox.shell.effects import (
    Access,
    Certainty,
    Effects,
    HostEffect,
    HostKind,
    NetworkEffect,
    PathEffect,
    Span,
    SystemEffect,
    Thing,
    surrogates,
)
from cbx_sandbox.shell.tiers import SAFE, SEQUENTIAL, Reason, Tier
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Container

    from cbx_sandbox.shell.checks import Finding
    from cbx_sandbox.shell.estimate import Estimate
    from cbx_sandbox.shell.syntax import Function

Where = tuple[int, int]  # character offsets into the text that was handed in
MAX_REASONS = 200
ZEROTH = "0"  # among the variables where it is known: no other has such a name


class State(Struct):
    """The shell at one point of the text."""

    cwd: str | None
    variables: dict[str, str | None] = field(default_factory=dict)  # None: known to be unset
    arrays: dict[str, list[str] | None] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    positional: list[str] | None = None
    files: dict[str, str] = field(default_factory=dict)  # what this text has written: path to content
    descriptors: dict[str, str | None] = field(default_factory=dict)  # number to what can be read from it
    local: frozenset[str] = frozenset()  # variables that end with the function that is being run
    stack: tuple[str | None, ...] = ()  # directories that pushd left
    unsure: frozenset[str] = frozenset()  # functions that may or may not be defined, or not so
    path_changed: bool = False
    remote: bool = False  # on another host or in another root: paths here are not meant
    script: bool = False  # within a file that is executed
    running: frozenset[str] = frozenset()  # the files that are being executed
    prefixes: tuple[str, ...] = ()  # directories that are looked into before those of PATH
    exported: frozenset[str] = frozenset()  # variables set here that programs see; "*" for all
    traps: tuple[tuple[str, Where], ...] = ()  # texts that run when this shell ends, or when a signal comes
    left: str | None = None  # where a cd came from whose directory may not be there: this may still be the place

    def copy(self) -> State:
        """Return the state that a subshell begins with."""
        return State(
            self.cwd,
            dict(self.variables),
            dict(self.arrays),
            dict(self.functions),
            dict(self.aliases),
            self.positional,
            dict(self.files),
            dict(self.descriptors),
            self.local,
            self.stack,
            self.unsure,
            self.path_changed,
            self.remote,
            self.script,
            self.running,
            self.prefixes,
            self.exported,
            self.traps,
            self.left,
        )

    def child(self, environment: Container[str]) -> State:
        """Return the state that a new process begins with: it has files and directory, but only exported variables."""
        state = self.copy()
        if "*" not in self.exported:
            state.variables = {
                name: value for name, value in self.variables.items() if name in self.exported or name in environment
            }
        state.variables.pop(ZEROTH, None)
        state.arrays, state.functions, state.aliases, state.traps = {}, {}, {}, ()
        return state

    def take(self, other: State) -> None:
        """Become the other state."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))

    def blend(self, other: State, *, keep_cwd: bool = False) -> None:
        """Join with what would be if this part had not run: where they differ, nothing is known."""
        for name in self.variables.keys() | other.variables.keys():
            one, two = self.variables.get(name, HOLE), other.variables.get(name, HOLE)
            if one != two:
                named = one is not None and two is not None and marks.part(one) and marks.part(two)
                self.variables[name] = HOLE + marks.PART if named else HOLE
        for name in self.arrays.keys() | other.arrays.keys():
            if self.arrays.get(name) != other.arrays.get(name):
                self.arrays[name] = None
        for name, content in other.files.items():
            if self.files.get(name) != content:
                self.files[name] = HOLE
        for name in self.functions.keys() | other.functions.keys():
            if self.functions.get(name) is not other.functions.get(name):
                self.unsure |= {name}
                self.functions.setdefault(name, other.functions.get(name) or self.functions[name])
        if self.positional != other.positional:
            self.positional = None
        if not keep_cwd and self.cwd != other.cwd:
            self.cwd = None
        self.local |= other.local
        if self.stack != other.stack:
            self.stack = ()
        self.path_changed = self.path_changed or other.path_changed
        self.exported |= other.exported
        self.traps = tuple(dict.fromkeys((*self.traps, *other.traps)))


class Record(Struct, dict=True):
    """Everything that was found."""

    offsets: Offsets
    reasons: list[Reason] = field(default_factory=list)
    paths: dict[tuple[Access, str], PathEffect] = field(default_factory=dict)
    host: list[HostEffect] = field(default_factory=list)
    network: list[NetworkEffect] = field(default_factory=list)
    reads_processes: bool = False
    resources: dict[str, None] = field(default_factory=dict)
    caches: dict[str, None] = field(default_factory=dict)
    system: list[SystemEffect] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    programs: dict[str, None] = field(default_factory=dict)
    sources: dict[str, None] = field(default_factory=dict)  # files whose text was looked at
    leftovers: dict[str, Where] = field(default_factory=dict)  # directories written by the way, where that is allowed
    unknown: dict[str, None] = field(default_factory=dict)  # programs without a rule
    calls: dict[str, None] = field(default_factory=dict)  # the forms of the calls
    estimates: list[Estimate] = field(default_factory=list)
    benign: set[int] = field(default_factory=lambda: {0})
    references: dict[str, set[str]] = field(default_factory=dict)  # of declare -n: the variables that a name may set
    integers: set[str] = field(default_factory=set)
    evaluated: set[str] = field(default_factory=set)  # integers and references: what they get is arithmetic
    opaque: bool = False
    placed: bool = True  # all that is at least sequential says where it writes, or that it does not
    tier: Tier = SAFE

    def __post_init__(self) -> None:
        self.trail = Trail(self)

    def found(self, found: Finding, where: Where, about: str = "") -> None:
        """Add what a check found."""
        text = marks.shown(f"{found.text}: {about}" if about else found.text)
        check = Check(found.code, found.verdict, text, self.offsets.span(where))
        if len(self.checks) < MAX_REASONS and check not in self.checks:
            self.checks.append(check)
        self.reason(found.code, text, found.tier, where)

    def reason(self, code: str, text: str, tier: Tier, where: Where, *, placed: bool = False) -> None:
        """Say why the text is at least in a tier; ``placed`` where it changes no path but those that are noted."""
        self.adopt(Reason(code, marks.shown(text), tier, self.offsets.span(where)), placed=placed)

    def adopt(self, reason: Reason, *, placed: bool = False) -> None:
        """Add a reason that was found elsewhere."""
        if reason.tier.rank >= SEQUENTIAL.rank and not placed:
            self.placed = False
        if reason.tier.rank > self.tier.rank:
            self.tier = reason.tier
        if len(self.reasons) < MAX_REASONS and reason not in self.reasons:
            self.reasons.append(reason)

    def path(self, access: Access, path: str, certainty: Certainty, where: Where) -> None:
        """Add a path."""
        key = (access, path)
        known = self.paths.get(key)
        if known is None or _breadth(certainty) > _breadth(known.certainty):
            self.paths[key] = PathEffect(access, path, certainty, self.offsets.span(where))

    def host_effect(self, kind: HostKind, text: str, where: Where) -> None:
        """Add an effect on the host."""
        effect = HostEffect(kind, marks.shown(text), self.offsets.span(where))
        if effect not in self.host:
            self.host.append(effect)

    def thing(self, thing: Thing, name: str, where: Where, *, changes: bool = True) -> None:
        """Add a thing that is changed or used."""
        known = "" if HOLE in name else name
        effect = SystemEffect(thing, known, changes, self.offsets.span(where))
        if effect not in self.system and len(self.system) < MAX_REASONS:
            self.system.append(effect)

    def connection(self, host: str | None, port: int | None, where: Where) -> None:
        """Add a connection."""
        self.trail.connects(host, where)
        effect = NetworkEffect(host, port, self.offsets.span(where))
        if effect not in self.network and len(self.network) < MAX_REASONS:
            self.network.append(effect)

    def effects(self) -> Effects:
        """Return what was found as a value."""
        return Effects(
            paths=tuple(self.paths.values()),
            host=tuple(self.host),
            network=tuple(self.network),
            reads_processes=self.reads_processes,
            resources=tuple(self.resources),
            caches=tuple(self.caches),
            system=tuple(self.system),
        )


def _breadth(certainty: Certainty) -> int:
    return (Certainty.LITERAL, Certainty.PATTERN, Certainty.UNDER, Certainty.UNKNOWN).index(certainty)


class Offsets:
    """Character positions to byte positions of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._errors = "strict" if self._ascii else surrogates(text)

    def span(self, where: Where) -> Span | None:
        """Return the bytes of a range; none for a range that is not in the text."""
        start, end = where
        if start < 0:
            return None
        if self._ascii:
            return Span(start, end)
        before = len(self._text[:start].encode("utf-8", self._errors))
        return Span(before, before + len(self._text[start:end].encode("utf-8", self._errors)))
