"""Tools whose words decide what they do, in ways of their own."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import marks, programs, rules
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import cmakelists, sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import CONDITIONAL, DANGEROUS, SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_CMAKE_MORE = ("-C", "-P", "-E", "--build", "--install", "--preset", "--toolchain", "-i", "--workflow", "--graphviz")
_CMAKE_LOOKS = frozenset("echo echo_append cat capabilities environment true false sleep compare_files".split()) | {
    f"{name}sum" for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
}
_IP_LOOKS = ("show", "list", "lst", "get", "identify", "list-id", "pids", "monitor", "help", "ls")
_CLOUD_LOOKS = expression(r"(?:list|describe|show|get|read|search|lookup|view|check)(?:-.*)?$|version$|info$|help$")
_CLOUD_ACTS = expression(
    r"(?:delete|create|update|set|add|remove|start|stop|restart|deploy|purge|reset|run|import|export|copy|cp|mv|rm|patch|scale|enable|disable|grant|revoke"
    r"|get-credentials|get-access-token|login|ssh|exec|move|rotate|restore|resize|attach|detach|invoke|submit|cancel|upload|download|sync|rsync)(?:-.*)?$"
)
_ONE_NAME = expression(
    r"\+(?:%[-_0^#]?[YmdHMSFTjsNyCuwVUGgIZzaAbB]|[\w.:@+-]){0,99}%[-_0^#]?[YmdHMSFTjsNyCuwVUGgI](?:%[-_0^#]?[YmdHMSFTjsNyCuwVUGgIZz]|[\w.:@+-]){0,99}"
)
_IN_FORMAT = expression(r"#\(([^)]*)")
_SOCAT_RUNS = expression(r"(exec|system|shell)(?::(.*))?$", re.IGNORECASE | re.DOTALL)
_SOCAT_FILES = expression(r"(?:open|create|creat|file|gopen|pipe):([^,]+)", re.IGNORECASE)
_FZF_RUNS = expression(
    r"(?:execute(?:-silent|-multi)?|become|reload(?:-sync)?|preview|transform\w*)(?:\((.*?)(?:\)(?=[,+]|$)|\Z)|\[(.*?)(?:\]|\Z)|:(.*))",
    re.DOTALL,
)


def _sysctl(run: Interpreter, call: Call, rule: Rule) -> str:
    output = programs.generic(run, call, replace(rule, handler=""))
    parsed = parse_options(rule, call.args)
    if parsed.has("-w", "--write", "-p", "--load", "--system") or any("=" in arg.text for arg in parsed.operands):
        run.record.reason("sysctl", "changes the kernel's settings", DANGEROUS, call.where)
        run.record.host_effect(HostKind.KERNEL, " ".join(["sysctl", *call.texts()]), call.where)
    elif parsed.open:
        run.record.reason("sysctl", "may change the kernel's settings", DANGEROUS, call.where)
    return output


def _ip(run: Interpreter, call: Call, rule: Rule) -> str:
    """Read ip OBJECT VERB: without a verb, or with one that looks, it is safe."""
    if programs.only_help(call, rule) or call.texts() == ["-V"]:
        return HOLE
    parsed = parse_options(rule, call.args, stop=True)
    words = [arg for arg in parsed.rest if not arg.text.startswith("-")]
    thing = parsed.operands[0].text if parsed.operands else ""
    verb = words[0].text if words else ""
    if thing.startswith("netn") and "exec".startswith(verb) and len(verb) > 1 and len(parsed.rest) > 2:
        run.record.reason("ip", "runs in another network namespace", SEQUENTIAL, call.where)
        return run.dispatch(parsed.rest[2:], call.stdin, call.where)
    known = not parsed.open and all(arg.known for arg in parsed.rest[:1])
    looks = verb == "" or thing.startswith("mo") or any(look.startswith(verb) for look in _IP_LOOKS)
    if thing.startswith("l") and verb == "s":
        looks = False
    if thing and looks and known and not parsed.has("-b", "-batch"):
        programs.note_cost(run, rule, SAFE)
        return HOLE
    if thing == "" and not parsed.open and not parsed.has("-b", "-batch"):
        return HOLE
    programs.finish(run, call, rule, rule.tier, touched=True)
    return HOLE


def _socat(run: Interpreter, call: Call, rule: Rule) -> str:
    """Run nc or socat: an address can be a program."""
    parsed = parse_options(rule, call.args)
    starts = [given for given in parsed.options if given.option.role == "run"] if rule.name != "socat" else []
    for arg in parsed.operands:
        found = _SOCAT_RUNS.match(arg.text)
        if found and rule.name == "socat":
            starts.append(arg)  # type: ignore[arg-type]  # only counted
            text = (found.group(2) or "sh").split(",")[0].replace("\\ ", " ")
            run.execute_text(text, call.where, HOLE)
        written = _SOCAT_FILES.match(arg.text)
        if written:
            run.writes(Arg(written.group(1), arg.start, arg.end), call.where)
    if starts:
        text = f"{rule.name} gives a program to whoever connects"
        run.record.reason("remote-shell", text, DANGEROUS, call.where)
    quiet = replace(rule, handler="", options={}) if rule.name == "socat" else replace(rule, handler="")
    return programs.settle(run, call, quiet, parse_options(quiet, call.args))


def _date(run: Interpreter, call: Call, rule: Rule) -> str:
    """An operand of date sets the clock unless it is a format."""
    parsed = parse_options(rule, call.args)
    if any(not arg.text.startswith("+") for arg in parsed.operands):
        run.record.reason("date", "may set the clock", DANGEROUS, call.where)
        run.record.host_effect(HostKind.KERNEL, "sets the clock", call.where)
    programs.generic(run, call, replace(rule, handler=""))
    form = parsed.operands[0].text if len(parsed.operands) == 1 and parsed.operands[0].known else ""
    return HOLE + marks.PART + "\n" if len(form) < _MANY and _ONE_NAME.fullmatch(form) else HOLE


def _pager(run: Interpreter, call: Call, rule: Rule) -> str:
    """Words that begin with a plus are commands of the pager, and those can run programs."""
    for arg in call.args:
        escape = re.match(r"\+\+?!(.+)", arg.text, re.DOTALL)
        if escape:
            run.execute_text(escape.group(1), call.where)
        elif arg.text.startswith("+") and not re.fullmatch(r"\+\+?(?:[0-9]+|[GF]|/.*)", arg.text):
            run.record.reason("pager-command", "a command of the pager can run programs", SEQUENTIAL, call.where)
    return programs.generic(run, call, replace(rule, handler=""))


def _rest(run: Interpreter, call: Call, rule: Rule) -> str:
    """Everything that follows is a command."""
    programs.finish(run, call, rule, rule.tier, touched=False)
    return run.dispatch(call.args, call.stdin, call.where) if call.args else HOLE


def _api(run: Interpreter, call: Call, rule: Rule) -> str:
    """Call gh api or glab api: a method, or fields that make it a POST."""
    parsed = parse_options(rule, call.args)
    if parsed.operands and parsed.operands[0].text == "graphql" and _only_asks(parsed):
        parsed.options = [given for given in parsed.options if given.name not in _FIELDS]
    method = parsed.value("-X", "--method")
    if method is not None and method.text.upper() not in {"GET", "HEAD"}:
        run.record.reason("sends", f"sends a {method.text.upper()} request", SEQUENTIAL, call.where)
    return programs.settle(run, call, replace(rule, handler="", unknown=SEQUENTIAL), parsed)


_FIELDS = ("-f", "-F", "--field", "--raw-field")


def _only_asks(parsed: Parsed) -> bool:
    """Whether what is sent to a GraphQL interface is a query: those change nothing, mutations do."""
    texts = [given.value for given in parsed.options if given.name in _FIELDS and given.value is not None]
    queries = [arg.text.partition("=")[2].strip() for arg in texts if arg.text.startswith("query=")]
    return (
        not parsed.open
        and all(arg.known for arg in texts)
        and bool(queries)
        and all(text.startswith(("query", "{")) and "mutation" not in text for text in queries)
    )


def _tmux(run: Interpreter, call: Call, rule: Rule) -> str:
    """tmux, zellij: a format may hold commands, whatever it is for."""
    for arg in call.args:
        for text in _IN_FORMAT.findall(arg.text):
            run.execute_text(text, run.where(arg.start, arg.end))
    return programs.generic(run, call, replace(rule, handler=""))


def _names(run: Interpreter, call: Call, rule: Rule) -> str:
    """basename, dirname, seq: what they print is known where their words are."""
    programs.generic(run, call, replace(rule, handler=""))
    texts = call.texts()
    if not texts or not all(arg.known for arg in call.args) or any(text.startswith("-") for text in texts):
        return HOLE
    if call.name == "seq":
        return _seq(texts)
    path = texts[0].rstrip("/")
    if not path or (call.name == "dirname" and len(texts) > 1) or len(texts) > 2:
        return HOLE
    directory, slash, name = path.rpartition("/")
    if call.name == "dirname":
        return f"{directory.rstrip('/') or slash or '.'}\n"
    return (name if name == "".join(texts[1:]) else name.removesuffix("".join(texts[1:]))) + "\n"


def _seq(texts: list[str]) -> str:
    """Count up from one number to another; HOLE where that is much."""
    if len(texts) > 3 or not all(re.fullmatch(r"[1-9]\d{0,3}|0", text) for text in texts):
        return HOLE
    numbers = [int(text) for text in texts]
    first = numbers[0] if len(numbers) > 1 else 1
    step = numbers[1] if len(numbers) > 2 else 1
    counted = range(first, numbers[-1] + 1, step) if step else range(0)
    return "".join(f"{number}\n" for number in counted) if 0 < len(counted) <= _MANY else HOLE


_MANY = 64  # numbers that are written down


def _npx(run: Interpreter, call: Call, rule: Rule) -> str:
    """Run npx PACKAGE: what the package is called may be a program that is known to do more."""
    parsed = parse_options(rule, call.args, stop=True)
    text = parsed.value("-c", "--call")
    if text is not None:
        run.execute_text(text.text, call.where)
    words = parsed.operands + parsed.rest
    programs.finish(run, call, rule, rule.tier, touched=False)
    if words and words[0].known:
        if _known(words[0].text):
            run.dispatch(words, call.stdin, call.where)
        else:
            programs.may_wrap(run, programs.replace_call(call, words[1:]))
    return HOLE


def _known(name: str) -> bool:
    """Whether a name is more than that of a package: a program that a rule knows, or a file."""
    return "/" in name or rules.find(name) is not None


def _uv(run: Interpreter, call: Call, rule: Rule) -> str:
    """Run uv run COMMAND; everything else as its rule says."""
    parsed = parse_options(rule, call.args, stop=True)
    if parsed.operands and parsed.operands[0].text == "run":
        programs.finish(run, call, rule, rule.tier, touched=False)
        inner = parse_options(replace(rule, subs={}), parsed.rest, stop=True)
        words = inner.operands + inner.rest
        if words and words[0].known and not inner.has("-m", "--module"):
            if _known(words[0].text):
                return run.dispatch(words, call.stdin, call.where)
            programs.may_wrap(run, programs.replace_call(call, words[1:]))
        if words and words[0].text.endswith(".py"):
            run.record.reason("unknown-program", f"what {words[0].text} does is not known", SEQUENTIAL, call.where)
        return HOLE
    return programs.generic(run, call, replace(rule, handler=""))


def _cmake(run: Interpreter, call: Call, rule: Rule) -> str:
    """See through cmake: -E COMMAND is a small busybox."""
    if call.args and call.args[0].text == "-E":
        words = call.args[1:]
        if words and words[0].text in {"rm", "remove", "remove_directory"}:
            run.record.reason("cmake-rm", "deletes files", SEQUENTIAL, call.where)
            programs.settle(run, call, replace(rule, handler="", options={}), parse_options(rule, []))
            if words[0].text != "remove" and (
                words[0].text == "remove_directory" or any("r" in a.text for a in words if a.text.startswith("-"))
            ):
                run.record.reason("cmake-rm", "deletes trees", DANGEROUS, call.where)
            return HOLE
        if words and words[0].text in {"env", "time"}:
            return run.dispatch(words, call.stdin, call.where)
        if words and words[0].text in _CMAKE_LOOKS:
            return HOLE
    parsed = parse_options(rule, call.args)
    build = parsed.value("-B")
    if build is not None and build.known and _configures(run, call, parsed):
        run.writes(build, call.where, under=True, tier=CONDITIONAL)
        rule = replace(rule, writes=())
    return programs.generic(run, call, replace(rule, handler=""))


_MOST_LISTS = 20  # CMakeLists.txt that are read for one command


def _configures(run: Interpreter, call: Call, parsed: Parsed) -> bool:
    """Whether a build is made ready by lists that are read, and that write nothing beside it."""
    source = parsed.value("-S") or (parsed.operands[0] if parsed.operands else Arg(".", *call.where))
    top = run.absolute(source.text) if source.known else None
    defined = " ".join(given.value.text for given in parsed.options if given.name == "-D" and given.value is not None)
    if top is None or parsed.open or parsed.has(*_CMAKE_MORE) or re.search("INCLUDE|TOOLCHAIN|LAUNCHER|PATH", defined):
        return False
    waiting, seen = [top], 0
    while waiting:
        path = f"{waiting.pop()}/CMakeLists.txt"
        seen += 1
        run.looks(path, call.where)
        text = sources.text(run, path) if seen <= _MOST_LISTS else None
        if text is None and seen == 1 and run.facts.kind(path) == "missing" and path not in run.state.files:
            return True  # then nothing is done
        found = None if text is None or HOLE in text else cmakelists.within(text)
        if found is None:
            return False
        waiting += [f"{path.rpartition('/')[0]}/{directory}" for directory in found]
    run.looks(top, call.where, under=True)
    return True


def _cloud(run: Interpreter, call: Call, rule: Rule) -> str:
    """gcloud, az: groups of words, one of which is the verb."""
    if programs.only_help(call, rule):
        return HOLE
    for given in parse_options(rule, call.args).options:
        if given.option.role == "run":
            programs.option_effects(run, call, rule, given)
    words = [arg for arg in call.args if not arg.text.startswith("-")]
    known = all(arg.known for arg in words[:4])
    acts = any(_CLOUD_ACTS.match(arg.text) for arg in words)
    looks = any(_CLOUD_LOOKS.match(arg.text) for arg in words)
    if call.name == "az":  # its verb is the last word before the options; a group can be called as a verb is
        leading = list(itertools.takewhile(lambda arg: not arg.text.startswith("-"), call.args))
        looks = looks and (not leading or _CLOUD_LOOKS.match(leading[-1].text) is not None)
    if looks and known and not acts:
        run.record.connection(None, None, call.where)
        programs.note_cost(run, rule, SAFE)
        return HOLE
    programs.finish(run, call, rule, rule.tier, touched=True)
    return HOLE


def _fzf(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = parse_options(rule, call.args)
    for given in parsed.options:
        value = given.value
        if value is None:
            continue
        if given.name == "--preview":
            run.nested(re.sub(r"\{[^{}]*\}", "./cbx-name", value.text), call.where)
        elif given.name in {"--bind", "--execute"}:
            for found in _FZF_RUNS.finditer(value.text):
                text = next((group for group in found.groups() if group is not None), "")
                run.execute_text(re.sub(r"\{[^{}]*\}", "./cbx-name", text), call.where)
        elif given.name == "--history":
            run.writes(value, call.where)
    programs.note_cost(run, rule, SAFE)
    return HOLE


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    "sysctl": _sysctl,
    "ip": _ip,
    "socat": _socat,
    "rest": _rest,
    "date": _date,
    "pager": _pager,
    "api": _api,
    "npx": _npx,
    "uv": _uv,
    "cmake": _cmake,
    "cloud": _cloud,
    "fzf": _fzf,
    "tmux": _tmux,
    "names": _names,
}
