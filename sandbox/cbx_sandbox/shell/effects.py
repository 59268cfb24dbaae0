"""What a command is predicted to touch, as plain values."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

FileKind = Literal["file", "dir", "link", "other", "missing"]


def surrogates(text: str) -> str:
    """Return how a text's lone surrogates become bytes: those that stand for bytes as these, others as they are."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "surrogatepass"
    return "surrogateescape"


class Access(StrEnum):
    """What happens to a path."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    APPEND = "append"
    DELETE = "delete"


class Certainty(StrEnum):
    """How exactly a path is known."""

    LITERAL = "literal"  # exactly this path
    PATTERN = "pattern"  # what this glob matches
    UNDER = "under"  # anything at or beneath this directory
    UNKNOWN = "unknown"  # cannot tell; the path is the nearest directory that is known


class HostKind(StrEnum):
    """A part of the host that no overlay can roll back."""

    PROCESS = "process"
    SERVICE = "service"
    KERNEL = "kernel"
    NETWORK = "network"
    DAEMON = "daemon"


class Thing(StrEnum):
    """A thing besides files that commands change and share; it has a name."""

    PACKAGE = "package"  # the manager, a colon, the package
    SERVICE = "service"
    DATABASE = "database"
    PORT = "port"  # that is listened on
    SETTING = "setting"  # of the kernel, or of the system as a whole
    PROCESS = "process"  # by number or by name


class Span(Struct, frozen=True):
    """Byte offsets into the UTF-8 text."""

    start: int
    end: int


class PathEffect(Struct, frozen=True):
    """One path, absolute and resolved, and what happens to it."""

    access: Access
    path: str
    certainty: Certainty
    span: Span | None = None


class HostEffect(Struct, frozen=True):
    """A change to the host itself."""

    kind: HostKind
    text: str
    span: Span | None = None


class SystemEffect(Struct, frozen=True):
    """A thing that is changed, or used where ``changes`` is false; an empty name is one that is not known, or all."""

    thing: Thing
    name: str
    changes: bool = True
    span: Span | None = None


class NetworkEffect(Struct, frozen=True):
    """A connection; ``None`` means that it could not be told."""

    host: str | None
    port: int | None
    span: Span | None = None


class Effects(Struct, frozen=True):
    """Everything that a text is predicted to touch."""

    paths: tuple[PathEffect, ...] = ()
    host: tuple[HostEffect, ...] = ()
    network: tuple[NetworkEffect, ...] = ()
    reads_processes: bool = False
    resources: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    system: tuple[SystemEffect, ...] = ()


class Facts(Protocol):
    """What the analysis may know about the machine; it asks and never looks itself."""

    @property
    def cwd(self) -> str:
        """The working directory, absolute."""

    @property
    def home(self) -> str:
        """The submitter's home directory."""

    @property
    def uid(self) -> int:
        """The submitter's user id."""

    @property
    def path(self) -> tuple[str, ...]:
        """The directories of PATH."""

    @property
    def env(self) -> Mapping[str, str]:
        """The environment that the command will see."""

    def kind(self, path: str) -> FileKind:
        """Say what is at a path, without following a final symlink."""

    def resolve(self, path: str) -> str:
        """Return the real path; a missing tail is kept."""

    def writable(self, path: str) -> bool:
        """Say whether the submitter may write a file, or make and remove entries in a directory."""

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the absolute paths that match an absolute pattern."""

    def project_root(self, directory: str) -> str:
        """Return the nearest ancestor that is a project, else the directory."""

    def which(self, program: str) -> str | None:
        """Return where PATH finds a program."""

    def text(self, path: str, limit: int) -> str | None:
        """Return what a regular file of at most ``limit`` bytes holds; None where that cannot be had."""

    def members(self, path: str) -> tuple[str, ...] | None:
        """Return the relative paths that a tar or zip archive holds; None where that cannot be had."""

    def differing(self, git: str, revisions: tuple[str, ...], through: str = "") -> tuple[str, ...] | None:
        """Return the paths that differ between HEAD and revisions of a repository; None where that cannot be had.

        With ``through`` also those that differ in commits between that revision and HEAD. Directories end in a slash.
        """

    def tracked(self, git: str) -> tuple[str, ...] | None:
        """Return the paths that are in the index of a repository; None where that cannot be had, or there are many."""
