"""What the analysis may know about this machine, looked up with bounded work and remembered for one analysis."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from msgspec import Struct, field

from cbx_sandbox.linux import credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cbx_sandbox.shell.effects import FileKind

GLOB_LIMIT = 10_000  # directory entries looked at for one pattern
DEEPEST = 64  # directories above a path that are remembered for others
MARKERS = (
    ".git",
    ".hg",
    ".cbx.toml",
    "pyproject.toml",
    "package.json",
    "Cargo.toml",
    "go.mod",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "CMakeLists.txt",
    "Makefile",
    ".cbx-rules.toml",
)


class Answers:
    """What was asked of the file system, with one user's rights. What files hold is not kept here: it may be much."""

    def __init__(self) -> None:
        self.kinds: dict[str, FileKind] = {}
        self.resolved: dict[str, str] = {}
        self.roots: dict[tuple[str, str], str] = {}
        self.globs: dict[str, tuple[str, ...]] = {}
        self.found: dict[tuple[str, tuple[str, ...]], str | None] = {}

    def __len__(self) -> int:
        return len(self.kinds) + len(self.resolved) + len(self.roots) + len(self.globs) + len(self.found)


class HostFacts:
    """The real file system as it is now; answers are remembered, so one instance serves one analysis."""

    def __init__(
        self,
        cwd: str,
        env: Mapping[str, str],
        *,
        home: str | None = None,
        uid: int | None = None,
        answers: Answers | None = None,
    ) -> None:
        """``answers`` are shared with other analyses: what was looked up with the same rights, and recently enough."""
        self.cwd = cwd
        self.env = dict(env)
        self.home = home or self.env.get("HOME", "/")
        self.uid = os.getuid() if uid is None else uid
        self.path = tuple(self.env.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"))
        self._answers = Answers() if answers is None else answers
        self._texts: dict[tuple[str, int], str | None] = {}

    def kind(self, path: str) -> FileKind:
        """Say what is at a path, without following a final symlink."""
        known = self._answers.kinds.get(path)
        if known is None:
            known = self._answers.kinds[path] = _kind(path)
        return known

    def resolve(self, path: str) -> str:
        """Return the real path; a missing tail is kept."""
        known = self._answers.resolved.get(path)
        if known is None:
            known = self._answers.resolved[path] = self._resolve(path)
        return known

    def _resolve(self, path: str) -> str:
        """As realpath(3), but each directory above is looked at once for all that is in it."""
        parent, name = posixpath.split(path)
        if not path.startswith("/") or name in {"", ".", ".."} or parent == "//" or path.count("/") > DEEPEST:
            return _resolve(path)
        above = "/" if parent == "/" else self.resolve(parent)
        real = posixpath.join(above, name)
        return _resolve(path) if self.kind(real) == "link" else real

    def writable(self, path: str) -> bool:
        """Say whether this thread, with the rights that it has now, may write there."""
        return credentials.may_write(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the absolute paths that match an absolute pattern, after a bounded look."""
        known = self._answers.globs.get(pattern)
        if known is None:
            known = self._answers.globs[pattern] = _glob(pattern)
        return known

    def project_root(self, directory: str) -> str:
        """Return the nearest ancestor with .git, else with another marker, else the directory."""
        known = self._answers.roots.get((directory, self.home))
        if known is None:
            known = _project_root(self.resolve(directory), self.home)
            self._answers.roots[directory, self.home] = known
        return known

    def which(self, program: str) -> str | None:
        """Return where PATH finds a program."""
        key = (program, self.path)
        if key not in self._answers.found:
            self._answers.found[key] = _which(program, self.path)
        return self._answers.found[key]

    def text(self, path: str, limit: int) -> str | None:
        """Return what a regular file holds, None where it is none, is not readable, longer or no UTF-8."""
        key = (path, limit)
        if key not in self._texts:
            self._texts[key] = _text(path, limit)
        return self._texts[key]

    def members(self, path: str) -> tuple[str, ...] | None:
        """Return the names that an archive holds, None where that cannot be had."""
        return _members(path)

    def differing(self, git: str, revisions: tuple[str, ...], through: str = "") -> tuple[str, ...] | None:
        """Return the paths that differ between HEAD and other revisions of a repository."""
        from cbx_sandbox import git_trees  # noqa: PLC0415 -- few commands need it

        return git_trees.differing(git, revisions, _opened, through=through)

    def tracked(self, git: str) -> tuple[str, ...] | None:
        """Return the paths in the index of a repository."""
        from cbx_sandbox import git_trees  # noqa: PLC0415 -- few commands need it

        return git_trees.tracked(git, _opened)


class StaticFacts(Struct):
    """Facts from a table: paths that exist, nothing looked up; for tests, simulation and replay."""

    cwd: str = "/work/project"
    home: str = "/home/user"
    uid: int = 1000
    path: tuple[str, ...] = ("/usr/local/bin", "/usr/bin", "/bin")
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileKind] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    archives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trees: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # by repository and revisions
    root: str = "/work/project"
    closed: frozenset[str] = frozenset()  # where the submitter may not write

    def kind(self, path: str) -> FileKind:
        """Say what the table has at a path."""
        return self.files.get(path, "missing")

    def resolve(self, path: str) -> str:
        """Follow the table's links."""
        path = posixpath.normpath(path)
        for link, target in self.links.items():
            if path == link or path.startswith(link + "/"):
                return posixpath.normpath(target + path[len(link) :])
        return path

    def writable(self, path: str) -> bool:
        """Say whether the table leaves a path open."""
        return path not in self.closed

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Match a pattern against the table."""
        return tuple(sorted(name for name in self.files if fnmatch.fnmatchcase(name, pattern)))

    def project_root(self, directory: str) -> str:
        """Return the project if the directory lies in it."""
        inside = directory == self.root or directory.startswith(self.root + "/")
        return self.root if inside else directory

    def which(self, program: str) -> str | None:
        """Pretend that every program is in /usr/bin."""
        return f"/usr/bin/{program}"

    def text(self, path: str, limit: int) -> str | None:
        """Return what the table says that a file holds."""
        text = self.texts.get(path)
        return None if text is None or len(text.encode()) > limit else text

    def members(self, path: str) -> tuple[str, ...] | None:
        """Return what the table says that an archive holds."""
        return self.archives.get(path)

    def differing(self, git: str, revisions: tuple[str, ...], through: str = "") -> tuple[str, ...] | None:
        """Return what the table says of a repository's revisions."""
        return self.trees.get((git, *revisions, through))

    def tracked(self, git: str) -> tuple[str, ...] | None:
        """Return what the table says of a repository's index."""
        return self.trees.get((git,))


def _kind(path: str) -> FileKind:
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return "missing"
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"


def _resolve(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return posixpath.normpath(path)


def _which(program: str, directories: tuple[str, ...]) -> str | None:
    if "\0" in program:
        return None
    for directory in directories:
        path = posixpath.join(directory, program)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def _text(path: str, limit: int) -> str | None:
    try:
        with _opened(path) as file:
            data = file.read(limit + 1)
        return None if len(data) > limit else data.decode("utf-8")
    except (OSError, ValueError):  # UnicodeDecodeError is one
        return None


def _members(path: str) -> tuple[str, ...] | None:
    from cbx_sandbox import archives  # noqa: PLC0415 -- only what unpacks something needs it, and its imports are large

    try:
        with _opened(path) as file:
            return archives.members(file)
    except (OSError, ValueError):
        return None


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """Open a file that anybody may have prepared: opening a FIFO would wait, opening a device may do something."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise ValueError(f"{path} is no regular file")
        with open(f"/proc/self/fd/{place}", "rb") as file:
            yield file
    finally:
        os.close(place)


def _project_root(directory: str, home: str) -> str:
    nearest: str | None = None
    current = directory
    while current not in {"/", home}:
        if _kind(posixpath.join(current, ".git")) != "missing":
            return current
        if nearest is None and any(_kind(posixpath.join(current, name)) != "missing" for name in MARKERS):
            nearest = current
        current = posixpath.dirname(current)
    return nearest or directory


def _glob(pattern: str) -> tuple[str, ...]:
    found = ["/"]
    budget = GLOB_LIMIT
    for part in pattern.strip("/").split("/"):
        if not any(c in part for c in "*?["):
            found = [posixpath.join(base, part) for base in found]
            continue
        grown: list[str] = []
        for base in found:
            names, budget = _listed(base, budget)
            grown += [
                posixpath.join(base, name)
                for name in names
                if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
            ]
        found = grown
    return tuple(sorted(name for name in found if os.path.lexists(name)))


def _listed(directory: str, budget: int) -> tuple[list[str], int]:
    names: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if budget <= 0:
                    break
                budget -= 1
                names.append(entry.name)
    except (OSError, ValueError):
        return [], budget
    return names, budget
