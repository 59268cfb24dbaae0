"""Compilers of C: where the output goes if nothing is said, and what is written beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import CONDITIONAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_ENDINGS = {"-c": ".o", "-S": ".s"}
_SOURCES = frozenset("c cc cpp cxx c++ C i ii m mm s S sx".split())
# What is written besides depends on how the compiler was built, or on what it is told: anywhere around, then.
_SEARCHED = frozenset({"-I", "-L", "-iquote", "-isystem", "-idirafter"})
_MORE = ("-save-temps", "-gsplit-dwarf", "--coverage", "-ftest-coverage", "-fprofile-generate", "-dumpdir", "-flto")


def _compiler(run: Interpreter, call: Call, rule: Rule) -> str:
    """gcc, clang and their like: without -o an object goes to the working directory, dependencies beside the output."""
    parsed = parse_options(rule, call.args)
    outputs = None if programs.only_help(call, rule) else _outputs(parsed)
    quiet = replace(rule, handler="")
    if outputs is None:
        return programs.generic(run, call, quiet)
    named = [arg.text for arg in parsed.operands]
    searched = [given.value.text for given in parsed.options if given.name in _SEARCHED and given.value is not None]
    for directory in dict.fromkeys([*(name.rpartition("/")[0] or "." for name in named), *searched]):
        if HOLE not in directory:  # what is included lies there
            run.looks(run.absolute(directory), call.where, under=True)
    for path in outputs:
        run.writes(Arg(path, *call.where), call.where, tier=CONDITIONAL)
    return programs.settle(run, call, replace(quiet, writes=(), whens=()), parsed)


def _outputs(parsed: Parsed) -> list[str] | None:
    """Return what is written besides what -o and -MF name; None where that is not known."""
    names = [given.name for given in parsed.options]
    odd = any(name.startswith((*_MORE, "-fdump", "-fprofile", "-fplugin", "@")) for name in names)
    if parsed.open or odd or not parsed.operands or not all(arg.known for arg in parsed.operands):
        return None
    if any(arg.text.startswith("@") for arg in parsed.operands) or {"-E", "-M", "-MM", "-fsyntax-only"} & set(names):
        return None
    output = parsed.value("-o", "--output")
    if output is not None and not output.known:
        return None
    sources = [arg.text for arg in parsed.operands if arg.text.rpartition(".")[2] in _SOURCES]
    ending = next((_ENDINGS[name] for name in names if name in _ENDINGS), "")
    found = []
    if output is None:
        found = [_stem(source) + ending for source in sources] if ending else ["a.out"]
    if ("-MD" in names or "-MMD" in names) and not parsed.has("-MF"):
        found += [f"{_stem(source)}.d" for source in sources] if output is None else [_base(output.text) + ".d"]
    return found


def _stem(path: str) -> str:
    """Return the last part of a path without its ending."""
    return _base(path.rpartition("/")[2])


def _base(path: str) -> str:
    directory, slash, name = path.rpartition("/")
    return directory + slash + (name.rpartition(".")[0] or name)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"compiler": _compiler}
