"""What the shell does itself, a function a builtin."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.builtins.printing import PRINTING
from cbx_sandbox.shell.builtins.running import RUNNING
from cbx_sandbox.shell.builtins.variables import VARIABLES
from cbx_sandbox.shell.effects import HostKind, Thing
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter

__all__ = ["BUILTINS", "as_program"]


def _cd(run: Interpreter, call: Call) -> str:
    args = [arg for arg in call.args if arg.text not in {"-L", "-P", "-e", "-@", "--", "-n"}]
    before = run.state.cwd
    if call.name == "popd" or (call.name == "pushd" and not args):
        plain = call.name == "popd" and not call.args and bool(run.state.stack)
        run.state.cwd = run.state.stack[-1] if plain else None
        run.state.stack = run.state.stack[:-1] if plain else ()
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
        run.looks(path, call.where)
        if path is not None and "-P" in call.texts() and before is not None:  # links before ".." are followed
            path = posixpath.join(before, target)
        run.state.cwd = None if path is None else run.facts.resolve(path)
    run.looks(run.state.cwd, call.where)
    there = run.state.cwd is None or run.exists(run.state.cwd)
    run.state.left = None if there else before
    if call.name == "pushd":
        run.state.stack = (*run.state.stack, before)
    run.state.variables["OLDPWD"] = before if before is not None else HOLE
    return HOLE if call.name == "pushd" else ""


def _pwd(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    return HOLE if run.state.cwd is None else run.state.cwd + "\n"


def _kill(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    if texts and texts[0] in {"-l", "-L", "--list", "--table"}:
        return HOLE
    signal = next((text for text in texts if text.startswith("-")), "")
    if signal == "-0" and not any(HOLE in text and text.startswith(HOLE) for text in texts[:1]):
        return ""
    targets = _targets(texts)
    if targets and all(_own(target) or (run.later and target == HOLE) for target in targets):
        run.record.reason("kill", "ends what this command has started", SEQUENTIAL, call.where, placed=True)
        return ""
    run.record.reason("kill", "sends a signal to a process", DANGEROUS, call.where)
    run.record.host_effect(HostKind.PROCESS, " ".join(["kill", *texts]), call.where)
    for target in targets:
        run.record.thing(Thing.PROCESS, target, call.where)
    return ""


def _targets(texts: list[str]) -> list[str]:
    """Return what kill is to reach: the words that are neither the signal nor an option."""
    rest = list(texts)
    if rest and rest[0] in {"-s", "-n", "--signal"}:
        del rest[:2]
    elif rest and rest[0].startswith("-") and rest[0] != "--":
        del rest[0]
    return [text for text in rest if text != "--"]


def _own(target: str) -> bool:
    """Whether a process is a job of this shell, the shell itself or its group: in a box, these end with it anyway."""
    return target.startswith("%") or target == "0" or marks.own(target.removeprefix("-"))


def _jobs(run: Interpreter, call: Call) -> str:
    if call.args and call.args[0].text == "-x":  # a command, with jobs named by their numbers
        return run.dispatch(call.args[1:], call.stdin, call.where) if call.args[1:] else HOLE
    return HOLE + marks.OWN if "-p" in call.texts() else HOLE


def _history(run: Interpreter, call: Call) -> str:
    if any(arg.text.startswith("-") and set(arg.text) & set("cdw") for arg in call.args):
        run.record.reason("wipes-logs", "changes the history of commands", DANGEROUS, call.where)
    elif call.args and call.args[0].text.startswith("-"):
        run.record.reason("history", "changes the history of commands", SEQUENTIAL, call.where)
    return HOLE


def _nothing(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    return ""


def _something(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    return HOLE


BUILTINS: dict[str, Callable[[Interpreter, Call], str]] = {
    **dict.fromkeys((":", "true", "false", "exit", "return", "break", "continue"), _nothing),
    **dict.fromkeys(("umask", "ulimit", "bg", "fg", "disown", "suspend", "logout", "times"), _nothing),
    **dict.fromkeys(("type", "dirs", "caller", "help"), _something),
    **dict.fromkeys(("cd", "pushd", "popd", "chdir"), _cd),
    **VARIABLES,
    **RUNNING,
    **PRINTING,
    "pwd": _pwd,
    "kill": _kill,
    "jobs": _jobs,
    "history": _history,
}


def as_program(name: str) -> bool:
    """Whether a name is a builtin that is also a program of its own."""
    return name in {"echo", "printf", "pwd", "true", "false", "test", "[", "kill"}
