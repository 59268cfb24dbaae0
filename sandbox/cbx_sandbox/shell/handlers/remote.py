"""Programs that act on other machines and containers, and git, whose options can name programs."""

from __future__ import annotations

import itertools
import re
import shlex
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import marks, programs
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.handlers import repositories
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_SSH_RUNS = expression(r"\s*(proxycommand|localcommand|knownhostscommand)\s*[= ]\s*(.*)", re.IGNORECASE | re.DOTALL)
_GIT_RUNS = expression(
    r"(?:core\.(?:pager|sshcommand|fsmonitor|askpass|gitproxy|alternaterefscommand)|pager\..*|diff\.external|diff\..*\.(?:command|textconv)"
    r"|difftool\..*\.cmd|mergetool\..*\.cmd|merge\..*\.driver|filter\..*\.(?:clean|smudge|process)|credential(?:\..*)?\.helper"
    r"|gpg(?:\..*)?\.program|uploadpack\.packobjectshook|remote\..*\.(?:uploadpack|receivepack|vcs)|browser\..*\.cmd|man\..*\.cmd"
    r"|interactive\.difffilter|sendemail\..*cmd|web\.browser|help\.browser|submodule\..*\.update|gc\.recentobjectshook)$",
    re.IGNORECASE,
)
_GIT_CODE = expression(
    r"(?:core\.(?:hookspath|attributesfile|worktree)|include(?:if\..*)?\.path|init\.templatedir|protocol\..*)$",
    re.IGNORECASE,
)
_GIT_STANDS_FOR = expression(r"url\.(.*)\.(?:push)?insteadof$", re.IGNORECASE | re.DOTALL)
_GIT_EDITS = expression(r"(?:core\.editor|sequence\.editor)$", re.IGNORECASE)


def _ssh_options(run: Interpreter, call: Call, rule: Rule, parsed: Parsed) -> None:
    for given in parsed.options:
        if given.name == "-o" and given.value is not None:
            found = _SSH_RUNS.match(given.value.text)
            if found and found.group(2).strip().lower() != "none":
                run.execute_text(found.group(2), call.where)
            elif HOLE in given.value.text:
                run.record.reason("unknown-option", "an option that is not known", SEQUENTIAL, call.where)
        else:
            programs.option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)


def _ssh(run: Interpreter, call: Call, rule: Rule) -> str:
    if programs.only_help(call, rule) or call.texts() == ["-V"]:
        return HOLE
    parsed = parse_options(rule, call.args, stop=True)
    _ssh_options(run, call, rule, parsed)
    if parsed.has("-G", "-Q") and not parsed.open:  # says what it would do, or what it knows
        if parsed.has("-G") and parsed.has("-F"):
            run.record.reason("ssh", "settings that can name programs", SEQUENTIAL, call.where)
        return HOLE
    if parsed.operands:
        programs.connect(run, parsed.operands[0], call.where)
    run.record.reason("ssh", "works on another machine", SEQUENTIAL, call.where)
    programs.note_cost(run, rule, SEQUENTIAL)
    words = parsed.rest
    again = parse_options(rule, words, stop=True)  # options may stand after the host as well
    if again.options and parsed.operands:
        _ssh_options(run, call, rule, again)
        words = again.operands + again.rest
    if words:
        state = run.state.copy()
        state.remote = True
        state.cwd = None
        run.execute_text(" ".join(arg.text for arg in words), call.where, call.stdin, state)
    elif call.stdin is not None and not (HOLE in call.stdin and run.fed is not None and not marks.of(call.stdin)):
        state = run.state.copy()
        state.remote = True
        run.execute_text(call.stdin, call.where, None, state)
    return HOLE


def _scp(run: Interpreter, call: Call, rule: Rule) -> str:
    """scp, sftp: the last operand is written, here or there."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    _ssh_options(run, call, rule, parsed)
    for arg in parsed.operands:
        if ":" in arg.text.split("/")[0]:
            run.record.connection(arg.text.partition(":")[0].rpartition("@")[2] or None, 22, call.where)
        elif arg is parsed.operands[-1]:
            run.writes(arg, call.where, under=True)
        else:
            run.reads(arg, call.where, under=True)
    run.record.reason(rule.name, "copies from or to another machine", SEQUENTIAL, call.where)
    programs.note_cost(run, rule, SEQUENTIAL)
    return HOLE


def _container(run: Interpreter, call: Call, rule: Rule) -> str:
    """Docker exec and run, kubectl exec: a name, then a command that runs elsewhere."""
    parsed = parse_options(rule, call.args, stop=True)
    run.record.reason(rule.name.replace(" ", "-"), rule.why or f"runs {rule.name}", rule.tier, call.where)
    for given in parsed.options:
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    programs.finish(run, call, rule, rule.tier, touched=True)
    words = [arg for arg in parsed.rest if arg.text != "--"] if parsed.operands else []
    if not words:
        return HOLE
    saved, run.state = run.state, run.state.copy()
    run.state.remote, run.state.cwd = True, None
    run.dispatch(words, call.stdin, call.where)
    run.state = saved
    return HOLE


def _salt(run: Interpreter, call: Call, rule: Rule) -> str:
    """Salt's execution modules: cmd.run and its like take a command for other machines."""
    words = parse_options(rule, call.args).operands
    programs.finish(run, call, rule, rule.tier, touched=True)
    state = run.state.copy()
    state.remote, state.cwd = True, None
    for function, text in itertools.pairwise(words):
        if function.text.startswith("cmd."):
            run.execute_text(text.text, call.where, None, state)
    return HOLE


def _git(run: Interpreter, call: Call, rule: Rule) -> str:
    """git: -c can name programs, -C moves, an unknown subcommand may be an alias."""
    if programs.only_help(call, rule):
        return HOLE
    cwd = run.state.cwd
    parsed = parse_options(rule, call.args, stop=True)
    settings = [given.value.text for given in parsed.options if given.name == "-c" and given.value]
    if any(given.name == "--config-env" for given in parsed.options):
        run.record.reason("git-config", "settings that are not known", SEQUENTIAL, call.where)
    words = parsed.operands + parsed.rest
    if words and words[0].text == "clone" and (sub := rule.sub("clone")) is not None:
        cloning = parse_options(sub, words[1:])
        settings += [given.value.text for given in cloning.options if given.name in {"-c", "--config"} and given.value]
    if words and words[0].text not in _GIT_SEARCHES:
        sub = rule.sub(words[0].text) or rule
        named = parse_options(sub, words[1:])
        for arg in [*named.operands, *(given.value for given in named.options if given.value is not None)]:
            _git_transport(run, call, arg.text)
    for setting in settings:
        _git_setting(run, call, setting)
    if words and words[0].text == "config":
        _git_config(run, call, rule, words[1:])
    rule = repositories.places(run, call, rule, words)
    before = run.record.tier
    output = _git_alias(run, call, words, settings)
    if output is None:
        output = programs.generic(run, call, replace(rule, handler=""))
    if run.record.tier is not SAFE or before is not SAFE:
        for setting in settings:
            key, _, value = setting.partition("=")
            if _GIT_EDITS.match(key):
                run.execute_text(value, call.where)
    run.state.cwd = cwd
    if words and [arg.text for arg in words] == ["rev-parse", "--show-toplevel"] and cwd is not None:
        return run.facts.project_root(cwd) + "\n"
    return output


_GIT_SEARCHES = frozenset({"commit", "grep", "log", "shortlog", "tag"})  # they take texts, and name no remotes


def _git_transport(run: Interpreter, call: Call, remote: str) -> None:
    """Run the command line that a remote of the kind ext is; ``% `` is a blank in it."""
    transport, _, text = remote.partition("::")
    if transport == "ext" and text.strip():
        pieces = re.split(r"(?<!%) ", text)
        run.execute_text(shlex.join(piece.replace("% ", " ") for piece in pieces), call.where)


def _git_setting(run: Interpreter, call: Call, setting: str) -> None:
    key, _, value = setting.partition("=")
    _git_transport(run, call, value)
    if (base := _GIT_STANDS_FOR.match(key)) is not None:
        _git_transport(run, call, base.group(1) + HOLE)  # the rest of what it stands for comes after it
    if HOLE in key:
        run.record.reason("git-config", "settings that are not known", SEQUENTIAL, call.where)
    elif _GIT_RUNS.match(key):
        if value not in {"", "true", "false", "cat", "store", "cache", "osxkeychain", "manager"}:
            run.execute_text(value.removeprefix("!"), call.where)
    elif _GIT_CODE.match(key):
        run.record.reason("git-config", f"{key} changes what git runs or where", SEQUENTIAL, call.where)


def _git_config(run: Interpreter, call: Call, rule: Rule, args: list[Arg]) -> None:
    """Look at what is set to stay: git will execute it later."""
    sub = rule.sub("config")
    parsed = parse_options(sub or rule, args)
    words = [arg for arg in parsed.operands if arg.text != "set"]
    if len(words) == 2:
        key, value = words[0].text, words[1].text
        if key.lower().startswith("alias.") and value.startswith("!"):
            run.execute_text(value[1:], call.where)
        elif not _GIT_CODE.match(key):
            _git_setting(run, call, f"{key}={value}")


def _git_alias(run: Interpreter, call: Call, words: list[Arg], settings: list[str]) -> str | None:
    """Run an alias that the same command line defines."""
    if not words:
        return None
    for setting in settings:
        key, _, value = setting.partition("=")
        if key.lower() == f"alias.{words[0].text.lower()}":
            if value.startswith("!"):
                return run.execute_text(value[1:], call.where)
            return run.execute_text(f"git {value}", call.where)
    return None


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    "ssh": _ssh,
    "scp": _scp,
    "container": _container,
    "git": _git,
    "salt": _salt,
}
