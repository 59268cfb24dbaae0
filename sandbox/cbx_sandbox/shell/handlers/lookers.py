"""Programs that mostly look, but whose little languages can run, write and delete: find, awk, sed, jq's kin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.handlers.wrappers import names_into
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule
    from cbx_sandbox.shell.state import Where

_FIND_WITH_VALUE = frozenset(
    """-name -iname -path -ipath -wholename -iwholename -lname -ilname -regex -iregex -type -xtype -size -mtime -atime
    -ctime -mmin -amin -cmin -newer -anewer -cnewer -perm -user -group -uid -gid -maxdepth -mindepth -links -inum
    -samefile -fstype -printf -used -regextype -context -D -f -newerXY""".split()
)


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
    for arg in starts:
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
            for arg in starts or [Arg(".", *call.where)]:
                run.writes(arg, call.where, access=Access.DELETE, under=True)
        elif text in {"-fprint", "-fprint0", "-fls", "-fprintf"}:
            if index < len(args):
                run.writes(args[index], call.where)
            index += 2 if text == "-fprintf" else 1
        elif text == "-files0-from" and index < len(args):
            run.reads(args[index], call.where)
            index += 1
        elif text in _FIND_WITH_VALUE or text.startswith("-newer"):
            index += 1
        elif not re.match(r"[-(!,]|\\\(", text) and text not in {")", "\\)", "+", ";"} and not text.startswith("-"):
            run.reads(args[index - 1], call.where, under=True)
    programs.note_cost(run, rule, SAFE)
    return HOLE


def _find_exec(run: Interpreter, call: Call, args: list[Arg], index: int, starts: list[Arg]) -> int:
    end = index
    while end < len(args) and args[end].text != ";" and not (args[end].text == "+" and args[end - 1].text == "{}"):
        end += 1
    command = args[index:end]
    if command:
        base = starts[0].text.rstrip("/") if starts and starts[0].known and len(starts) == 1 else "."
        run.dispatch(names_into(run, call, command, "{}", base or ""), None, call.where)
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


# -- sed ----------------------------------------------------------------------------------------------------------

_SED_ADDRESS = re.compile(
    r"\s*(?:\d+(?:~\d+)?|\$|\\(.)(?:\\.|(?!\1).)*\1[IM]*|/(?:\\.|\[(?:\^?\]?[^\]]*)\]|[^/\\])*/[IM]*)"
)
_SED_PLAIN = frozenset("dDgGhHlnNpPqQxzF=")


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
    for script in scripts:
        if script is not None and not sandbox:
            sed_script(run, script.text, run.where(script.start, script.end))
    for file in files:
        if file is not None:
            run.reads(file, call.where)
            run.record.reason("script-file", "a sed script that is not read", SEQUENTIAL, call.where)
    in_place = parsed.has("-i", "-I", "--in-place")
    if any(given.name == "-e" and re.fullmatch(r"-\w*e[A-Za-z]{1,3}", given.arg.text) for given in parsed.options):
        run.record.reason("sed-options", "a script that looks like options", SEQUENTIAL, call.where)
    for arg in operands:
        if in_place:
            run.reads(arg, call.where)
            run.writes(arg, run.where(arg.start, arg.end))
        else:
            run.reads(arg, call.where)
    if in_place and not operands:
        run.record.reason("sed-in-place", "rewrites files in place", SEQUENTIAL, call.where)
        run.writes_place("cwd", call.where, SEQUENTIAL)
    programs.note_cost(run, rule, SAFE)
    return HOLE


def sed_script(run: Interpreter, script: str, where: Where) -> None:
    """Read a sed script: e executes, w and W write, s has flags for both."""
    if HOLE in script:
        run.record.reason("sed-script", "a sed script that is not known", SEQUENTIAL, where)
        return
    position = 0
    while position < len(script):
        if script[position] in " \t\n;{}":
            position += 1
            continue
        if script[position] == "#":
            position = _line_end(script, position)
            continue
        position = _sed_command(run, script, position, where)
        if position < 0:
            run.record.reason("sed-script", "a sed script that cannot be read", SEQUENTIAL, where)
            return


def _sed_command(run: Interpreter, script: str, position: int, where: Where) -> int:
    """Read one command with its addresses; return where it ends, negative where it cannot be read."""
    found = _SED_ADDRESS.match(script, position)
    if found:
        position = found.end()
        comma = re.compile(r"\s*,\s*[+~]?").match(script, position)
        if comma:
            second = _SED_ADDRESS.match(script, comma.end())
            if not second:
                return -1
            position = second.end()
    position = _skip(script, position, " \t!")
    command = script[position : position + 1]
    position += 1
    if command == "s":
        return _sed_substitute(run, script, position, where)
    if command == "y":
        return _sed_fields(script, position, 2)[1]
    if command in {"w", "W", "r", "R"}:
        end = _line_end(script, position)
        name = Arg(script[position:end].strip(), *where)
        if command in {"w", "W"}:
            run.writes(name, where)
        else:
            run.reads(name, where)
        return end
    if command == "e":
        end = _line_end(script, position)
        text = script[position:end].strip()
        if text:
            run.execute_text(text, where)
        else:
            run.executes_unknown("sed executes what it reads", where)
        return end
    if command and command in "aic":
        end = _line_end(script, position)
        while script[position:end].endswith("\\") and end < len(script):
            end = _line_end(script, end + 1)
        return end
    if command and command in ":btTvqQlL":
        return _until(script, position, "\n;}" if command != ":" else "\n;")
    if command in {"{", "}"}:
        return position
    if command in _SED_PLAIN:
        after = _skip(script, position, " \t" + ("0123456789" if command in "qQl" else ""))
        return after if after >= len(script) or script[after] in "\n;}#" else -1
    return -1


def _sed_fields(script: str, position: int, count: int) -> tuple[list[str], int]:
    """Read what stands between delimiters."""
    delimiter = script[position : position + 1]
    if delimiter in {"", "\n", "\\"}:
        return [], -1
    fields, start, position = list[str](), position + 1, position + 1
    bracket = False
    while position < len(script):
        char = script[position]
        if char == "\\":
            position += 2
            continue
        if char == "[" and not bracket and delimiter != "[" and not fields:
            closing = script.find("]", position + 2)
            bracket = closing > 0 and delimiter not in script[position:closing]
        elif char == "]":
            bracket = False
        if char == delimiter and bracket:
            return fields, -1  # implementations disagree on whether this delimits
        if char == delimiter:
            fields.append(script[start:position])
            start = position + 1
            if len(fields) == count:
                return fields, start
        position += 1
    return fields, -1


def _sed_substitute(run: Interpreter, script: str, position: int, where: Where) -> int:
    _, position = _sed_fields(script, position, 2)
    while 0 <= position < len(script):
        flag = script[position]
        if flag in "gpiIM0123456789":
            position += 1
        elif flag == "e":
            run.executes_unknown("sed executes what it makes", where)
            position += 1
        elif flag == "w":
            end = _line_end(script, position)
            run.writes(Arg(script[position + 1 : end].strip(), *where), where)
            return end
        elif flag in " \t\n;}#":
            return position
        else:
            return -1
    return position


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _skip(text: str, position: int, chars: str) -> int:
    while position < len(text) and text[position] in chars:
        position += 1
    return position


def _until(text: str, position: int, chars: str) -> int:
    while position < len(text) and text[position] not in chars:
        position += 1
    return position


# -- awk ----------------------------------------------------------------------------------------------------------

_AWK_TOKEN = re.compile(
    r"\s+|#[^\n]*|\"(?:[^\"\\]|\\.)*\"|[A-Za-z_]\w*|\d[\w.]*|\|&|\|\||>>|>=|&&|[-+*/%^!=<>]=|.", re.DOTALL
)
_AWK_REGEX = re.compile(r"/(?:\\.|\[\^?\]?[^\]\n]*\]|[^/\\\n])+/")


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
    sources = [given.value for given in parsed.options if given.name in {"-e", "--source"}]
    if parsed.has("-f", "--file", "-E", "--exec", "-l", "--load", "-i", "--include"):
        run.record.reason("script-file", "an awk program that is not read", SEQUENTIAL, call.where)
        run.writes_place("project", call.where, SEQUENTIAL)
    elif not sources and words:
        sources = [words.pop(0)]
    for source in sources:
        if source is not None:
            awk_program(run, source.text, run.where(source.start, source.end))
    for arg in words:
        if "=" not in arg.text:
            run.reads(arg, call.where)
    programs.note_cost(run, rule, SAFE)
    return HOLE


def awk_program(run: Interpreter, text: str, where: Where) -> None:
    """Look through an awk program for what runs, writes or reads beside its input."""
    if HOLE in text:
        run.executes_unknown("an awk program that is not known before it runs", where)
        return
    tokens = _awk_tokens(text)
    printing, depth, base = False, 0, 0
    for index, token in enumerate(tokens):
        if token == "system":  # noqa: S105 -- a word of awk
            _awk_runs(run, tokens[index + 1 : index + 4], where)
        elif token in {"print", "printf"}:
            printing, base = True, depth
        elif token in {";", "}", "\n"}:
            printing = False
        elif token in {"|", "|&"}:
            _awk_pipe(run, tokens, index, where)
        elif token in {"@", "getline"}:
            if token == "@":  # noqa: S105 -- a word of awk
                run.executes_unknown("awk calls or loads what is not known", where)
            elif tokens[index + 1 : index + 2] == ["<"] and tokens[index + 2 : index + 3]:
                target = tokens[index + 2]
                if target.startswith('"'):
                    run.reads(Arg(_awk_string(target), *where), where)
        elif token in {">", ">>"} and printing and depth == base:
            _awk_writes(run, tokens[index + 1 : index + 3], where)
        depth += (token in {"(", "["}) - (token in {")", "]"})


def _awk_tokens(text: str) -> list[str]:
    """Return the tokens that matter; a slash begins a pattern where no value stands before it."""
    tokens: list[str] = []
    position = 0
    while position < len(text):
        regex = _AWK_REGEX.match(text, position) if text[position] == "/" else None
        stepped = tokens[-2:] in (["+", "+"], ["-", "-"])  # after i++ a slash divides
        if (
            regex
            and not stepped
            and not (
                tokens and re.match(r"[\w)\]$\"]", tokens[-1][-1:]) and tokens[-1] not in {"print", "return", "in"}
            )
        ):
            tokens.append("/re/")
            position = regex.end()
            continue
        found = _AWK_TOKEN.match(text, position)
        assert found is not None
        token = found.group()
        position = found.end()
        if token.isspace():
            if "\n" in token:
                tokens.append("\n")
        elif not token.startswith("#"):
            tokens.append(token)
    return tokens


def _awk_string(token: str) -> str:
    return token[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def _awk_runs(run: Interpreter, following: list[str], where: Where) -> None:
    if len(following) == 3 and following[0] == "(" and following[1].startswith('"') and following[2] == ")":
        run.execute_text(_awk_string(following[1]), where)
    else:
        run.executes_unknown("awk executes text that it makes", where)


def _awk_pipe(run: Interpreter, tokens: list[str], index: int, where: Where) -> None:
    before, after = tokens[index - 1] if index else "", tokens[index + 1] if index + 1 < len(tokens) else ""
    text = before if after == "getline" else after
    follows = tokens[index + 2] if index + 2 < len(tokens) else ""
    if text.startswith('"') and (after == "getline" or follows in {"", ";", "}", "\n"}):
        run.execute_text(_awk_string(text), where, HOLE)
    else:
        run.executes_unknown("awk executes text that it makes", where)


def _awk_writes(run: Interpreter, following: list[str], where: Where) -> None:
    if following and following[0].startswith('"') and (len(following) < 2 or following[1] in {";", "}", "\n"}):
        run.writes(Arg(_awk_string(following[0]), *where), where)
    else:
        run.record.reason("writes", "awk writes files that it names itself", SEQUENTIAL, where)
        run.writes_place("cwd", where, SEQUENTIAL)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"find": _find, "fd": _fd, "sed": _sed, "awk": _awk}
