"""Builtins that run text or other commands, and those that change which commands there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell.checks.follow import INJECTION
from cbx_sandbox.shell.inner import scripts, sources
from cbx_sandbox.shell.tiers import CONDITIONAL, DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter


def _eval(run: Interpreter, call: Call) -> str:
    args = call.args[1:] if call.args and call.args[0].text == "--" else call.args
    if any(arg.many or arg.pattern for arg in args):
        run.record.found(INJECTION, call.where)
        text = " ".join(arg.text for arg in args)
        return run.executes_unknown("eval of text that is not known before it runs", call.where, text)
    return run.execute_text(" ".join(arg.text for arg in args), call.where, call.stdin, run.state)


def _source(run: Interpreter, call: Call) -> str:
    if not call.args:
        return ""
    arg = call.args[0]
    where = run.where(arg.start, arg.end)
    if arg.text in {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"} and call.stdin is not None:
        return run.execute_text(call.stdin, where, HOLE, run.state)
    content = run.content(arg, where)
    path = run.absolute(arg.text) if arg.known else None
    if arg.text != "/dev/null" and (
        path in run.state.files or arg.text.startswith(("/dev/", "/proc/")) or not arg.known
    ):
        return run.execute_text(content, where, call.stdin, run.state)
    if arg.text == "/dev/null":
        return ""
    if arg.text.endswith("/bin/activate"):
        # What a virtual environment brings along: a part of the project, like .venv/bin/python.
        run.record.reason("activates", f"runs {arg.text} and looks for programs beside it", CONDITIONAL, where)
        run.writes_place("project", where, CONDITIONAL)
        run.state.path_changed = True
        return HOLE
    text = None if path is None or path in run.state.running else sources.text(run, path)
    if path is not None and text is not None:
        return _sourced(run, call, path, text)
    # A file that was there before: a script of the project or of the user, as unknown as any program by name.
    run.record.reason("sources-file", f"runs the commands in {arg.text}", SEQUENTIAL, where)
    run.writes_place("project", where, SEQUENTIAL)
    return HOLE


def _sourced(run: Interpreter, call: Call, path: str, text: str) -> str:
    """Execute a file in this shell: what it sets stays set."""
    before, positional = run.state.running, run.state.positional
    script, run.state.script = run.state.script, True
    run.state.running |= {path}
    if len(call.args) > 1:
        run.state.positional = [arg.text for arg in call.args[1:]] if all(arg.known for arg in call.args) else None
    with run.share(scripts.MAX_STEPS):
        output = run.nested(text, call.where, call.stdin, run.state)
    run.state.running, run.state.script = before, script
    if len(call.args) > 1:
        run.state.positional = positional
    return output


def _trap(run: Interpreter, call: Call) -> str:
    args = [arg for arg in call.args if arg.text != "--"]
    if len(args) >= 2 and not args[0].text.startswith("-") and args[0].text != "-":
        run.state.traps = (*run.state.traps, (args[0].text, call.where))
        run.later += 1
        printed = run.execute_text(args[0].text, call.where, call.stdin)
        run.later -= 1
        return HOLE if printed else ""  # some time later, but into the same stream
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


def _fc(run: Interpreter, call: Call) -> str:
    if not any(arg.text.startswith("-") and "l" in arg.text for arg in call.args):
        return run.executes_unknown("runs commands of the history again", call.where)
    return HOLE


RUNNING: dict[str, Callable[[Interpreter, Call], str]] = {
    **dict.fromkeys(("command", "builtin"), _command),
    **dict.fromkeys(("source", "."), _source),
    **dict.fromkeys(("bind", "complete", "compgen", "compopt"), _completes),
    "eval": _eval,
    "trap": _trap,
    "alias": _alias,
    "unalias": _unalias,
    "exec": _exec,
    "enable": _enable,
    "hash": _hash,
    "shopt": _shopt,
    "fc": _fc,
}
