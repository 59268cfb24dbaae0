"""Programs that change files by a patch: which files is read from the patch itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.inner import patches, sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_OTHER_NAMES = ("-V", "--version-control", "-B", "--prefix", "-Y", "--basename-prefix")  # backups of other names


def patched(run: Interpreter, files: Sequence[Arg], stdin: str | None, strip: int | None) -> tuple[str, ...] | None:
    """Return the files that patches are about, which are named or read; None where one of them cannot be told."""
    found: dict[str, None] = {}
    texts = [_text(run, file) for file in files] if files else [stdin]
    for text in texts:
        names = None if text is None else patches.files(text, strip)
        if names is None:
            return None
        found |= dict.fromkeys(names)
    return tuple(found)


def _text(run: Interpreter, file: Arg) -> str | None:
    path = run.absolute(file.text) if file.known and file.text != "-" else None
    return None if path is None else sources.text(run, path)


def redirected(run: Interpreter, call: Call) -> str | None:
    """Return what a program's input holds, read from the file where it comes straight from one."""
    if call.stdin is None or HOLE not in call.stdin:
        return call.stdin
    return None if run.fed is None else sources.text(run, run.fed)


def _patch(run: Interpreter, call: Call, rule: Rule) -> str:
    """patch: one file that is named, or those that the patch names; -d goes to a directory before all else."""
    parsed = parse_options(rule, call.args)
    cwd, directory = run.state.cwd, parsed.value("-d", "--directory")
    if directory is not None:
        run.state.cwd = run.absolute(directory.text) if directory.known else None
    output = _patches(run, call, rule, parsed)
    run.state.cwd = cwd
    return output


def _patches(run: Interpreter, call: Call, rule: Rule, parsed: Parsed) -> str:
    plain = replace(rule, handler="", writes=() if parsed.has("--dry-run") else rule.writes)
    targets = _targets(run, call, parsed)
    if targets is None or parsed.open or parsed.has(*_OTHER_NAMES) or programs.only_help(call, rule):
        return programs.generic(run, call, plain)
    given = parsed.value("-i", "--input")
    for arg in parsed.operands[1:2] if given is None else [given]:
        run.reads(arg, call.where)
    if not parsed.has("--dry-run"):
        for target in targets:
            run.reads(target, call.where)
            if parsed.has("-o", "--output"):
                continue
            run.writes(target, call.where)
            if parsed.has("-b", "--backup", "-z", "--suffix"):
                ending = parsed.value("-z", "--suffix")
                run.writes(replace(target, text=target.text + (ending.text if ending else ".orig")), call.where)
    for option in parsed.options:
        programs.option_effects(run, call, rule, option)
    programs.finish(run, call, replace(plain, writes=()), rule.tier, touched=True)
    return HOLE


def _targets(run: Interpreter, call: Call, parsed: Parsed) -> list[Arg] | None:
    """Return the files that are changed; None where that is not known."""
    if parsed.operands:
        return parsed.operands[:1] if parsed.operands[0].known else None
    given = parsed.value("-i", "--input")
    count = parsed.value("-p", "--strip")
    if count is not None and not count.text.isdigit():
        return None
    strip = int(count.text) if count is not None else None
    paths = patched(run, [given] if given else [], redirected(run, call), strip)
    if paths is None:
        return None
    if strip is None:  # of the two names that it may choose, the whole one where that is there
        there = tuple(path for path in paths if (place := run.absolute(path)) and run.facts.kind(place) != "missing")
        paths = there or paths
    return [Arg(path, *call.where) for path in paths]


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"patch": _patch}
