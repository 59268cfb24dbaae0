"""Database clients: what they are told may leave the database by an escape to the shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule

# psql: \\! and COPY … PROGRAM, sqlite3: .shell and .system, mysql: system and \\!, redis and the others have none.
_ESCAPES = expression(
    r"(?im)^[^\S\n]*(?:\\!|\.(?:shell|system)\b|system\b)\s*(.+)$|\bprogram\s+'((?:[^']|'')+)'|\\(?:!|o\s*\||g\s*\|)\s*(.+)$"
)


def escapes(text: str) -> list[str]:
    """Return the shell commands in a text for a database client."""
    found = [next(group for group in match.groups() if group) for match in _ESCAPES.finditer(text)]
    return [command.replace("''", "'").rstrip("; ") for command in found]


def _database(run: Interpreter, call: Call, rule: Rule) -> str:
    """Work on a database, and run what escapes from it; on standard input too, where that is known."""
    for text in [*(arg.text for arg in call.args if arg.known), call.stdin or ""]:
        for command in escapes(text.removeprefix("-c").removeprefix("-e").removeprefix("--command=")):
            run.execute_text(command, call.where)
    return programs.generic(run, call, replace(rule, handler=""))


# sqlite3: what writes files besides the database, in its own commands and in SQL.
_SENDS = expression(r"(?im:^[^\S\n]*\.(?:output|once|excel|backup|save|clone|log|trace|dbconfig)\b[ \t]*(.*)$)")
_TAKES = expression(r"(?im:^[^\S\n]*\.(?:import|restore)\s+(?:-\S+\s+)*(\S+))")
_OPENS = expression(
    r"(?i:\b(?:attach\s+(?:database\s+)?|vacuum\s+(?:\w+\s+)?into\s+|writefile\s*\(\s*)(?:'((?:[^']|'')*)'|(?=[^'\s])))"
)
_DOES_MORE = expression(
    r"(?im:^[^\S\n]*\.(?:read|open|archive|ar|session|load|system|shell|cd)\b|\b(?:edit|load_extension)\s*\()"
)
_CHANGES = expression(
    r"(?im)\b(?:insert|update|delete|replace|create|drop|alter|vacuum|reindex|analyze|begin|journal_mode)\b"
    r"|^[^\S\n]*\.(?:import|restore|read)\b"
)


def _sqlite(run: Interpreter, call: Call, rule: Rule) -> str:
    """sqlite3: a database is a file, with its journal beside it; its commands write others."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    words = list(parsed.operands)
    texts = [given.value.text for given in parsed.options if given.name == "-cmd" and given.value is not None]
    database = words.pop(0) if words else None
    texts += [word.text for word in words] if words else [_given(run, call)]
    texts = [_READ.sub(lambda found: _from_file(run, call, found), text) for text in texts]
    for text in texts:
        for command in escapes(text):
            run.execute_text(command, call.where)
        _beside(run, call, text)
    if database is not None and database.text not in {":memory:", ""}:
        changes = any(HOLE in text or _CHANGES.search(text) for text in texts)
        _file(run, call, database, reads=parsed.has("-readonly"), changes=changes)
    # Never SAFE, not even with -readonly: ~/.sqliterc is executed first, and its .shell may do anything.
    settings = run.named_place("~/.sqliterc")
    run.looks(settings, call.where)
    if run.facts.kind(settings) != "missing" and not parsed.has("-init"):
        run.writes_place("project", call.where, SEQUENTIAL)
    return programs.settle(run, call, replace(rule, handler="", operands=()), parsed)


_READ = expression(r"(?m)^[ \t]*\.read[ \t]+([\w./-]+)[ \t]*$")


def _given(run: Interpreter, call: Call) -> str:
    """Return what a program reads from its input."""
    text = HOLE if call.stdin is None else call.stdin
    held = sources.text(run, run.fed) if HOLE in text and run.fed is not None else None
    return text if held is None else held


def _from_file(run: Interpreter, call: Call, found: re.Match[str]) -> str:
    path = run.absolute(found.group(1))
    text = None if path is None else sources.text(run, path)
    if text is None:
        return found.group()
    run.reads(Arg(found.group(1), *call.where), call.where)
    return text


def _file(run: Interpreter, call: Call, database: Arg, *, reads: bool, changes: bool) -> None:
    """Note what is done with a database's file, and with what lies beside it while it is changed."""
    text = database.text
    if text.startswith("file:"):
        text, _, query = text.removeprefix("file:").partition("?")
        reads = reads or "mode=ro" in query or "immutable=1" in query
    file = replace(database, text=text)
    run.reads(file, call.where)
    if not reads:
        run.writes(file, call.where)
        if changes:  # -journal, or -wal and -shm
            run.writes(replace(file, text=text + "-*", pattern=True), call.where)


def _beside(run: Interpreter, call: Call, text: str) -> None:
    """Note the other files that a text for sqlite3 works on."""
    if HOLE in text or _DOES_MORE.search(text):
        run.writes_place("cwd", call.where, SEQUENTIAL)
    for arguments in _SENDS.findall(text):
        target = (arguments.split() or ["stdout"])[-1].strip("'\"")
        if target.startswith("|"):
            run.execute_text(arguments.partition("|")[2], call.where)
        elif target not in {"stdout", "off", "stderr"} and not target.startswith("-"):
            run.writes(Arg(target, *call.where), call.where)
    for source in _TAKES.findall(text):
        run.reads(Arg(source.strip("'\""), *call.where), call.where)
    for found in _OPENS.finditer(text):
        if found.group(1) is None:
            run.writes_place("cwd", call.where, SEQUENTIAL)
        elif found.group(1) not in {"", ":memory:"}:
            run.writes(Arg(found.group(1).removeprefix("file:").partition("?")[0], *call.where), call.where)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"database": _database, "sqlite": _sqlite}
