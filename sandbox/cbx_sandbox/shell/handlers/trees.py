"""git: which files of the working tree a change of revision changes, where the repository says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from cbx_sandbox.shell.effects import Access, Certainty
from cbx_sandbox.shell.inner import sources

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.state import Where

_QUIET = frozenset({"-q", "--quiet", "--no-progress", "--progress", "--no-edit"})
_MAKES = frozenset({"-b", "-B", "-c", "-C", "--create", "--force-create"})
_PLAIN = {
    "checkout": _QUIET | _MAKES | {"--detach", "--guess", "--no-guess", "--track", "-t"},
    "switch": _QUIET | _MAKES | {"--detach", "-d", "--guess", "--no-guess", "--track", "-t"},
    "reset": _QUIET | {"--hard"},
    "merge": _QUIET | {"--no-ff", "--ff", "--ff-only", "--squash", "--no-commit", "-m", "--no-stat", "-n"},
    "rebase": _QUIET,
    "cherry-pick": _QUIET | {"-n", "--no-commit", "-x", "-s"},
    "revert": _QUIET | {"-n", "--no-commit", "-s"},
}
# Settings by which git runs programs on the files that it writes, or by the way.
_RUNS = ("[filter", "fsmonitor", "hookspath", "worktree", '[merge "', "autostash", "updaterefs", "sparse")


class Tree(Struct, frozen=True):
    """Paths of the working tree, absolute: what is changed, and what is looked at before that."""

    changes: tuple[str, ...]
    looks: tuple[str, ...]
    conflicts: bool  # whether what cannot be merged may lie beside


def changed(run: Interpreter, name: str, parsed: Parsed) -> Tree | None:
    """Return what a subcommand does to the working tree; None where that cannot be told."""
    plain = _PLAIN.get(name)
    git, words = run.named_place("git"), parsed.operands
    if plain is None or parsed.open or run.state.remote or not all(arg.known for arg in words):
        return None
    if any(given.name not in plain for given in parsed.options) or _has_changed(run, git) or _odd(run, git):
        return None
    merges = name in {"merge", "rebase", "cherry-pick", "revert"}
    if (len(words) != 1 and not (name == "reset" and not words)) or (merges and not words):
        return None
    revision = words[0].text if words else "HEAD"
    revisions = (revision,) if name not in {"cherry-pick", "revert"} else (revision, f"{revision}^")
    differing = run.facts.differing(git, revisions, revision if name == "rebase" else "")
    tracked = run.facts.tracked(git)
    if differing is None or tracked is None or (merges and any(path.endswith("/") for path in differing)):
        return None  # what was renamed as a directory takes along what is new in it
    changes = (*differing, *tracked) if name == "reset" else differing
    base = run.project()
    return Tree(
        changes=tuple(f"{base}/{path}" for path in changes),
        looks=tuple(f"{base}/{path}" for path in (*tracked, *changes)),
        conflicts=merges,
    )


def note(run: Interpreter, tree: Tree, where: Where) -> None:
    """Note what is changed, and what is looked at."""
    for path in dict.fromkeys(tree.looks):
        run.looks(path.rstrip("/"), where)
    for name in (".gitignore", ".gitattributes"):
        run.record.path(Access.READ, f"{run.project()}/**{name}", Certainty.PATTERN, where)
    for path in dict.fromkeys(tree.changes):
        if tree.conflicts and not set(path) & set("*?[("):  # what cannot be merged lies beside it, as path~HEAD
            run.record.path(Access.WRITE, f"{path}*", Certainty.PATTERN, where)
        else:
            run.record.path(Access.WRITE, path.rstrip("/"), Certainty.LITERAL, where)


def _has_changed(run: Interpreter, git: str) -> bool:
    """Whether this text has changed the repository before: then it is not as it was looked at."""
    inside = git + "/"
    return any(
        effect.access is not Access.READ and (effect.path == git or effect.path.startswith(inside))
        for effect in run.record.paths.values()
    ) or sources.changed(run, git)


def _odd(run: Interpreter, git: str) -> bool:
    """Whether something stands in the way: an operation that goes on, programs of the repository's own, settings."""
    begun = ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD", "sequencer", "BISECT_LOG")
    special = ("info/grafts", "refs/replace", "objects/info/alternates", "info/sparse-checkout", "info/attributes")
    if run.facts.kind(git) != "dir" or any(run.facts.kind(f"{git}/{name}") != "missing" for name in (*begun, *special)):
        return True
    texts = (
        f"{git}/config",
        run.named_place("~/.gitconfig"),
        run.named_place("~/.config/git/config"),
        "/etc/gitconfig",
    )
    held = [run.facts.text(path, sources.MAX_BYTES) for path in texts if run.facts.kind(path) != "missing"]
    if any(text is None or any(word in text.lower() for word in _RUNS) for text in held):
        return True
    return any(not hook.endswith(".sample") for hook in run.facts.glob(f"{git}/hooks/*"))
