"""Where git writes besides its own repository: clones, working trees, settings, remotes that are directories here."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_REMOTE = re.compile(r"\[remote \"([^\"\n]+)\"\]((?:\n[ \t]+[^\n]*)*)")
_URL = re.compile(r"^\s*(?:push)?url\s*=\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*::?//|[^/]+:", re.IGNORECASE)
_LOOKS = frozenset("--get --get-all --get-regexp --get-urlmatch -l --list --get-color --get-colorbool".split())


def places(run: Interpreter, call: Call, rule: Rule, words: list[Arg]) -> None:
    """Note what a subcommand touches outside the repository that it runs in."""
    sub = rule.sub(words[0].text) if words and words[0].known else None
    if sub is None or run.state.remote:
        return
    parsed = parse_options(sub, words[1:])
    match words[0].text:
        case "status" | "diff":  # they refresh the index where they may
            index = posixpath.join(run.named_place("git"), "index")
            if run.facts.kind(index) == "file":
                run.record.leftovers.setdefault(index, call.where)
        case "clone":
            _clone(run, call, parsed)
        case "init":
            _init(run, call, parsed)
        case "worktree" if len(parsed.operands) > 1 and parsed.operands[0].text == "add":
            run.writes(parsed.operands[1], call.where, under=True)
        case "push":
            for path in _remotes(run, parsed):
                run.writes(Arg(path, *call.where), call.where, under=True)
        case "fetch" | "pull" | "ls-remote":
            for path in _remotes(run, parsed):
                run.reads(Arg(path, *call.where), call.where, under=True)
        case "config":
            _config(run, call, parsed)
        case _:
            pass


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
        name = re.sub(r"(?:/?\.git)?/*$", "", source.text).rpartition("/")[2].rpartition(":")[2]
        if not source.known or not name:
            run.writes(Arg(HOLE, source.start, source.end, many=True), call.where)
            return
        target = Arg(name + (".git" if parsed.has("--bare", "--mirror") else ""), source.start, source.end)
    run.writes(target, call.where, under=True)
    separate = parsed.value("--separate-git-dir")
    if separate is not None:
        run.writes(separate, call.where, under=True)


def _init(run: Interpreter, call: Call, parsed: Parsed) -> None:
    if parsed.operands:
        run.writes(parsed.operands[0], call.where, under=True)
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
