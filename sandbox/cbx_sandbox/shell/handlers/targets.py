"""Programs that are given a name and execute what a file of the project says it means: just, npm run, tox.

What the file says is looked at beside what the program's own rule says, and can only add to it. Where the file is more
than can be read, that is a program that nothing is known of.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.handlers import project_files
from cbx_sandbox.shell.inner import justfile, packages, scripts, sources, tox
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule


# -- just -----------------------------------------------------------------------------------------------------------


def _just(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = parse_options(rule, call.args, stop=True)
    named = parsed.value("-f", "--justfile")
    names = ("justfile", "Justfile", ".justfile") if named is None else (named.text,)
    looks = parsed.has("-l", "--list", "--summary", "-n", "--dry-run", "--show", "--dump", "--evaluate", "--variables")
    found = None if looks else project_files.found(run, names, up=named is None)
    if found is not None:
        _read_justfile(run, call, found[0], found[1], parsed.operands + parsed.rest)
    return project_files.as_its_rule_says(run, call, rule)


def _read_justfile(run: Interpreter, call: Call, path: str, text: str, words: list[Arg]) -> None:
    key = f"{path} {' '.join(arg.text for arg in words)}"
    if key in run.state.running:
        return
    run.reads(Arg(path, *call.where), call.where)
    with scripts.within(run, key):
        try:
            table = justfile.read(text)
        except justfile.Unreadable as why:
            project_files.beyond(run, call, str(why))
            return
        while words and "=" in words[0].text and words[0].known:
            name, _, value = words[0].text.partition("=")
            table.variables[name] = value
            words = words[1:]
        directory = posixpath.dirname(path)
        name = words[0].text if words else next(iter(table.recipes), "")
        _recipe(run, call, table, name, [arg.text for arg in words[1:]], directory, set())
        for word in words[1:]:
            if word.text in table.recipes:
                _recipe(run, call, table, word.text, [], directory, set())
        for each in table.executes:
            project_files.line(run, call, each, directory)


def _recipe(
    run: Interpreter,
    call: Call,
    table: justfile.Justfile,
    name: str,
    given: list[str],
    directory: str,
    done: set[str],
) -> None:
    recipe = table.recipes.get(table.aliases.get(name, name))
    if recipe is None or name in done:
        if recipe is None:
            project_files.beyond(run, call, f"the recipe {name}")
        return
    done.add(name)
    values = dict(recipe.parameters)
    values.update(zip((parameter for parameter, _ in recipe.parameters), given, strict=False))
    for need in recipe.needs:
        _recipe(run, call, table, need, [], directory, done)
    lines = [table.text(line, values) for line in recipe.lines]
    if lines and lines[0].startswith("#!"):
        _whole(run, call, lines, directory)
        return
    for line in lines:
        command = line.lstrip("@-")
        if command.strip():
            project_files.line(run, call, command, directory)


def _whole(run: Interpreter, call: Call, lines: list[str], directory: str) -> None:
    """Execute a recipe whose first line names a program."""
    text = "\n".join(lines)
    words = sources.interpreter(text) or [""]
    program = words[0].rpartition("/")[2]
    if re.fullmatch(r"(?:ba|da|z|k)?sh", program):
        project_files.line(run, call, text, directory)
    elif program.startswith("python") and HOLE not in text:
        from cbx_sandbox.shell.inner import python as python_text  # noqa: PLC0415 -- dear, and few tasks are Python's

        python_text.look(run, text, call.where)
    else:
        project_files.beyond(run, call, f"a recipe for {program}")


# -- the scripts of a package -----------------------------------------------------------------------------------------

_RUNS = frozenset({"run", "run-script", "rum", "urn"})
_NAMED = {"test": "test", "t": "test", "tst": "test", "start": "start", "stop": "stop", "restart": "restart"}
_INSTALLS = frozenset({"install", "i", "ci", "add", "in", "ins", "clean-install", "it", "install-test", "rebuild"})


def _package(run: Interpreter, call: Call, rule: Rule) -> str:
    """npm, yarn, pnpm, bun: a script by its name, and those that come with an installation."""
    parsed = parse_options(rule, call.args, stop=True)
    elsewhere = parsed.has("-g", "--global", "--prefix", "-w", "--workspace", "--workspaces", "-r", "--filter", "-F")
    if not programs.only_help(call, rule) and not elsewhere:
        cwd = run.state.cwd
        for given in parsed.options:
            if given.name in {"-C", "--dir", "--cwd"} and given.value is not None:
                run.state.cwd = run.absolute(given.value.text) if given.value.known else None
        ran = _package_scripts(run, call, parsed.operands + parsed.rest)
        run.state.cwd = cwd
        sub = rule.sub(parsed.operands[0].text) if ran and parsed.operands else None
        if sub is not None:  # what its scripts do was noted, and that is all that happens in the project
            rule = replace(rule, subs={**rule.subs, parsed.operands[0].text: replace(sub, writes=())})
    return project_files.as_its_rule_says(run, call, rule)


def _package_scripts(run: Interpreter, call: Call, words: list[Arg]) -> bool:
    """Execute the scripts that a command line means; whether nothing else is executed."""
    if words and not words[0].known:
        return False
    verb = words[0].text if words else "install"
    found = project_files.found(run, ("package.json",), up=True)
    held = packages.scripts(found[1]) if found is not None else None
    if found is None or held is None:
        return False
    rest = words[1:]
    if verb in _RUNS:
        rest = [arg for index, arg in enumerate(rest) if index or not arg.text.startswith("-")]
        name = rest[0].text if rest else ""
        texts, rest = packages.run(held, name), rest[1:]
    elif verb in _NAMED:
        name = _NAMED[verb]
        texts = packages.run(held, name)
    elif call.name != "npm" and verb in held:
        name, texts = verb, packages.run(held, verb)
    elif verb in _INSTALLS or (not words and call.name != "npm"):
        name, texts = "install", packages.installed(held)
    else:
        return False
    key = f"{found[0]} {name}"
    if key in run.state.running:
        return False
    directory = posixpath.dirname(found[0])
    run.reads(Arg(found[0], *call.where), call.where)
    with scripts.within(run, key):
        run.state.prefixes = (posixpath.join(directory, "node_modules/.bin"), *run.state.prefixes)
        given = _arguments([arg for arg in rest if arg.text != "--"])
        for text, takes in texts:
            project_files.line(run, call, text + given if takes else text, directory)
    return bool(texts) and (verb in _RUNS or verb in _NAMED)


def _arguments(args: list[Arg]) -> str:
    """Write arguments down for the shell."""
    out = []
    for arg in args:
        quoted = "'" + arg.text.replace("'", "'\\''") + "'"
        out.append(HOLE if arg.many or arg.pattern else quoted)
    return "".join(f" {text}" for text in out)


# -- tox --------------------------------------------------------------------------------------------------------------


def _tox(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = parse_options(rule, call.args)
    found = (
        None
        if programs.only_help(call, rule) or parsed.has("-l", "-a")
        else project_files.found(run, ("tox.ini",), up=False)
    )
    if found is not None and found[0] not in run.state.running:
        path, text = found
        named = re.findall(r"(?:^| )-e ?([\w.,-]+)", " ".join(call.texts()))
        lines = tox.commands(text, [name for each in named for name in each.split(",")] if named else None)
        run.reads(Arg(path, *call.where), call.where)
        with scripts.within(run, path):
            if lines is None:
                project_files.beyond(run, call, path)
            for line in lines or []:
                project_files.line(run, call, line, posixpath.dirname(path))
    return project_files.as_its_rule_says(run, call, rule)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    "just": _just,
    "package": _package,
    "tox": _tox,
}
