"""Programs whose arguments are another command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import marks, programs
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.options import Given, Parsed, parse_options
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule


def _begin(run: Interpreter, call: Call, rule: Rule) -> Parsed | None:
    """Take the options apart up to the command; None where only help was asked for."""
    if programs.only_help(call, rule):
        programs.note_cost(run, rule, SAFE)
        return None
    parsed = parse_options(rule, call.args, stop=True)
    for given in parsed.options:
        programs.option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    return parsed


def _wrap(run: Interpreter, call: Call, rule: Rule) -> str:
    """Options, some operands, then a command."""
    cwd = run.state.cwd
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    rule = programs.chosen(rule, parsed)
    command = parsed.operands + parsed.rest
    skip = max(rule.wrap, 0)
    if rule.tier is not SAFE:
        programs.finish(run, call, rule, rule.tier, touched=True)
    if parsed.open and not command[skip:]:
        return run.executes_unknown(f"what {rule.name} runs is not known", call.where)
    output = HOLE
    if len(command) == skip + 1 and _TEXT.search(command[skip].text) and any(_rest(given) for given in parsed.options):
        run.execute_text(command[skip].text, call.where, call.stdin)
    elif command[skip:]:
        output = run.dispatch(command[skip:], call.stdin, call.where)
    run.state.cwd = cwd
    return output


_TEXT = expression(r"[\s;&|<>()$`]")  # what no program has in its name: `xterm -e` gives such a word to a shell


def _rest(given: Given) -> bool:
    return given.option.role == "rest"


def _cargo_watch(run: Interpreter, call: Call, rule: Rule) -> str:
    """What -x has stands after cargo, for a shell; the rest is a command."""
    for given in parse_options(rule, call.args, stop=True).options:
        if given.name in {"-x", "--exec"} and given.value is not None:
            run.execute_text(f"cargo {given.value.text}", call.where)
    return _wrap(run, call, rule)


def _env(run: Interpreter, call: Call, rule: Rule) -> str:
    cwd = run.state.cwd
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = parsed.operands + parsed.rest
    given = next((given for given in parsed.options if given.name in {"-S", "--split-string"}), None)
    split = None if given is None else given.value
    saved, changed = dict(run.state.variables), run.state.path_changed
    output = HOLE
    if given is not None and split is not None:
        if any(c in split.text for c in "$\\") or HOLE in split.text:
            run.executes_unknown("env -S of text that is not known", call.where)
        pieces = [Arg(piece.strip("'\""), split.start, split.end) for piece in _shell_split(split.text)]
        # They stand in its place, options of env's own among them; what follows it follows them.
        last = next(index for index, arg in enumerate(call.args) if arg is given.arg)
        last += len(call.args) > last + 1 and call.args[last + 1] is split
        output = _env(run, programs.replace_call(call, [*pieces, *call.args[last + 1 :]]), rule)
        run.state.variables, run.state.path_changed, run.state.cwd = saved, changed, cwd
        return output
    while words and (_assigns(words[0]) or words[0].text in {"-", "-i"}):
        _assign(run, words.pop(0))
    if words:
        output = run.dispatch(words, call.stdin, call.where)
    run.state.variables, run.state.path_changed, run.state.cwd = saved, changed, cwd
    return output


def _assigns(arg: Arg) -> bool:
    """Whether env and sudo take a word for a variable: any that has a = in it, whatever stands before."""
    return "=" in arg.text and not arg.many


def _assign(run: Interpreter, arg: Arg) -> None:
    name, equals, value = arg.text.partition("=")
    where = run.where(arg.start, arg.end)
    if HOLE in name:
        run.record.reason("computed-name", "sets a variable whose name is not known", SEQUENTIAL, where)
    elif equals:
        run.assign(name, value, where)


def _shell_split(text: str) -> list[str]:
    return re.findall(r"'[^']*'|\"[^\"]*\"|[^\s]+", text)


def _sudo(run: Interpreter, call: Call, rule: Rule) -> str:
    """sudo, doas, pkexec: as somebody else."""
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = parsed.operands + parsed.rest
    if parsed.has("-e", "--edit"):
        for arg in words:
            run.writes(arg, call.where)
        return HOLE
    if parsed.has("-l", "--list", "-v", "-k", "-K", "--validate", "--reset-timestamp") and not words:
        return HOLE
    if parsed.has("-i", "-s", "--login", "--shell"):
        if not words:
            return run.executes_unknown(f"{call.name} opens a shell", call.where)
        return run.execute_text(" ".join(arg.text for arg in words), call.where, call.stdin)
    while words and _assigns(words[0]):
        _assign(run, words.pop(0))
    if not words:
        return run.executes_unknown(f"what {call.name} runs is not known", call.where)
    run.record.reason("privilege", f"{call.name} raises privileges", SAFE, call.where)
    return run.dispatch(words, call.stdin, call.where)


def _su(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = parse_options(rule, call.args)
    command = parsed.value("-c", "--command", "--session-command")
    if command is None:
        return run.executes_unknown(f"{call.name} opens a shell", call.where)
    return run.execute_text(command.text, call.where, call.stdin)


def _xargs(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    command = parsed.operands + parsed.rest
    if not command:
        return HOLE
    if not command[0].known:
        return run.dispatch(command, None, call.where)
    given = parsed.value("-I", "--replace", "-i", "-J")
    replaced = given.text if given else "{}" if parsed.has("-i", "--replace") else ""
    known = _known_names(run, call, parsed, by_line=bool(replaced))
    if known is not None:
        if not known and (replaced or parsed.has("-r", "--no-run-if-empty")):
            return ""
        most = parsed.value("-n", "--max-args")
        if most is None:
            return _with_names(run, call, command, replaced, known)
        if not replaced and most.text.isascii() and most.text.isdigit() and (size := int(most.text)):
            for begin in range(0, max(len(known), 1), size):
                _with_names(run, call, command, "", known[begin : begin + size])
            return HOLE
    return run.dispatch(names_into(run, call, command, replaced), HOLE, call.where)


_PLAIN = frozenset(
    """-0 --null -r --no-run-if-empty -t --verbose -I --replace -i -a --arg-file -P --max-procs -d --delimiter
    -n --max-args""".split()
)
_DELIMITERS = {"\\n": "\n", "\\t": "\t", "\\0": "\0"}
MAX_NAMES = 64  # that a command is run with: with more, it is run with what they may be


def _known_names(run: Interpreter, call: Call, parsed: Parsed, *, by_line: bool) -> list[str] | None:
    """Return the names that xargs reads, where these are written down; None where they are not, or split otherwise."""
    if parsed.open or not all(given.name in _PLAIN for given in parsed.options):
        return None
    file = parsed.value("-a", "--arg-file")
    if file is not None:
        path = run.absolute(file.text) if file.known else None
        text = None if path is None else sources.text(run, path, nul=True)
    else:
        text = call.stdin
        if run.fed is not None and (text is None or HOLE in text):
            text = sources.text(run, run.fed, nul=True)
    if text is None or HOLE in text:
        return None
    delimiter = parsed.value("-d", "--delimiter")
    if delimiter is not None:
        cut = _DELIMITERS.get(delimiter.text, delimiter.text)
        if len(cut) != 1 or by_line:
            return None
        names = text.removesuffix(cut).split(cut)
    elif parsed.has("-0", "--null"):
        names = [name for name in text.split("\0") if name]
    elif set(text) & set("'\"\\\0"):
        return None
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()] if by_line else text.split()
    return names if len(names) <= MAX_NAMES else None


def _with_names(run: Interpreter, call: Call, command: list[Arg], replaced: str, names: list[str]) -> str:
    """Run a command with names that are known: once for each where they replace something, else once with all."""
    if not replaced:
        return run.dispatch([*command, *(Arg(name, *call.where) for name in names)], HOLE, call.where)
    output = ""
    for name in names:
        args = [replace(arg, text=arg.text.replace(replaced, name)) for arg in command]
        output = run.dispatch(args, HOLE, call.where)
    return output


def names_into(
    run: Interpreter, call: Call, command: list[Arg], replaced: str, base: str = ".", rest: str = HOLE
) -> list[Arg]:
    """Put names that come from elsewhere where the command wants them, or at its end."""
    beginnings = _beginnings(call.stdin) if base == "." else None
    if beginnings is not None and len(beginnings) == 1:
        base, _, rest = beginnings[0].rpartition("/")
    name = marks.add(f"{base}/{rest}", marks.of(call.stdin))
    if not replaced or not any(replaced in arg.text for arg in command):
        names = [name] if beginnings is None else beginnings
        return command if replaced else [*command, *(Arg(text, *call.where) for text in names)]
    out: list[Arg] = []
    for index, arg in enumerate(command):
        if replaced not in arg.text:
            out.append(arg)
        elif index == 0:
            out.append(Arg(arg.text.replace(replaced, HOLE), arg.start, arg.end))
        elif not re.match(r"-\w*[ce]$", command[index - 1].text):
            out.append(Arg(arg.text.replace(replaced, name), arg.start, arg.end))
        elif arg.text == replaced:
            out.append(Arg(HOLE, arg.start, arg.end))
        else:
            # In a text that is executed the name is a word of its own; what else it could be is the floor.
            run.record.reason("names-as-text", "names become part of a text that is executed", SEQUENTIAL, call.where)
            out.append(Arg(arg.text.replace(replaced, f"{base}/cbx-name"), arg.start, arg.end))
    return out


def _beginnings(stdin: str | None) -> list[str] | None:
    """Return the names in an input where each begins with a directory that is known; None where one does not."""
    lines = (stdin or "").splitlines()
    if not lines or not all(_BENEATH.match(line) for line in lines):
        return None
    return lines


_BENEATH = expression(f"[^{HOLE}]*/{HOLE}(?:{marks.DEEP}[^/{HOLE}]*)?$")


def _parallel(run: Interpreter, call: Call, rule: Rule) -> str:
    """GNU parallel: the command, then ::: and what it is run with."""
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = parsed.operands + parsed.rest
    end = next((index for index, arg in enumerate(words) if re.fullmatch(r":::?:?\+?", arg.text)), len(words))
    command, inputs = words[:end], words[end + 1 :]
    if not command:  # the inputs are the commands
        for arg in inputs:
            run.execute_text(arg.text, call.where)
        return HOLE if inputs else run.executes_unknown("parallel runs what it reads", call.where)
    text = " ".join(arg.text for arg in command)
    if "{" not in text:
        text += " {}"
    known = all(arg.known for arg in inputs) and words[end : end + 1] and words[end].text == ":::"
    if known and len(inputs) <= 8:
        for arg in inputs:
            run.execute_text(re.sub(r"\{[./]*\}", lambda _, arg=arg: arg.text, text), call.where)  # type: ignore[misc]  # a default binds the loop's value
        return HOLE
    run.record.reason("names-as-text", "what is read becomes part of a text that is executed", SEQUENTIAL, call.where)
    return run.execute_text(re.sub(r"\{[^{}\s]*\}", "./cbx-name", text), call.where)


def _text(run: Interpreter, call: Call, rule: Rule) -> str:
    """The operands are joined to a text for the shell: watch, script -c, entr -s, hyperfine."""
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = parsed.operands + parsed.rest
    if rule.tier is not SAFE:
        programs.finish(run, call, rule, rule.tier, touched=True)
    for given in parsed.options:
        if given.option.role == "rest":
            return run.dispatch(words, call.stdin, call.where) if words else HOLE
    if words:
        return run.execute_text(" ".join(arg.text for arg in words), call.where)
    return HOLE


def _each_text(run: Interpreter, call: Call, rule: Rule) -> str:
    """Every operand is a text for the shell."""
    parsed = _begin(run, call, rule)
    for arg in [] if parsed is None else [*parsed.operands, *parsed.rest]:
        run.execute_text(arg.text, call.where)
    return HOLE


def _script(run: Interpreter, call: Call, rule: Rule) -> str:
    """script(1): a file for the record, then the command."""
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = parsed.operands + parsed.rest
    if words:
        run.writes(words[0], call.where)
        if len(words) > 1:
            return run.dispatch(words[1:], call.stdin, call.where)
    if parsed.has("-c", "--command"):
        return HOLE
    return run.executes_unknown("opens a shell that reads its input", call.where)


def _flock(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = parsed.operands + parsed.rest
    if words and not words[0].text.isdigit():
        run.writes(words[0], call.where)
    if len(words) > 2 and words[1].text in {"-c", "--command"}:
        return run.execute_text(words[2].text, call.where)
    return run.dispatch(words[1:], call.stdin, call.where) if words[1:] else HOLE


def _busybox(run: Interpreter, call: Call, rule: Rule) -> str:  # noqa: ARG001 -- every handler is called alike
    """The first operand is the program's name."""
    if call.args and call.args[0].text.startswith("--"):
        return HOLE
    return run.dispatch(call.args, call.stdin, call.where) if call.args else HOLE


def _elsewhere(run: Interpreter, call: Call, rule: Rule) -> str:
    """In another root or another machine: the command counts, its paths do not."""
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    words = (parsed.operands + parsed.rest)[max(rule.wrap, 0) :]
    run.record.reason(rule.name, rule.why or f"{rule.name} runs a command elsewhere", rule.tier, call.where)
    if not words:
        return run.executes_unknown(f"{rule.name} opens a shell", call.where) if rule.tier is DANGEROUS else HOLE
    saved, run.state = run.state, run.state.copy()
    run.state.remote = True
    output = run.dispatch(words, call.stdin, call.where)
    run.state = saved
    return output


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    "wrap": _wrap,
    "cargo-watch": _cargo_watch,
    "env": _env,
    "sudo": _sudo,
    "su": _su,
    "xargs": _xargs,
    "parallel": _parallel,
    "text": _text,
    "each-text": _each_text,
    "script": _script,
    "flock": _flock,
    "busybox": _busybox,
    "elsewhere": _elsewhere,
}
