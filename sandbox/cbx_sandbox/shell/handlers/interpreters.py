"""Programs that execute a text: shells, Python, Perl, Ruby, Node and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import marks, programs, rules
from cbx_sandbox.shell.checks.follow import INJECTION
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.handlers import editing
from cbx_sandbox.shell.inner import javascript, other, perl, pieces, python, ruby, scripts, sources
from cbx_sandbox.shell.inner.python import imports
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.state import ZEROTH
from cbx_sandbox.shell.tiers import SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule
    from cbx_sandbox.shell.state import Where

_ZEROTH = frozenset({"sh", "bash", "dash"})  # in whose functions $0 is that of the text
_CODE = expression(r"[^\w:=,.+/\s-]")

# The languages whose texts are taken apart, by the names of their rules; the others are only searched.
_LANGUAGES = {"perl": perl.look, "ruby": ruby.look, "node": javascript.look}


def _shell(run: Interpreter, call: Call, rule: Rule) -> str:
    """bash, sh, zsh, dash, ksh: -c text, a script, or what is read."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, _plus(call.args), stop=True)
    if parsed.open:
        return run.executes_unknown(f"what {call.name} executes is not known", call.where)
    for given in parsed.options:
        if given.name in {"--rcfile", "--init-file"} and given.value:
            _script_file(run, call, given.value)
    if parsed.has("-l", "--login"):
        programs.configured(run, "login-shell", call.where)
    if parsed.has("-i"):
        programs.configured(run, "interactive-shell", call.where)
    words = parsed.operands + parsed.rest
    if parsed.has("-n") and words and not parsed.has("-c", "-i") and words[0].known:
        run.reads(words[0], call.where)  # it is read, and nothing in it is executed
        return HOLE
    if words and words[0].text == "-" and not parsed.has("-c"):
        words = []  # the end of the options: it reads its input
    if parsed.has("-c"):
        if not words:
            return ""
        return _with_positional(run, call, words)
    if words and not parsed.has("-s"):
        return _script_file(run, call, words[0], words[1:])
    if parsed.has("--version", "--help"):
        return HOLE
    if call.stdin is None or HOLE in call.stdin:
        fed = _fed(run, call)
        if fed is not None:
            return _script_file(run, call, fed)
        return run.executes_unknown(f"{call.name} executes what it reads", call.where)
    state = run.state.child(run.facts.env)
    state.positional = None
    return run.nested(call.stdin, call.where, HOLE, state)  # its commands read what is left of the script


def _fed(run: Interpreter, call: Call) -> Arg | None:
    """Return the file that a redirection has a program read: it is executed as one that is an operand."""
    path = run.fed
    if path is None or call.stdin is None or path.startswith(("/dev/", "/proc/")) or marks.of(call.stdin):
        return None
    if sources.changed(run, path) or run.facts.kind(run.facts.resolve(path)) == "other":
        return None  # it may be a FIFO: who writes to it says what is executed
    return Arg(path, *call.where)


def _plus(args: list[Arg]) -> list[Arg]:
    """Let +o and its like count as options."""
    return [
        replace(arg, text="-" + arg.text[1:]) if arg.text.startswith("+") and len(arg.text) > 1 else arg for arg in args
    ]


def _with_positional(run: Interpreter, call: Call, words: list[Arg]) -> str:
    text, rest = words[0], words[2:]
    if text.many or text.pattern:
        run.record.found(INJECTION, call.where)
        return run.executes_unknown("executes text that is not known before it runs", call.where)
    state = run.state.child(run.facts.env)
    state.positional = [arg.text for arg in rest] if all(arg.known for arg in rest) else None
    if call.name in _ZEROTH and len(words) > 1 and words[1].known:
        state.variables[ZEROTH] = words[1].text
    return run.execute_text(text.text, run.where(text.start, text.end), call.stdin, state)


def _script_file(run: Interpreter, call: Call, script: Arg, rest: list[Arg] | None = None) -> str:
    """Execute a file: known where this text has written it, else as unknown as a program by name."""
    where = run.where(script.start, script.end)
    path = run.absolute(script.text) if script.known else None
    if script.text.startswith(("/dev/", "/proc/")):
        if script.text in {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}:
            content = HOLE if call.stdin is None else call.stdin
        else:
            content = run.content(script, where)
        return run.execute_text(content, where)
    text = None if path is None or path in run.state.running else sources.text(run, path, sure=False)
    if path is not None and text is not None:
        if HOLE in text:
            return run.executes_unknown("executes text that is not known before it runs", where, text)
        known = not sources.changed(run, path)
        run.reads(script, where)
        output = scripts.shell(run, path, text, rest or [], where, call.stdin)
        return output if known else programs.unknown(run, replace_rule(call), script.text)
    if script.text.startswith(HOLE) or script.many:
        return run.executes_unknown(f"which script {call.name} executes is not known", where)
    run.reads(script, where)
    return programs.unknown(run, replace_rule(call), script.text)


def replace_rule(call: Call) -> Call:
    """Return the call as that of a program with a rule, so that its arguments are not looked at as commands."""
    return type(call)(call.name, [], call.rule, call.where, call.stdin)


# -- Python -------------------------------------------------------------------------------------------------------


def _python(run: Interpreter, call: Call, rule: Rule) -> str:
    if programs.only_help(call, rule) or call.texts() in (["-V"], ["-VV"], ["-h"]):
        programs.note_cost(run, rule, SAFE)
        return HOLE
    before, after = _until(call.args, {"-c", "-m"})
    parsed = parse_options(rule, before, stop=True)
    words = parsed.operands + parsed.rest
    if parsed.open:
        return run.executes_unknown(f"what {call.name} executes is not known", call.where)
    attached = call.args[len(before)].text[1:-1] if after and len(before) < len(call.args) else ""
    cluster = attached.partition(after[0][1] if after else "c")[0]
    if parsed.has("-i") or "i" in cluster:
        run.record.reason("interactive", "goes on with what it reads", SEQUENTIAL, call.where)
    if call.name.startswith("python2"):
        run.record.reason("python", "Python 2, whose text is read as that of Python 3", SEQUENTIAL, call.where)
    isolated = parsed.has("-I", "-P") or bool(set("IP") & set(cluster))
    if after and not words:
        flag, value, rest = after
        if call.stdin is not None and HOLE in call.stdin and run.record.network:
            run.record.reason("network-to-code", "feeds what comes from the network to code", SEQUENTIAL, call.where)
        if flag == "-c":
            return _python_text(run, value.text, run.where(value.start, value.end), isolated=isolated)
        return _module(run, call, rule, value, rest, isolated=isolated)
    if words and words[0].text != "-":

        def look(text: str, where: Where, path: str | None) -> None:
            imports.searched(run, text, where, path.rpartition("/")[0] if path else None, isolated=isolated)
            python.look(run, text, where, file=path, isolated=isolated)

        return _script(run, call, words[0], look)
    if call.stdin is None or HOLE in call.stdin:
        fed = _fed(run, call)
        if fed is not None and HOLE not in (sources.text(run, fed.text, sure=False) or ""):
            run.reads(fed, call.where)
            return programs.unknown(run, replace_rule(call), fed.text)
        return run.executes_unknown(f"{call.name} executes what it reads", call.where)
    return _python_text(run, call.stdin, call.where, isolated=isolated)


def _until(args: list[Arg], flags: set[str]) -> tuple[list[Arg], tuple[str, Arg, list[Arg]] | None]:
    """Split at -c or -m, also at the end of a cluster such as -Ic, also with the text attached."""
    for index, arg in enumerate(args):
        text = arg.text
        if not text.startswith("-") or text == "-" or text == "--" or text.startswith("--"):
            if text.startswith("--"):
                continue
            return args, None
        for position, char in enumerate(text[1:], 1):
            if "-" + char in flags:
                attached = text[position + 1 :]
                if attached:
                    return args[:index], ("-" + char, replace(arg, text=attached), args[index + 1 :])
                if index + 1 < len(args):
                    return args[:index], ("-" + char, args[index + 1], args[index + 2 :])
                return args, None
            if char in "WX":
                break
        if text[-1] in "WX":
            return args, None
    return args, None


def _python_text(run: Interpreter, text: str, where: Where, *, isolated: bool) -> str:
    if HOLE in text:
        return run.executes_unknown("executes Python text that is not known before it runs", where)
    imports.searched(run, text, where, run.state.cwd, isolated=isolated)
    python.look(run, text, where, isolated=isolated)
    return HOLE


def _module(run: Interpreter, call: Call, rule: Rule, value: Arg, rest: list[Arg], *, isolated: bool) -> str:
    sub = rule.sub(value.text) if value.known else None
    imports.searched(run, f"import {value.text}", call.where, run.state.cwd, isolated=isolated)
    if sub is None:
        if not value.known:
            return run.executes_unknown("which module is executed is not known", call.where)
        other = rules.find(value.text)
        if other is not None and other.local:
            tool = type(call)(value.text, rest, other, call.where, call.stdin)
            return run.strictly(tool, lambda: programs.apply(run, tool))
        if _own_module(run, value.text, call.where, isolated=isolated):
            return HOLE
        return programs.unknown(run, replace_rule(call), f"python -m {value.text}")
    reads = programs.chosen(sub, parse_options(sub, rest)).tier is SAFE and not isolated
    library = not reads or imports.from_library(run, value.text)
    if reads and (sub.tier is SAFE or not library) and call.texts()[-1] not in {"--help", "--version"}:
        # A module is looked for in the working directory first, and nobody vouches for what lies there.
        text = "runs a module that the working directory can replace"
        run.record.reason("module-from-here", text, SEQUENTIAL, call.where, placed=library)
    inner = type(call)(value.text, rest, rules.find(sub.handler.partition(":")[2]) or rule, call.where, call.stdin)
    if sub.handler.startswith("as:"):
        return run.strictly(inner, lambda: programs.apply(run, inner))
    return programs.generic(run, inner, sub)


def _own_module(run: Interpreter, name: str, where: Where, *, isolated: bool) -> bool:
    """Look at a module that lies in the working directory; False where there is none that can be read."""
    places = imports.places(run, run.state.cwd, isolated=isolated)
    found = imports.local(run, name, places or []) if "." not in name else None
    if found is None or found[0] in run.state.running:
        return False
    path, text = found
    if path.endswith("/__init__.py"):  # a package: this is executed first, then what is its program
        return False
    run.reads(Arg(path, *where), where)
    python.look(run, text, where, file=path, isolated=isolated)
    return True


def _script(run: Interpreter, call: Call, script: Arg, look: Callable[[str, Where, str | None], None]) -> str:
    """Execute a file in a language that can be looked at, where what it holds is known."""
    where = run.where(script.start, script.end)
    path = run.absolute(script.text) if script.known else None
    if script.text.startswith(("/dev/", "/proc/")):
        content = call.stdin if script.text == "/dev/stdin" else run.content(script, where)
        content, path = HOLE if content is None else content, None
    else:
        content = None
        if path is not None and path not in run.state.running:
            content = sources.text(run, path, sure=False)
    if content is not None:
        if HOLE in content:
            return run.executes_unknown("executes what this text has just written", where, content)
        known = path is None or not sources.changed(run, path)
        run.reads(script, where)
        look(content, where, path)
        return HOLE if known else programs.unknown(run, replace_rule(call), script.text)
    if script.text.startswith(HOLE) or script.many:
        return run.executes_unknown(f"which script {call.name} executes is not known", where)
    run.reads(script, where)
    return programs.unknown(run, replace_rule(call), script.text)


# -- Perl, Ruby, Node, PHP, Lua -------------------------------------------------------------------------------------


def _look_inline(run: Interpreter, rule: Rule, text: str, where: Where) -> None:
    """Look at code in a language that is read in part: at least sequential, more where it destroys something."""
    if HOLE in text:
        run.executes_unknown("executes text that is not known before it runs", where, text)
        return
    try:
        language = _LANGUAGES.get(rule.name)
        whole = language(run, text, where) if language else other.look(run, text, where, rule.name)
    except pieces.Unreadable:
        whole = other.look(run, text, where, rule.name)
    run.record.reason("inline-code", "code in a language that is read in part", SEQUENTIAL, where, placed=whole)
    if not whole:
        run.writes_place("project", where, SEQUENTIAL)


# perlrun(1): what -l, -0 and -C take ends where it cannot go on, and the next letter is an option again.
_TAKES_SOME = expression(r"l[0-7]*|0(?:[xX][0-9A-Fa-f]+|[0-7]*)|C(?:[0-9]+|[IOEioADSLa]*)")
_TAKES_REST = frozenset("eEiIMmFxdDV")


def _apart(args: list[Arg]) -> list[Arg]:
    """Part Perl's letters behind those of them that take some of what follows: -lane is -l -ane."""
    made: list[Arg] = []
    code = False
    for index, arg in enumerate(args):
        if code or not arg.text.startswith("-") or arg.text.startswith("--") or HOLE in arg.text:
            made.append(arg)
            if not code and not arg.text.startswith("-"):
                return made + args[index + 1 :]
            code = False
            continue
        begin = place = 1
        while place < len(arg.text) and arg.text[place] not in _TAKES_REST:
            took = _TAKES_SOME.match(arg.text, place)
            place = took.end() if took else place + 1
            if took and place < len(arg.text):
                made.append(replace(arg, text="-" + arg.text[begin:place]))
                begin = place
        made.append(replace(arg, text="-" + arg.text[begin:]))
        code = arg.text[place:] in {"e", "E"}
    return made


def _inline(run: Interpreter, call: Call, rule: Rule) -> str:
    """Interpreters with -e TEXT or a script."""
    if programs.only_help(call, rule) or call.texts() in (["-v"], ["-V"], ["-h"]):
        programs.note_cost(run, rule, SAFE)
        return HOLE
    parsed = parse_options(rule, _apart(call.args) if rule.name == "perl" else call.args, stop=True)
    if parsed.open:
        return run.executes_unknown(f"what {call.name} executes is not known", call.where)
    for given in parsed.options:
        # Perl makes `use …;` of what it is told to load.
        if rule.name == "perl" and given.name in {"-M", "-m"} and given.value and _CODE.search(given.value.text):
            return run.executes_unknown("code that stands where a module is named", call.where)
    texts = [given.value for given in parsed.options if given.option.role == "run"]
    for value in texts:
        if value is not None:
            _look_inline(run, rule, value.text, run.where(value.start, value.end))
    words = parsed.operands + parsed.rest
    for given in parsed.options:
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    if texts:
        _given_files(run, call, parsed, words)
        return HOLE
    if rule.subs and words and rule.sub(words[0].text):
        return programs.generic(run, call, replace(rule, handler=""))

    def look(text: str, where: Where, _path: str | None) -> None:
        _look_inline(run, rule, text, where)

    named = next((given.value for given in parsed.options if given.option.role == "read"), None)
    if named is not None:
        return _script(run, call, named, look)
    if words and words[0].text != "-":
        return _script(run, call, words[0], look)
    if call.stdin is None or HOLE in call.stdin:
        fed = _fed(run, call)
        if fed is not None:
            return _script(run, call, fed, look)
        return run.executes_unknown(f"{call.name} executes what it reads", call.where)
    _look_inline(run, rule, call.stdin, call.where)
    return HOLE


def _given_files(run: Interpreter, call: Call, parsed: Parsed, files: list[Arg]) -> None:
    """Note what -i, -n and -p do with the files that are named: Perl opens a name that ends in a bar as a command."""
    in_place = [given for given in parsed.options if given.name in {"-i", "--in-place"}]
    for arg in files:
        for given in in_place:
            run.writes(arg, call.where, follow=False)  # a new file takes the place of a link
            if given.value is not None and given.value.text:
                run.writes(editing.backup(arg, given.value), call.where)
        reads = parsed.has("-n", "-p") or any("<>" in given.value.text for given in parsed.options if given.value)
        if call.name.startswith("perl") and reads:
            name = arg.text.strip()
            if name.endswith("|"):
                run.execute_text(name[:-1], call.where)
            elif name.startswith("|"):
                run.execute_text(name[1:], call.where)
            elif name.startswith(">"):
                run.writes(replace(arg, text=name.lstrip("> ")), call.where)
            else:
                run.reads(replace(arg, text=name.removeprefix("<").strip()), call.where)


def _code_given(run: Interpreter, call: Call, rule: Rule) -> str:
    """Programs that are told in a language of their own what to do: by an option, else by what is read."""
    parsed = parse_options(rule, call.args)
    if not programs.only_help(call, rule):
        texts = [given.value for given in parsed.options if given.option.role == "run"]
        if rule.operands[:1] == ("run",):
            texts += parsed.operands[:1]
        for value in texts:
            if value is not None:
                _look_inline(run, rule, value.text, run.where(value.start, value.end))
        for given in parsed.options:
            if given.option.role == "exec" and given.value is not None:  # a command, in the shell's language
                run.execute_text(given.value.text, call.where)
        if not texts and not parsed.operands and call.stdin is not None:
            _read_code(run, call, rule)
        told = {"run", "exec"}
        calm = {name: replace(option, role="value") for name, option in rule.options.items() if option.role in told}
        rule = replace(rule, operands=(), options=rule.options | calm)
    return programs.generic(run, call, replace(rule, handler=""))


def _read_code(run: Interpreter, call: Call, rule: Rule) -> None:
    """Look at what a program is told on its input; a file that lies there is as one that is an operand."""
    text = call.stdin or ""
    fed = _fed(run, call) if HOLE in text else None
    if fed is None:
        _look_inline(run, rule, text, call.where)
    else:
        _script(run, call, fed, lambda text, where, _path: _look_inline(run, rule, text, where))


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    "code": _code_given,
    "shell": _shell,
    "python": _python,
    "inline": _inline,
}
