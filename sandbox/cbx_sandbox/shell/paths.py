"""From a word to the path that it means, and what reading or writing there amounts to."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.checks import places
from cbx_sandbox.shell.effects import Access, Certainty, HostKind, Thing
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL, Tier
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.effects import Facts
    from cbx_sandbox.shell.state import Record, State, Where

_GLOB = expression(r"[*?]|\[[^/\[]*\]")
# What stands in a text for names that come from elsewhere (see handlers.wrappers.names_into).
_STANDS_FOR_NAME = expression(r"(?:(?<=[^/])\./)?cbx-name")
_HARMLESS_DEVICE = expression(
    r"/dev/(?:null|zero|full|random|urandom|tty|stdin|stdout|stderr|ptmx|fd/\d+|pts/\d+)$|/proc/(?:self|thread-self|\d+)/fd/\d+$"
)
_DESCRIPTOR = expression(r"(?:/dev/fd|/proc/(?:self|thread-self)/fd)/(\d+)$")
_SOCKET = expression(r"/dev/(?:tcp|udp)/([^/]+)/([^/]+)$")
# Directories whose loss, or whose change as a whole, is the loss of the system or of somebody's work.
_VITAL = expression(
    r"^/(?:bin|boot|dev|etc|home|lib|lib32|lib64|opt|proc|root|run|sbin|srv|sys|usr|var|media|mnt|private)?(?:/[^/]+)?$"
)
_SYSTEM = ("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/var/lib", "/var/spool", "/root")
_MANY = 16  # directories that a pattern matches are named one by one


def is_socket(path: str) -> bool:
    """Whether a path is a connection that the shell opens when it is redirected there."""
    return _SOCKET.match(path) is not None


def _extent(path: str, certainty: Certainty) -> tuple[str, bool]:
    """Return a path, or the directory of a pattern, and whether all beneath it is meant."""
    if certainty is Certainty.PATTERN and path.rpartition("/")[2].startswith(("*", "?")) and not path.endswith(".pub"):
        return path.rpartition("/")[0], True
    return path, certainty is Certainty.UNDER


class Paths:
    """What touching a path means; the interpreter is one."""

    def __init__(self, facts: Facts, record: Record, state: State) -> None:
        self.facts = facts
        self.record = record
        self.state = state

    # -- names --------------------------------------------------------------------------------------------------

    def absolute(self, text: str) -> str | None:
        """Return the absolute path of a known text, None where the working directory is not known."""
        if text.startswith("/"):
            return posixpath.normpath("/" + text.lstrip("/"))
        if self.state.cwd is None:
            return None
        return posixpath.normpath(posixpath.join(self.state.cwd, text))

    def project(self) -> str:
        """Return the project that the working directory belongs to."""
        directory = self.state.cwd or self.facts.cwd
        root = self.facts.project_root(directory)
        while directory != root and directory != "/":  # this text may have made a repository in it
            made = self.record.paths.get((Access.WRITE, f"{directory}/.git"))
            if made is not None and made.certainty is Certainty.UNDER:
                return directory
            directory = posixpath.dirname(directory)
        return root

    def inside_project(self, path: str) -> bool:
        """Whether a path lies in the project."""
        root = self.project()
        return path == root or path.startswith(root.rstrip("/") + "/")

    def place(self, arg: Arg, *, follow: bool = True) -> tuple[str, Certainty]:
        """Return the path of a word and how exactly it is known; a last link is followed unless it is itself meant."""
        text = _STANDS_FOR_NAME.sub(HOLE, arg.text)
        matched = None if HOLE not in text or _GLOB.search(text) else marks.pattern(text)
        if arg.many and marks.DEEP in text:
            matched = None  # what is found may have blanks in its name
        if matched is not None and (path := self.absolute(matched)) is not None:
            return self.real_pattern(path), Certainty.PATTERN
        if HOLE in text or arg.many:
            known = text.split(HOLE, 1)[0] if HOLE in text else text
            directory = known.rpartition("/")[0]
            base = self.absolute(directory or "/") if known.startswith("/") else self.absolute(directory)
            if known == "" or base is None:
                return self.project(), Certainty.UNKNOWN
            return self.facts.resolve(base), Certainty.UNKNOWN
        path = self.absolute(text)
        if path is None:
            return self.project(), Certainty.UNKNOWN
        if arg.pattern or _GLOB.search(text):
            return self.real_pattern(path), Certainty.PATTERN
        return self.real(path, follow=follow), Certainty.LITERAL

    def real(self, path: str, *, follow: bool) -> str:
        """Return an absolute path with its links followed, the last one only where that is asked for."""
        if follow or path == "/":
            return self.facts.resolve(path)
        directory, _, name = path.rpartition("/")
        return posixpath.join(self.facts.resolve(directory or "/"), name)

    def real_pattern(self, pattern: str) -> str:
        """Return an absolute pattern with the links followed in what stands before its first wildcard."""
        found = _GLOB.search(pattern)
        fixed, slash, rest = pattern[: found.start() if found else len(pattern)].rpartition("/")
        real = self.facts.resolve(fixed or "/")
        if real == (fixed or "/") or _GLOB.search(real):
            return pattern
        return real.rstrip("/") + slash + rest + pattern[len(fixed + slash + rest) :]

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at an absolute path, or this text has made one."""
        return self.facts.kind(self.facts.resolve(path)) == "dir" or self.makes_directory(path)

    def exists(self, path: str) -> bool:
        """Whether there is something at an absolute path, or this text has written there."""
        if self.facts.kind(path) != "missing":
            return True
        inside = path.rstrip("/") + "/"
        return any(
            effect.access is not Access.READ
            and (effect.path == path or effect.path.startswith(inside) or effect.certainty is not Certainty.LITERAL)
            for effect in self.record.paths.values()
        )

    def makes_directory(self, path: str) -> bool:
        """Whether this text has made a directory at an absolute path."""
        return (Access.CREATE, path) in self.record.paths and path not in self.state.files

    # -- reading ------------------------------------------------------------------------------------------------

    def reads(self, arg: Arg, where: Where, *, under: bool = False) -> None:
        """Note that a path is read."""
        if self.state.remote or arg.text in {"-", ""}:
            return
        path, certainty = self.place(arg)
        if certainty is Certainty.UNKNOWN and arg.text.startswith(HOLE):
            self.record.path(
                Access.READ, path, certainty, where
            )  # anything: what the project holds is meant most often
            return
        if _HARMLESS_DEVICE.match(path) or _SOCKET.match(arg.text):
            return
        if certainty is Certainty.LITERAL and (under or self.facts.kind(path) == "dir"):
            certainty = Certainty.UNDER
        self.record.path(Access.READ, path, certainty, where)
        named = self.absolute(arg.text) if arg.known else None
        if named is not None and named != path:  # the link that leads there
            self.record.path(Access.READ, named, Certainty.LITERAL, where)
        if under and certainty is Certainty.PATTERN:
            self._beneath(Access.READ, path, where)
        if not self.record.trail.looking:
            self._look_at_read(arg, path, certainty, where)

    def _beneath(self, access: Access, pattern: str, where: Where) -> None:
        """Note what lies in the directories that a pattern matches, for what goes into them."""
        directories = [path for path in self.facts.glob(pattern) if self.facts.kind(self.facts.resolve(path)) == "dir"]
        if len(directories) > _MANY:
            fixed = pattern[: min(found.start() for found in _GLOB.finditer(pattern))].rpartition("/")[0]
            directories = [fixed or "/"]
        for path in directories:
            self.record.path(access, self.facts.resolve(path), Certainty.UNDER, where)

    def parents(self, arg: Arg, where: Where) -> None:
        """Note the directories above a path that have to be made first."""
        path = self.absolute(arg.text)
        missing: list[str] = []
        while path is not None and path != "/":
            path = posixpath.dirname(path)
            if self.facts.kind(self.facts.resolve(path)) != "missing":
                break
            missing.append(path)
        for above in reversed(missing):
            self.writes(Arg(above, arg.start, arg.end), where, access=Access.CREATE)

    def looks(self, path: str | None, where: Where, *, under: bool = False) -> None:
        """Note that a program asks whether something is there, or with ``under`` what is in all of it."""
        if path is not None and not self.state.remote:
            real = self.facts.resolve(path)
            self.record.path(Access.READ, real, Certainty.UNDER if under else Certainty.LITERAL, where)
            if real != path and not under:
                self.record.path(Access.READ, path, Certainty.LITERAL, where)

    def lists(self, path: str | None, where: Where) -> None:
        """Note that the names in a directory are read."""
        if path is not None and not self.state.remote:
            self.looks(path, where)
            real = self.facts.resolve(path)
            self.record.path(Access.READ, posixpath.join(real, "*"), Certainty.PATTERN, where)

    def matched(self, arg: Arg, where: Where) -> None:
        """Note that the shell looks for the names that a pattern means."""
        path = self.absolute(arg.text) if arg.pattern and HOLE not in arg.text else None
        if path is not None and not self.state.remote:
            self.record.path(Access.READ, path, Certainty.PATTERN, where)

    def _look_at_read(self, arg: Arg, path: str, certainty: Certainty, where: Where) -> None:
        named = self.absolute(arg.text) or path
        known = marks.of(self.state.files.get(named))
        for name in dict.fromkeys((path, named)):
            place, whole = _extent(name, certainty)
            mark, found = places.read(place, whole=whole)
            if mark:
                known |= {mark}
            if found is not None:
                self.record.found(found, where, name)
                break
        self.record.trail.reads(known)
        climbs = places.traversal(arg.text, path, writes=False)
        if climbs is not None:
            self.record.found(climbs, where, path)

    def content(self, arg: Arg, where: Where) -> str:
        """Return what can be read from a path, as far as this text has written it."""
        found = _SOCKET.match(arg.text)
        if found:
            self.socket(found.group(1), found.group(2), where)
            return HOLE + marks.NETWORK
        descriptor = _DESCRIPTOR.match(arg.text)
        if descriptor:
            return self.state.descriptors.get(descriptor.group(1)) or HOLE
        self.reads(arg, where)
        path = self.absolute(arg.text) or ""
        mark, _ = places.read(path, whole=False)
        return marks.add(self.state.files.get(path, HOLE), frozenset(mark))

    def socket(self, host: str, port: str, where: Where) -> None:
        """Note a connection that the shell itself opens."""
        self.record.connection(None if HOLE in host else host, int(port) if port.isdigit() else None, where)
        self.record.reason("shell-socket", "the shell itself opens a connection", SEQUENTIAL, where)

    # -- writing ------------------------------------------------------------------------------------------------

    def redirected(self, arg: Arg, where: Where, *, append: bool) -> str | None:
        """Write the output of a command to a path; return it unless nothing is written."""
        access = Access.APPEND if append else Access.WRITE
        if not append and HOLE not in arg.text and self._missing(arg):
            access = Access.CREATE
        if not self.writes(arg, where, access=access):
            return None
        return self.absolute(arg.text) or arg.text

    def _missing(self, arg: Arg) -> bool:
        path = self.absolute(arg.text)
        return path is not None and not _GLOB.search(arg.text) and self.facts.kind(path) == "missing"

    def writes(
        self,
        arg: Arg,
        where: Where,
        *,
        access: Access = Access.WRITE,
        under: bool = False,
        follow: bool = True,
        tier: Tier = SEQUENTIAL,
    ) -> bool:
        """Note that a path is changed; False where that changes nothing. What is deleted is never what a link names."""
        if arg.text == "" and not arg.many:
            return False
        found = _SOCKET.match(arg.text)
        if found:
            self.socket(found.group(1), found.group(2), where)
            return True
        path, certainty = self.place(arg, follow=follow and access is not Access.DELETE)
        if certainty is Certainty.LITERAL and (_HARMLESS_DEVICE.match(path) or _HARMLESS_DEVICE.match(arg.text)):
            return False
        if HOLE in (text := _STANDS_FOR_NAME.sub(HOLE, arg.text)):
            self._anywhere(text.partition(HOLE)[0], where)
        if self.state.remote:
            if arg.text.startswith("/"):
                self._dangers(posixpath.normpath(arg.text), access, where)
            self.record.reason("writes-remote", f"writes {arg.text} elsewhere", SEQUENTIAL, where)
            return True
        if under and certainty is Certainty.LITERAL:
            certainty = Certainty.UNDER
        self.record.path(access, path, certainty, where)
        if under and certainty is Certainty.PATTERN and access is not Access.DELETE:
            self._beneath(access, path, where)
        if self.state.left is not None and not arg.text.startswith("/"):
            cwd, self.state.cwd = self.state.cwd, self.state.left
            other, certainty_there = self.place(arg, follow=follow and access is not Access.DELETE)
            self.record.path(access, other, certainty_there, where)
            self.state.cwd = cwd
        verb = {Access.DELETE: "deletes", Access.APPEND: "appends to", Access.CREATE: "creates"}.get(access, "writes")
        self.record.reason("writes", f"{verb} {arg.text}", tier, where)
        if certainty is not Certainty.UNDER or self.facts.kind(path) != "dir":
            self.record.trail.writes(path)
        self._dangers(path, access, where)
        named = self.absolute(arg.text)
        if named is not None and named != path:
            self._dangers(named, access, where)
        climbs = places.traversal(arg.text, path, writes=True)
        if climbs is not None:
            self.record.found(climbs, where, path)
        return True

    def _anywhere(self, known: str, where: Where) -> None:
        """Look at what is changed where only the beginning of its path is known: it may be any part of the system."""
        directory = posixpath.normpath(known.rpartition("/")[0] or "/") if known.startswith("/") else ""
        if directory in {"/", "/dev", *_SYSTEM} and not self.inside_project(directory):
            self.record.reason("writes-system", f"changes what cannot be told in {directory}", DANGEROUS, where)

    def _dangers(self, path: str, access: Access, where: Where) -> None:
        """Look at a path that is changed."""
        if path.startswith(("/proc/", "/sys/")):
            if not self.state.remote:
                self.record.host_effect(HostKind.KERNEL, f"writes {path}", where)
            if path.startswith("/proc/sys/") and not self.state.remote:
                self.record.thing(Thing.SETTING, path[len("/proc/sys/") :].replace("/", "."), where)
            self.record.reason("writes-kernel", f"changes the kernel through {path}", DANGEROUS, where)
        found = places.written(path, access)
        if found is not None:
            self.record.found(found, where, path)

    def vital(self, path: str) -> bool:
        """Whether losing a path is losing the system or somebody's work."""
        if path in {self.facts.home, self.project()} or _VITAL.match(path):
            return True
        return path.startswith(tuple(prefix + "/" for prefix in _SYSTEM)) or "/.git/" in path + "/"

    def of_system(self, path: str) -> bool:
        """Whether a path belongs to the system or is somebody's home: what changes as a whole there is not one file."""
        if path in {"/", self.facts.home, "/home", "/var", "/opt", "/srv", "/dev", *_SYSTEM}:
            return True
        return path.startswith(tuple(prefix + "/" for prefix in _SYSTEM))

    def writes_place(self, place: str, where: Where, tier: Tier) -> None:
        """Write beneath a place that a rule names."""
        if self.state.remote:
            return
        path = self.named_place(place)
        self.record.path(Access.WRITE, path, Certainty.UNDER, where)
        self.record.reason("writes", f"writes beneath {path}", tier, where)

    def named_place(self, place: str) -> str:
        """Return the directory that a rule's word means."""
        if place == "project":
            return self.project()
        if place == "cwd":
            return self.state.cwd or self.facts.cwd
        if place == "git":
            return posixpath.join(self.project(), ".git")
        if place.startswith("~"):
            return posixpath.normpath(self.facts.home + place[1:])
        return place
