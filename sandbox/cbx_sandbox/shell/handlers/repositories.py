"""Where git writes besides its own repository: clones, working trees, settings, remotes that are directories here."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.handlers import patching, trees
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_REMOTE = expression(r"\[remote \"([^\"\n]+)\"\]((?:\n[ \t]+[^\n]*)*)")
_URL = expression(r"^[^\S\n]*(?:push)?url[^\S\n]*=[^\S\n]*(\S(?:.*\S)?)", re.IGNORECASE | re.MULTILINE)
_ELSEWHERE = expression(r"[a-z][a-z0-9+.-]*::?//|[^/]+:", re.IGNORECASE)
_LOOKS = frozenset("--get --get-all --get-regexp --get-urlmatch -l --list --get-color --get-colorbool".split())


def places(run: Interpreter, call: Call, rule: Rule, words: list[Arg]) -> Rule:
    """Note what a subcommand touches outside the repository that it runs in; return what else its rule says."""
    sub = rule.sub(words[0].text) if words and words[0].known else None
    if sub is None or run.state.remote:
        return rule
    parsed = parse_options(sub, words[1:])
    tree = trees.changed(run, words[0].text, parsed)
    if tree is not None:
        run.looks(run.named_place("git"), call.where, under=True)
        trees.note(run, tree, call.where)
        run.writes_place("git", call.where, SEQUENTIAL)
        return replace(rule, subs={**rule.subs, words[0].text: replace(sub, writes=())})
    _reads(run, call, words[0].text, parsed)
    _touches(run, call, words, parsed)
    return rule


def _touches(run: Interpreter, call: Call, words: list[Arg], parsed: Parsed) -> None:
    match words[0].text:
        case name if name in _CHANGES:
            _changes(run, call, name, parsed)
        case "status" | "diff":  # they refresh the index where they may
            index = posixpath.join(run.named_place("git"), "index")
            if run.facts.kind(index) == "file":
                run.record.leftovers.setdefault(index, call.where)
        case "clone":
            _clone(run, call, parsed)
        case "init":
            _init(run, call, parsed)
        case "push":
            for path in _remotes(run, parsed):
                run.writes(Arg(path, *call.where), call.where, under=True)
        case "fetch" | "pull" | "ls-remote":
            for path in _remotes(run, parsed):
                run.reads(Arg(path, *call.where), call.where, under=True)
        case "config":
            _config(run, call, parsed)
        case "merge-tree" if not _only_prints(parsed):
            _makes_objects(run, call, "git merge-tree writes the trees that it merges")
        case "log" | "show" | "diff-tree" | "whatchanged" | "range-diff" if _merges_again(parsed):
            _makes_objects(run, call, f"git {words[0].text} merges again to compare, and writes that")
        case _:
            pass


_OLD_MERGE = 3  # operands of merge-tree: a base and two branches


def _only_prints(parsed: Parsed) -> bool:
    """Whether merge-tree is asked in its old way: it prints the merge of a base and two branches, and keeps nothing."""
    plain = not parsed.options and not parsed.open and not any(arg.many for arg in parsed.operands)
    return parsed.has("--trivial-merge") or (plain and len(parsed.operands) == _OLD_MERGE)


def _merges_again(parsed: Parsed) -> bool:
    """Whether merges are made once more, into objects that go when it ends."""
    how = parsed.value("--diff-merges")
    return parsed.has("--remerge-diff") or (how is not None and (not how.known or how.text in {"r", "remerge"}))


def _makes_objects(run: Interpreter, call: Call, why: str) -> None:
    run.record.reason("git-objects", why, SEQUENTIAL, call.where)
    run.writes_place("git", call.where, SEQUENTIAL)


# What asks the working tree as well as the repository: whole, or only the paths that its words name.
_TREE = frozenset(
    """status diff add stash commit grep checkout switch reset merge rebase cherry-pick revert pull clean apply am
    submodule bisect diff-files diff-index sparse-checkout bundle gc repack maintenance""".split()
)
_ASKS = {
    "ls-files": ("-m", "-o", "-d", "--modified", "--others", "--deleted"),
    "describe": ("--dirty", "--broken"),
    "update-index": ("--refresh", "--really-refresh", "--again", "-g"),
}
_LOOKS_ONLY = frozenset(
    {
        ("worktree", "list"),
        ("rerere", "status"),
        ("rerere", "diff"),
        ("rerere", "remaining"),
        ("bundle", "verify"),
        ("bundle", "list-heads"),
        ("stash", "list"),
        ("stash", "show"),
    }
)
_NOTHING = frozenset({"clone", "init", "version", "help", "check-ref-format", "stripspace", "column"})
# What changes the working tree only where its words say so.
_CHANGES = frozenset(
    """commit add reset rm mv checkout restore switch stash apply fetch rerere worktree bundle fast-export
    format-patch""".split()
)


def _reads(run: Interpreter, call: Call, name: str, parsed: Parsed) -> None:
    """Note what a subcommand looks at: settings, the repository, and the working tree where it compares with it."""
    if name in _NOTHING:
        return
    run.looks(run.named_place("git"), call.where, under=True)
    committed = parsed.has("--cached", "--staged", "--soft") or (name == "diff" and ".." in _operands(parsed))
    committed = committed or (name, _operands(parsed).partition(" ")[0]) in _LOOKS_ONLY | _LISTED
    if name == "apply" and (names := _patched(run, call, parsed)) is not None:
        for arg in names:
            run.reads(arg, call.where)
        committed = True
    if (name in _TREE and not committed) or parsed.has(*_ASKS.get(name, ())):
        run.looks(run.project(), call.where, under=True)
    for arg in parsed.operands:
        path = run.absolute(arg.text) if arg.known and arg.text not in {"", "."} else None
        if path is not None and run.facts.kind(path) != "missing":
            run.reads(arg, call.where, under=True)


def _operands(parsed: Parsed) -> str:
    """Return the operands as one text."""
    return " ".join(arg.text for arg in parsed.operands)


def _hooked(run: Interpreter) -> bool:
    """Whether the repository has programs of its own run by git, which may do anything to the project."""
    git = run.named_place("git")
    hooks = run.facts.glob(posixpath.join(git, "hooks", "*"))
    settings = run.facts.text(posixpath.join(git, "config"), sources.MAX_BYTES) or ""
    own = run.facts.text(run.named_place("~/.gitconfig"), sources.MAX_BYTES) or ""
    return any(not hook.endswith(".sample") for hook in hooks) or "hookspath" in f"{settings}{own}".lower()


def _changes(run: Interpreter, call: Call, name: str, parsed: Parsed) -> None:
    """Note what is changed by what changes more than the repository only where its words say so."""
    words = parsed.operands
    first = words[0].text if words and words[0].known else ""
    if (name, first) in _LOOKS_ONLY or (name == "apply" and _shows(parsed)):
        return
    git, tree = "git", "project"
    if name in {"commit", "checkout"} and _hooked(run):
        run.writes_place(tree, call.where, SEQUENTIAL)
        return
    paths: list[Arg] = []
    match name:
        case "commit" | "add" | "fetch" | "rerere":
            pass
        case "reset" if parsed.has("--hard", "--merge", "--keep") or parsed.open:
            run.writes_place(tree, call.where, SEQUENTIAL)
        case "rm" if not parsed.has("--cached"):
            paths = words
        case "mv":
            run.dispatch([Arg("mv", *call.where), *words], None, call.where)
        case "restore" if not parsed.has("--staged", "-S") or parsed.has("--worktree", "-W"):
            paths = words
        case "checkout":
            paths = _checked_out(run, call, parsed)
        case "switch" if parsed.has("-c", "-C", "--create", "--force-create") and not words and not parsed.open:
            pass  # a new branch of what is checked out
        case "stash" if first in _STASHES_ONLY:
            pass
        case "apply" if parsed.has("--cached"):
            pass
        case "apply" if (names := _patched(run, call, parsed)) is not None:
            paths = names
        case "switch" | "stash" | "apply":
            run.writes_place(tree, call.where, SEQUENTIAL)
        case "worktree" if first == "add" and len(words) > 1:
            run.writes(words[1], call.where, under=True)
        case "worktree" if first not in {"list", "prune", "lock", "unlock", "repair"}:
            run.writes_place(tree, call.where, SEQUENTIAL)
        case "bundle" if first == "create" and len(words) > 1:
            run.writes(words[1], call.where)
        case "format-patch" if not parsed.has("--stdout"):
            directory = parsed.value("-o", "--output-directory") or Arg(".", *call.where)
            if directory.text == ".":
                run.writes(Arg("*.patch", *call.where, pattern=True), call.where)
            else:
                run.writes(directory, call.where, under=True)
        case _:
            pass
    for arg in paths:
        if arg.text.startswith(":"):
            run.writes_place(tree, call.where, SEQUENTIAL)
        else:
            run.writes(arg, call.where, under=True)
    if name not in {"bundle", "fast-export", "format-patch"} and (name != "apply" or parsed.has(*_STAGES)):
        run.writes_place(git, call.where, SEQUENTIAL)


# What stash does to its list alone, and what apply says instead of doing it.
_LISTED = frozenset({("stash", "drop"), ("stash", "clear"), ("stash", "store"), ("bundle", "create")})
_STASHES_ONLY = frozenset({"drop", "clear", "store", "create", "list", "show"})
_SHOWS = ("--stat", "--numstat", "--summary", "--check")
_STAGES = ("--index", "--cached", "-N", "--intent-to-add", "-3", "--3way")


def _shows(parsed: Parsed) -> bool:
    return parsed.has(*_SHOWS) and not parsed.has("--apply", *_STAGES)


def _patched(run: Interpreter, call: Call, parsed: Parsed) -> list[Arg] | None:
    """Return the files that a patch is applied to: from the working directory, where one is asked for below it."""
    count = parsed.value("-p")
    known = count is None or count.text.isdigit()
    if not known or parsed.open or parsed.has("--directory", "--reject", "-3", "--3way"):
        return None
    names = patching.patched(run, parsed.operands, patching.redirected(run, call), int(count.text) if count else 1)
    return None if names is None else [Arg(name, *call.where) for name in names]


def _checked_out(run: Interpreter, call: Call, parsed: Parsed) -> list[Arg]:
    """Return the paths that are checked out; everything where a branch may be meant."""
    texts = [arg.text for arg in call.args]
    if "--" in texts:
        after = texts[texts.index("--") + 1 :]
        return [arg for arg in parsed.operands if arg.text in after]
    alone = parsed.operands[0] if len(parsed.operands) == 1 else None
    if parsed.has("--ours", "--theirs") and all(arg.known for arg in parsed.operands):
        return parsed.operands  # a side of a conflict: only paths can follow
    if parsed.has("-b", "-B", "--orphan") and not parsed.operands:
        return []
    if alone is not None and alone.known and alone.text != "." and "/" not in alone.text:
        path = run.absolute(alone.text)
        reference = posixpath.join(run.named_place("git"), "refs", "heads", alone.text)
        if path is not None and run.facts.kind(path) != "missing" and run.facts.kind(reference) == "missing":
            return [alone]
    run.writes_place("project", call.where, SEQUENTIAL)
    return []


def _clone(run: Interpreter, call: Call, parsed: Parsed) -> None:
    """Note the directory that a clone goes to: the one that is named, or one called as the source is."""
    if not parsed.operands:
        return
    source = parsed.operands[0]
    local = _local(source.text)
    if local is not None and HOLE not in local:
        run.reads(Arg(local, source.start, source.end), call.where, under=True)
    if len(parsed.operands) > 1:
        target = parsed.operands[1]
    else:
        name = source.text.rstrip("/").removesuffix(".git").rstrip("/").rpartition("/")[2].rpartition(":")[2]
        if not source.known or not name:
            run.writes(Arg(HOLE, source.start, source.end, many=True), call.where)
            return
        target = Arg(name + (".git" if parsed.has("--bare", "--mirror") else ""), source.start, source.end)
    run.writes(target, call.where, under=True)
    separate = parsed.value("--separate-git-dir")
    if separate is not None:
        run.writes(separate, call.where, under=True)


def _init(run: Interpreter, call: Call, parsed: Parsed) -> None:
    if parsed.operands and (parsed.has("--bare") or not parsed.operands[0].known):
        run.writes(parsed.operands[0], call.where, under=True)
    elif parsed.operands:
        made = replace(parsed.operands[0], text=f"{parsed.operands[0].text.rstrip('/')}/.git")
        run.parents(made, call.where)
        run.writes(made, call.where, under=True)
    else:
        run.writes(Arg("." if parsed.has("--bare") else ".git", *call.where), call.where, under=True)


def _config(run: Interpreter, call: Call, parsed: Parsed) -> None:
    """Note the file that a setting goes to, where it is another than the repository's."""
    first = parsed.operands[0].text if parsed.operands else ""
    reads = parsed.has(*_LOOKS) or first in {"get", "list"} or (len(parsed.operands) == 1 and not _unsets(parsed))
    file = parsed.value("-f", "--file")
    if reads:
        if file is not None:
            run.reads(file, call.where)
    elif file is not None:
        run.writes(file, call.where)
    elif parsed.has("--worktree"):
        run.writes_place("git", call.where, SEQUENTIAL)
    else:
        run.writes(Arg(_settings(run, parsed), *call.where), call.where)


def _settings(run: Interpreter, parsed: Parsed) -> str:
    """Return the file of the settings that are meant; the user's is the newer one only where the older is missing."""
    if parsed.has("--system"):
        return "/etc/gitconfig"
    if not parsed.has("--global"):
        return posixpath.join(run.named_place("git"), "config")
    home, newer = run.named_place("~/.gitconfig"), run.named_place("~/.config/git/config")
    return newer if run.facts.kind(home) == "missing" and run.facts.kind(newer) == "file" else home


def _unsets(parsed: Parsed) -> bool:
    return parsed.has("--unset", "--unset-all", "--remove-section", "--rename-section", "-e", "--edit")


def _remotes(run: Interpreter, parsed: Parsed) -> Iterator[str]:
    """Yield the directories on this machine that may be meant by the remote that is named, or by none."""
    named = parsed.operands[0].text if parsed.operands and parsed.operands[0].known else None
    root = run.project()
    if named is not None and ("/" in named or named in {".", ".."}):
        local = _local(named)
        if local is not None:
            yield posixpath.join(run.state.cwd or root, local)
            return
    text = run.facts.text(posixpath.join(root, ".git", "config"), sources.MAX_BYTES)
    for name, body in _REMOTE.findall(text or ""):
        if named is None or name == named:
            for url in _URL.findall(body):
                local = _local(url)
                if local is not None:
                    yield posixpath.normpath(posixpath.join(root, local))


def _local(url: str) -> str | None:
    """Return the path that a URL is, None where it leads to another machine."""
    if url.startswith("file://"):
        return "/" + url.removeprefix("file://").lstrip("/")
    return None if _ELSEWHERE.match(url) else url
