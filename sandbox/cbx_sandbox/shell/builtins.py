"""What the shell does itself: directories, variables, functions, text that becomes commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell import rules
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.state import Where

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")
_ECHO_ESCAPE = re.compile(r"\\(?:[abcefnrtv\\0]|x[0-9a-fA-F])")
_FORMAT = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?[a-zA-Z])")


# -- variables ----------------------------------------------------------------------------------------------------


def environment(run: Interpreter, name: str, value: str, where: Where) -> None:
    """Look at a variable that is set: some make later commands run something."""
    known = _environment()
    kind = known.get(name.split("%", maxsplit=1)[0])
    if name == "PATH":
        parts = value.split(":")
        standard = _standard_path()
        trusted = all(
            part in standard or part == run.facts.env.get("PATH", HOLE) or part in run.facts.path for part in parts
        )
        run.state.path_changed = not trusted
    elif kind == "run" and value:
        if HOLE in value:
            run.record.reason("variable-runs", f"{name} names a program that is not known", SEQUENTIAL, where)
        else:
            run.nested(value, where)
    elif (kind in {"code", "options"} and value) or (name.startswith(("GIT_CONFIG_", "BASH_FUNC_")) and value):
        run.record.reason("variable-loads", f"{name} changes what programs load or do", SEQUENTIAL, where)


_kinds: dict[str, str] = {}


def _environment() -> dict[str, str]:
    if not _kinds:
        table = rules.environment()
        for kind in ("run", "code", "options"):
            _kinds.update(dict.fromkeys(str(table[kind]).split(), kind))
    return _kinds


def _standard_path() -> frozenset[str]:
    return frozenset(str(rules.environment()["standard_path"]).split())


def _declare(run: Interpreter, call: Call) -> str:
    """Assign: declare, local, export, readonly, typeset."""
    if call.name == "local":
        names = run.state.arrays.setdefault("\0local", [])
        assert names is not None
        names += [arg.text.partition("=")[0] for arg in call.args if not arg.text.startswith("-")]
    nameref = any(arg.text.startswith("-") and "n" in arg.text for arg in call.args)
    for arg in call.args:
        name, equals, value = arg.text.partition("=")
        if "[" in name:
            run.arithmetic(name)
        if HOLE in name or arg.many:
            run.record.reason("computed-name", "sets a variable whose name is not known", SEQUENTIAL, call.where)
        elif equals:
            run.assign(name.rstrip("+"), HOLE if nameref or name.endswith("+") or arg.pattern else value, call.where)
        elif call.name == "local" and _NAME.match(name):
            run.state.variables[name] = ""
    return HOLE if not call.args or call.args[0].text.startswith("-") else ""


def _set(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    if "--" in texts:
        rest = call.args[texts.index("--") + 1 :]
        run.state.positional = [arg.text for arg in rest] if all(arg.known for arg in rest) else None
    elif texts and not texts[0].startswith(("-", "+")):
        run.state.positional = texts if all(arg.known for arg in call.args) else None
    return HOLE if not texts else ""


def _shift(run: Interpreter, call: Call) -> str:
    known = run.state.positional
    if call.args or known is None:
        run.state.positional = None
    else:
        run.state.positional = known[1:]
    return ""


def _unset(run: Interpreter, call: Call) -> str:
    _subscripts(run, call)
    for arg in call.args:
        if arg.text == "-f":
            for name in call.texts():
                run.state.functions.pop(name, None)
        elif not arg.text.startswith("-"):
            run.state.variables[arg.text] = None
            run.state.arrays.pop(arg.text, None)
    return ""


def _read(run: Interpreter, call: Call) -> str:
    """Set variables from what is read: their values are not known."""
    skip = False
    _subscripts(run, call)
    for arg in call.args:
        if skip:
            skip = False
        elif re.fullmatch(r"-[a-zA-Z]*[dinNptucCOs]", arg.text):
            skip = not arg.text.endswith("s")
            if arg.text.endswith("a"):
                continue
        elif not arg.text.startswith("-") and _NAME.match(arg.text):
            run.state.variables[arg.text] = HOLE
            run.state.arrays[arg.text] = None
    for name in ("REPLY", "MAPFILE"):
        run.state.variables[name] = HOLE
    return ""


def _let(run: Interpreter, call: Call) -> str:
    for arg in call.args:
        run.arithmetic(arg.text)
    return ""


# -- text that becomes commands -------------------------------------------------------------------------------------


def _eval(run: Interpreter, call: Call) -> str:
    args = call.args[1:] if call.args and call.args[0].text == "--" else call.args
    if any(arg.many or arg.pattern for arg in args):
        return run.executes_unknown("eval of text that is not known before it runs", call.where)
    return run.execute_text(" ".join(arg.text for arg in args), call.where, call.stdin, run.state)


def _source(run: Interpreter, call: Call) -> str:
    if not call.args:
        return ""
    arg = call.args[0]
    where = run.where(arg.start, arg.end)
    content = run.content(arg, where)
    path = run.absolute(arg.text) if arg.known else None
    if path in run.state.files or arg.text.startswith(("/dev/", "/proc/")) or not arg.known:
        return run.execute_text(content, where, call.stdin, run.state)
    # A file that was there before: a script of the project or of the user, as unknown as any program by name.
    run.record.reason("sources-file", f"runs the commands in {arg.text}", SEQUENTIAL, where)
    run.writes_place("project", where, SEQUENTIAL)
    return HOLE


def _trap(run: Interpreter, call: Call) -> str:
    args = [arg for arg in call.args if arg.text != "--"]
    if len(args) >= 2 and not args[0].text.startswith("-") and args[0].text != "-":
        run.execute_text(args[0].text, call.where)
    return ""


def _alias(run: Interpreter, call: Call) -> str:
    for arg in call.args:
        name, equals, value = arg.text.partition("=")
        if equals and name:
            run.state.aliases[name] = value
    return HOLE


def _unalias(run: Interpreter, call: Call) -> str:
    for name in call.texts():
        run.state.aliases.pop(name, None)
    return ""


def _command(run: Interpreter, call: Call) -> str:
    """Run without looking at functions: command, builtin."""
    args = list(call.args)
    while args and args[0].text.startswith("-"):
        flag = args.pop(0).text
        if flag == "--":
            break
        if HOLE in flag:
            return run.executes_unknown("the program's name is computed and not known", call.where)
        if set(flag) & set("vV"):
            return HOLE
    if not args:
        return ""
    if not args[0].known:
        return run.dispatch(args, call.stdin, call.where)
    run.state.aliases, aliases = {}, run.state.aliases
    output = run.program(args[0].text, args[1:], call.stdin, call.where)
    run.state.aliases = aliases
    return output


def _exec(run: Interpreter, call: Call) -> str:
    args = list(call.args)
    while args and args[0].text.startswith("-"):
        flag = args.pop(0).text
        if flag == "--":
            break
        if flag == "-a" and args:
            args.pop(0)
    if not args:  # only redirections: what is read from them later is known by number
        run.state.descriptors["0"] = call.stdin
        return ""
    return run.dispatch(args, call.stdin, call.where)


def _enable(run: Interpreter, call: Call) -> str:
    if any(arg.text in {"-f", "-n", "-d"} or HOLE in arg.text for arg in call.args):
        run.record.reason("enable", "changes which commands the shell runs", DANGEROUS, call.where)
    return ""


def _hash(run: Interpreter, call: Call) -> str:
    if any(arg.text.startswith("-") and "p" in arg.text for arg in call.args):
        run.record.reason("hash", "changes which programs names mean", DANGEROUS, call.where)
    return ""


def _shopt(run: Interpreter, call: Call) -> str:
    if "lastpipe" in call.texts():
        run.state.variables["lastpipe"] = "on"
    return ""


def _completes(run: Interpreter, call: Call) -> str:
    """Options of bind, complete and compgen that run text."""
    texts = call.texts()
    for index, text in enumerate(texts[:-1]):
        if text in {"-x", "-C"}:
            run.execute_text(texts[index + 1], call.where)
        elif text == "-W":
            run.execute_text(f'echo "{texts[index + 1]}"', call.where)
    return HOLE


# -- directories --------------------------------------------------------------------------------------------------


def _cd(run: Interpreter, call: Call) -> str:
    args = [arg for arg in call.args if arg.text not in {"-L", "-P", "-e", "-@", "--", "-n"}]
    before = run.state.cwd
    if call.name == "popd" or (call.name == "pushd" and not args):
        run.state.cwd = None
        return HOLE
    if not args:
        target: str | None = run.home()
    elif args[0].text == "-":
        target = run.state.variables.get("OLDPWD") or HOLE
    else:
        target = args[0].text if args[0].known else HOLE
    if target is None or HOLE in target or target == "" or (call.name == "pushd" and target.startswith("+")):
        run.state.cwd = None
    else:
        path = run.absolute(target)
        run.state.cwd = None if path is None else run.facts.resolve(path)
    run.state.variables["OLDPWD"] = before if before is not None else HOLE
    return HOLE if call.name == "pushd" else ""


def _pwd(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    return HOLE if run.state.cwd is None else run.state.cwd + "\n"


# -- printing -----------------------------------------------------------------------------------------------------


def _echo(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    args = list(call.args)
    newline, escapes = "\n", False
    while args and re.fullmatch(r"-[neE]+", args[0].text):
        flag = args.pop(0).text
        newline = "" if "n" in flag else newline
        escapes = "e" in flag or (escapes and "E" not in flag)
    text = " ".join(arg.text for arg in args)
    if any(arg.many or arg.pattern for arg in args):
        return HOLE + text + newline
    if escapes and "\\" in text:
        return _unescape(text) + newline
    return text + newline


def _unescape(text: str) -> str:
    """Resolve the common escapes; where others stand, the text is not known."""
    plain = text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t")
    return HOLE if "\\" in plain else plain.replace("\0", "\\")


def _printf(run: Interpreter, call: Call) -> str:
    args = list(call.args)
    if len(args) >= 2 and args[0].text == "-v":
        name = args[1].text.partition("[")[0]
        run.assign(name, HOLE, call.where)
        run.arithmetic(args[1].text)
        return ""
    if args and args[0].text.startswith("-v"):
        run.assign(args[0].text[2:], HOLE, call.where)
        return ""
    if args and args[0].text == "--":
        args.pop(0)
    if not args or any(arg.many or arg.pattern for arg in args):
        return HOLE
    return _format(args[0].text, [arg.text for arg in args[1:]])


def _format(pattern: str, values: list[str]) -> str:
    template = _unescape(pattern) if "\\" in pattern else pattern
    conversions = [found.group() for found in _FORMAT.finditer(template) if found.group() != "%%"]
    if HOLE in template or any(conversion not in {"%s", "%d", "%b"} for conversion in conversions):
        return HOLE
    out, rest = [], list(values)
    while True:
        taken, rest = rest[: len(conversions)], rest[len(conversions) :]
        out.append(_filled(template, taken))
        if not rest or not conversions:
            return "".join(out)


def _filled(template: str, values: list[str]) -> str:
    left = iter(values)

    def fill(found: re.Match[str]) -> str:
        return "%" if found.group() == "%%" else _shown(found.group(), next(left, ""))

    return _FORMAT.sub(fill, template)


def _shown(conversion: str, value: str) -> str:
    return _unescape(value) if conversion == "%b" and "\\" in value else value


# -- tests and the rest -------------------------------------------------------------------------------------------


def _test(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    if any(text in {"-v", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-R"} for text in texts):
        _subscripts(run, call)
    return ""


def _subscripts(run: Interpreter, call: Call) -> None:
    """Names with a subscript are expanded once more, commands in them and all."""
    for text in call.texts():
        if "[" in text:
            run.arithmetic(text)


def _kill(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    if texts and texts[0] in {"-l", "-L", "--list", "--table"}:
        return HOLE
    signal = next((text for text in texts if text.startswith("-")), "")
    if signal == "-0" and not any(HOLE in text and text.startswith(HOLE) for text in texts[:1]):
        return ""
    targets = [text for text in texts if not text.startswith("-")]
    if targets and all(text.startswith("%") for text in targets):
        run.record.reason("kill", "ends a job of this shell", SEQUENTIAL, call.where)
        return ""
    run.record.reason("kill", "sends a signal to a process", DANGEROUS, call.where)
    run.record.host_effect(HostKind.PROCESS, " ".join(["kill", *texts]), call.where)
    return ""


def _history(run: Interpreter, call: Call) -> str:
    if any(arg.text.startswith("-") and set(arg.text) & set("cdw") for arg in call.args):
        run.record.reason("wipes-logs", "changes the history of commands", DANGEROUS, call.where)
    elif call.args and call.args[0].text.startswith("-"):
        run.record.reason("history", "changes the history of commands", SEQUENTIAL, call.where)
    return HOLE


def _fc(run: Interpreter, call: Call) -> str:
    if not any(arg.text.startswith("-") and "l" in arg.text for arg in call.args):
        return run.executes_unknown("runs commands of the history again", call.where)
    return HOLE


def _nothing(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    return ""


def _something(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    return HOLE


def _mapfile(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    for index, text in enumerate(texts[:-1]):
        if text == "-C":
            run.execute_text(texts[index + 1], call.where)
    return _read(run, call)


BUILTINS: dict[str, Callable[[Interpreter, Call], str]] = {
    **dict.fromkeys((":", "true", "false", "exit", "return", "break", "continue", "wait"), _nothing),
    **dict.fromkeys(("umask", "ulimit", "bg", "fg", "disown", "suspend", "logout", "times"), _nothing),
    **dict.fromkeys(("type", "jobs", "dirs", "caller", "help"), _something),
    **dict.fromkeys(("declare", "typeset", "local", "export", "readonly"), _declare),
    **dict.fromkeys(("read", "getopts"), _read),
    **dict.fromkeys(("mapfile", "readarray"), _mapfile),
    **dict.fromkeys(("cd", "pushd", "popd", "chdir"), _cd),
    **dict.fromkeys(("test", "["), _test),
    **dict.fromkeys(("command", "builtin"), _command),
    **dict.fromkeys(("source", "."), _source),
    **dict.fromkeys(("bind", "complete", "compgen", "compopt"), _completes),
    "set": _set, "shift": _shift, "unset": _unset, "let": _let, "eval": _eval, "trap": _trap, "alias": _alias,
    "unalias": _unalias, "exec": _exec, "enable": _enable, "hash": _hash, "shopt": _shopt, "pwd": _pwd, "echo": _echo,
    "printf": _printf, "kill": _kill, "history": _history, "fc": _fc,
}  # fmt: skip


def as_program(name: str) -> bool:
    """Whether a name is a builtin that is also a program of its own."""
    return name in {"echo", "printf", "pwd", "true", "false", "test", "[", "kill"}
