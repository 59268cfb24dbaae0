"""sed, awk and ed: their options, their scripts and the files that they rewrite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import awk, sed, sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule


def _sed(run: Interpreter, call: Call, rule: Rule) -> str:
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    scripts = [given.value for given in parsed.options if given.name in {"-e", "--expression"}]
    files = [given.value for given in parsed.options if given.name in {"-f", "--file"}]
    operands = list(parsed.operands)
    if not scripts and not files and operands:
        scripts = [operands.pop(0)]
    if parsed.open:
        run.record.reason("unknown-option", "an argument of sed may be an option or a script", SEQUENTIAL, call.where)
    sandbox = parsed.has("--sandbox")
    known = [script for script in scripts if script is not None]
    if known and not sandbox:  # sed joins them by newlines, so that one may go on in the next
        sed.look(run, "\n".join(script.text for script in known), run.where(known[0].start, known[-1].end))
    for file in files:
        text = _script_file(run, call, file)
        if text is None:
            run.record.reason("script-file", "a sed script that is not read", SEQUENTIAL, call.where)
        elif not sandbox:
            sed.look(run, text.removeprefix("#n\n"), call.where)
    if any(given.name == "-e" and re.fullmatch(r"-\w*e[A-Za-z]{1,3}", given.arg.text) for given in parsed.options):
        run.record.reason("sed-options", "a script that looks like options", SEQUENTIAL, call.where)
    in_place = [given for given in parsed.options if given.name in {"-i", "-I", "--in-place"}]
    for arg in operands:
        run.reads(arg, call.where)
        if in_place:
            where = run.where(arg.start, arg.end)
            run.writes(arg, where, follow=parsed.has("--follow-symlinks"))  # else a new file takes the link's place
            for given in in_place:
                if given.value is not None and given.value.text:
                    run.writes(backup(arg, given.value), where)
    if in_place and not operands:
        run.record.reason("sed-in-place", "rewrites files in place", SEQUENTIAL, call.where)
        run.writes_place("cwd", call.where, SEQUENTIAL)
    programs.note_cost(run, rule, SAFE)
    return HOLE


def backup(arg: Arg, suffix: Arg) -> Arg:
    """Return where sed -iSUFFIX keeps the old file: an asterisk stands for its name, a slash names a directory."""
    directory, slash, name = arg.text.rpartition("/")
    made = suffix.text.replace("*", name) if "*" in suffix.text else name + suffix.text
    if suffix.text.startswith("/"):
        return Arg(made, arg.start, arg.end, arg.pattern, arg.many)
    return Arg(directory + slash + made, arg.start, arg.end, arg.pattern, arg.many)


def _script_file(run: Interpreter, call: Call, file: Arg | None) -> str | None:
    """Return the text of a script that an option names; None where it is not known."""
    if file is None:
        return None
    run.reads(file, call.where)
    if file.text in {"-", "/dev/stdin"}:
        return call.stdin
    path = run.absolute(file.text) if file.known else None
    return None if path is None else sources.text(run, path)


def _awk(run: Interpreter, call: Call, rule: Rule) -> str:
    if programs.only_help(call, rule) or call.texts() in (["-V"], ["-W", "version"]):
        return HOLE
    parsed = parse_options(rule, call.args, stop=True)
    for given in parsed.options:
        programs.option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    words = parsed.operands + parsed.rest
    if parsed.open and words and words[0].open and len(words) == 1:
        run.record.reason("unknown-option", "what awk executes is not known", DANGEROUS, call.where)
        return HOLE
    texts = [given.value for given in parsed.options if given.name in {"-e", "--source"}]
    files = [given.value for given in parsed.options if given.name in {"-f", "--file", "-E", "--exec"}]
    included = [given.value for given in parsed.options if given.name in {"-i", "--include"}]
    in_place = any(value is not None and value.text == "inplace" for value in included)
    if not texts and not files and words:
        texts = [words.pop(0)]
    for source in texts:
        if source is not None:
            awk.look(run, source.text, run.where(source.start, source.end))
    for file in files:
        text = _script_file(run, call, file)
        if text is None:
            _not_read(run, call)
        else:
            awk.look(run, text, call.where)
    if parsed.has("-l", "--load") or any(value is None or value.text != "inplace" for value in included):
        _not_read(run, call)
    for arg in words:
        if "=" not in arg.text:
            run.reads(arg, call.where)
            if in_place:
                run.writes(arg, run.where(arg.start, arg.end))
    programs.note_cost(run, rule, SAFE)
    return HOLE


_ED_WRITES = expression(r"(?m)^[^a-zA-Z!\n]*(?:w|W|wq)(?:[ \t]+(.+))?$")
_ED_RUNS = expression(r"(?m)^[^a-zA-Z!\n]*(?:[rewWE][ \t]+)?!(.+)$")


def _ed(run: Interpreter, call: Call, rule: Rule) -> str:
    """ed: its commands come from its input, and can name files and programs."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    for arg in parsed.operands:
        run.reads(arg, call.where)
        run.writes(arg, run.where(arg.start, arg.end))
    script = call.stdin
    if script is None or HOLE in script:
        run.record.reason("script-file", "commands of ed that are not known", SEQUENTIAL, call.where)
        run.writes_place("project", call.where, SEQUENTIAL)
        script = ""
    for name in _ED_WRITES.findall(script):
        if name and not name.startswith("!"):
            run.writes(Arg(name, *call.where), call.where)
    for command in _ED_RUNS.findall(script):
        run.execute_text(command, call.where)
    programs.finish(run, call, rule, rule.tier, touched=bool(parsed.operands))
    return HOLE


def _not_read(run: Interpreter, call: Call) -> None:
    run.record.reason("script-file", "an awk program that is not read", SEQUENTIAL, call.where)
    run.writes_place("project", call.where, SEQUENTIAL)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"sed": _sed, "awk": _awk, "ed": _ed}
