"""Programs that look for files and can run something for each: find, fd."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import marks, programs
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.handlers.wrappers import names_into
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule

_FIND_WITH_VALUE = frozenset(
    """-name -iname -path -ipath -wholename -iwholename -lname -ilname -regex -iregex -type -xtype -size -mtime -atime
    -ctime -mmin -amin -cmin -newer -anewer -cnewer -perm -user -group -uid -gid -maxdepth -mindepth -links -inum
    -samefile -fstype -printf -used -regextype -context -D -f -newerXY""".split()
)


_COMPARED = frozenset({"-newer", "-anewer", "-cnewer", "-samefile"})
_SILENT = frozenset("-exec -execdir -ok -okdir -delete -printf -fprint -fprint0 -fprintf -fls -ls -quit".split())


def _find(run: Interpreter, call: Call, rule: Rule) -> str:
    if programs.only_help(call, rule):
        return HOLE
    args = call.args
    index, starts = 0, list[Arg]()
    while index < len(args) and not re.match(r"[-(!,]|\\\(", args[index].text):
        starts.append(args[index])
        index += 1
    if any(arg.many or arg.open for arg in args):
        run.record.reason("unknown-option", "an argument of find may delete or run something", SEQUENTIAL, call.where)
    for arg in starts or [Arg(".", *call.where)]:
        run.reads(arg, call.where, under=True)
    while index < len(args):
        text = args[index].text
        index += 1
        if text in {"-H", "-L", "-P", "-E", "-X", "-d", "-s", "-x"} and index == 1:
            continue
        if text in {"-exec", "-execdir", "-ok", "-okdir"}:
            if text in {"-ok", "-okdir"}:
                run.record.reason("find-ok", "asks before it runs something", SEQUENTIAL, call.where)
            index = _find_exec(run, call, args, index, starts)
        elif text == "-delete":
            run.record.reason("find-delete", "deletes what it finds", DANGEROUS, call.where)
            _deletes(run, call, starts or [Arg(".", *call.where)], _found(run, args[: index - 1], starts))
        elif text in {"-fprint", "-fprint0", "-fls", "-fprintf"}:
            if index < len(args):
                run.writes(args[index], call.where)
            index += 2 if text == "-fprintf" else 1
        elif text == "-files0-from" and index < len(args):
            run.reads(args[index], call.where)
            index += 1
        elif text in _FIND_WITH_VALUE or text.startswith("-newer"):
            if text in _COMPARED and index < len(args):
                run.reads(args[index], call.where)
            index += 1
        elif not re.match(r"[-(!,]|\\\(", text) and text not in {")", "\\)", "+", ";"} and not text.startswith("-"):
            run.reads(args[index - 1], call.where, under=True)
    programs.note_cost(run, rule, SAFE)
    if starts and all(arg.known for arg in starts) and not any(arg.text in _SILENT for arg in args):
        rest = _found(run, args, starts)
        return "".join(f"{arg.text.rstrip('/')}/{rest}\n" for arg in starts)  # what it finds lies beneath them
    return HOLE


def _deletes(run: Interpreter, call: Call, starts: list[Arg], rest: str) -> None:
    for arg in starts:
        if rest == HOLE or not arg.known:
            run.writes(arg, call.where, access=Access.DELETE, under=True)
        else:
            text = f"{arg.text.rstrip('/')}/{rest}"
            run.writes(replace(arg, text=text), call.where, access=Access.DELETE)


_JOINS = frozenset({"-o", "-or", "!", "-not", ",", "(", ")", "\\(", "\\)", "\\!"})


def _found(run: Interpreter, args: list[Arg], starts: list[Arg]) -> str:
    """Return how the paths that are found go on after where it started: by -name with how they end."""
    texts = [arg.text for arg in args]
    if texts.count("-name") != 1 or texts[-1] == "-name" or _JOINS.intersection(texts) or not all(map(_plain, args)):
        return HOLE
    name = texts[texts.index("-name") + 1]
    for start in starts:
        path = run.absolute(start.text)
        if path is None or not run.is_directory(path) or fnmatchcase(start.text.rstrip("/").rpartition("/")[2], name):
            return HOLE  # where it starts may be found, too
    return HOLE if "\\" in name or "/" in name else HOLE + marks.DEEP + re.split(r"[*?\]\[]", name)[-1]


def _plain(arg: Arg) -> bool:
    return arg.known and arg.text not in {"-L", "-follow"}


def _find_exec(run: Interpreter, call: Call, args: list[Arg], index: int, starts: list[Arg]) -> int:
    end = index
    while end < len(args) and args[end].text != ";" and not (args[end].text == "+" and args[end - 1].text == "{}"):
        end += 1
    command = args[index:end]
    if command:
        base = starts[0].text.rstrip("/") if starts and starts[0].known and len(starts) == 1 else "."
        rest = _found(run, args[: index - 1], starts) if starts[1:] == [] else HOLE
        run.dispatch(names_into(run, call, command, "{}", base or "", rest), None, call.where)
    return end + 1


def _fd(run: Interpreter, call: Call, rule: Rule) -> str:
    """fd: -x and -X run a command to the end of the line or to a semicolon."""
    for index, arg in enumerate(call.args):
        if arg.text in {"-x", "-X", "--exec", "--exec-batch"} or arg.text.startswith(("--exec=", "--exec-batch=")):
            _, equals, attached = arg.text.partition("=")
            rest = call.args[index + 1 :]
            command = ([Arg(attached, arg.start, arg.end)] if equals else []) + rest
            end = next((at for at, word in enumerate(command) if word.text == ";"), len(command))
            if command[:end]:
                words = command[:end]
                if not any("{" in word.text for word in words):
                    words = [*words, Arg("{}", *call.where)]
                run.dispatch(names_into(run, call, words, "{}", "."), None, call.where)
            programs.generic(run, programs.replace_call(call, call.args[:index]), rule)
            return HOLE
        if re.fullmatch(r"-[a-zA-Z]*[xX].*", arg.text) and not arg.text.startswith("--"):
            return run.executes_unknown("fd runs a command that is attached to its option", call.where)
    return programs.generic(run, call, rule)


_NAMES_ONLY = ("-l", "-L", "--files-with-matches", "--files-without-match")


def _grep(run: Interpreter, call: Call, rule: Rule) -> str:
    """grep: with -l it prints names, which begin as those that it was given."""
    output = programs.generic(run, call, replace(rule, handler=""))
    parsed = parse_options(rule, call.args)
    if parsed.open or not parsed.has(*_NAMES_ONLY):
        return output
    files = parsed.operands if parsed.has("-e", "--regexp", "-f", "--file") else parsed.operands[1:]
    return _begun(run, files) or output


def _ls(run: Interpreter, call: Call, rule: Rule) -> str:
    """ls: files are printed as they are named; of directories, what is in them."""
    output = programs.generic(run, call, replace(rule, handler=""))
    parsed = parse_options(rule, call.args)
    listed = any(run.is_directory(path) for arg in parsed.operands for path in _meant(run, arg))
    if parsed.open or listed or parsed.has("-l", "-g", "-n", "-o", "-s", "-i", "--long"):
        return output
    return _begun(run, parsed.operands) or output


def _meant(run: Interpreter, arg: Arg) -> tuple[str, ...]:
    path = run.absolute(arg.text)
    if path is None:
        return ()
    return run.facts.glob(path) if arg.pattern else (path,)


def _begun(run: Interpreter, files: list[Arg]) -> str:
    """Return names that begin with directories that are known; none where one is not."""
    lines: dict[str, None] = {}
    for arg in files:
        fixed = re.split(r"[*?\[]", arg.text, maxsplit=1)[0] if arg.pattern else arg.text
        if arg.many or HOLE in fixed:
            return ""
        whole = not arg.pattern and any(run.is_directory(path) for path in _meant(run, arg))
        directory = fixed.rstrip("/") if whole else fixed.rpartition("/")[0] or "."
        lines[f"{directory}/{HOLE}"] = None
    return "\n".join(lines)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"find": _find, "fd": _fd, "grep": _grep, "ls": _ls}
