"""Programs that change files in ways that depend on what they are given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.checks import places
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.handlers import unpacking
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.rules import Option
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule


def _rm(run: Interpreter, call: Call, rule: Rule) -> str:
    """rm: by name it is a change like another; recursive, forced outside the project, or unknown it destroys."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    recursive = parsed.has("-r", "-R", "--recursive")
    forced = parsed.has("-f", "--force")
    if recursive:
        run.record.reason("rm-recursive", "deletes trees", DANGEROUS, call.where)
    elif parsed.open:
        run.record.reason("rm-unknown", "deletes what is not known before it runs", DANGEROUS, call.where)
    elif forced and (not parsed.operands or any(HOLE in arg.text for arg in parsed.operands)):
        run.record.reason("rm-forced", "deletes without asking", DANGEROUS, call.where)
    for arg in parsed.operands:
        where = run.where(arg.start, arg.end)
        path, _ = run.place(arg)
        named = (run.absolute(arg.text) or path) if HOLE not in arg.text else path
        inside = named.startswith(run.project() + "/") or (HOLE in arg.text and run.inside_project(named))
        vital = run.vital(named) and not (inside and "/.git" not in named)
        if vital or (forced and not run.inside_project(path)):
            run.record.reason("rm-vital", f"deletes {arg.text}", DANGEROUS, where)
        run.writes(arg, where, access=Access.DELETE, under=recursive)
    run.record.reason("rm", "deletes files", SEQUENTIAL, call.where)
    programs.note_cost(run, rule, SEQUENTIAL)
    return HOLE


_CLAUSE = expression(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")


def _sets_id(mode: str) -> bool:
    """Whether a mode lets whoever runs a file become its owner: u+s, +s, 4755; g+s is common on directories."""
    if mode.isdigit():
        return len(mode.lstrip("0")) == 4 and mode.lstrip("0")[0] in "4567"
    clauses = [_CLAUSE.fullmatch(clause) for clause in mode.split(",")]
    return any(
        found
        and (not found.group(1) or set(found.group(1)) & set("ua"))
        and re.search(r"[+=][rwxXt]*s", found.group(2))
        for found in clauses
    )


def _permissions(run: Interpreter, call: Call, rule: Rule) -> str:
    """chmod, chown: a change like another, but not all over the system, and not to let others become the owner."""
    parsed = parse_options(rule, call.args)
    if rule.name == "chmod" and not parsed.has("--reference") and parsed.operands:
        mode = parsed.operands[0]
        if _sets_id(mode.text):
            where = run.where(mode.start, mode.end)
            run.record.reason("sets-id", "lets whoever runs the file become its owner", DANGEROUS, where)
    if parsed.has("-R", "--recursive"):
        for arg in parsed.operands[1:]:
            path, _ = run.place(arg)
            if (run.of_system(path) or run.vital(path)) and not run.inside_project(path):
                run.record.reason("permissions-all", f"changes who may use {path} as a whole", DANGEROUS, call.where)
    if parsed.has("-h", "--no-dereference") and len(parsed.operands) > 1:
        for arg in parsed.operands[1:]:
            under = parsed.has("-R", "--recursive")
            run.writes(arg, run.where(arg.start, arg.end), under=under, follow=False)
        programs.finish(run, call, rule, rule.tier, touched=True)
        return HOLE
    return programs.generic(run, call, replace(rule, handler=""))


def _tar(run: Interpreter, call: Call, rule: Rule) -> str:
    """tar: what it does depends on the mode, which may stand without a dash."""
    if programs.only_help(call, rule):
        return HOLE
    args = list(call.args)
    if args and not args[0].text.startswith("-") and args[0].known:
        args = _bundled(args)
    parsed = parse_options(rule, args)
    for given in parsed.options:
        if given.name == "--checkpoint-action":
            if given.value is not None and given.value.text.startswith("exec="):
                run.execute_text(given.value.text[5:], call.where)
            elif given.value is None or HOLE in given.value.text:
                run.executes_unknown("what tar executes is not known", call.where)
        elif given.option.role in {"run", "attached-run"}:
            programs.option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason("tar", f"tar {given.name}", given.option.tier, call.where)
    if parsed.open:
        run.record.reason("unknown-option", "an argument of tar may be an option", SEQUENTIAL, call.where)
    archive = parsed.value("-f", "--file")
    if parsed.has("-t", "--list", "-d", "--diff", "--compare"):
        if archive:
            run.reads(archive, call.where)
        if parsed.has("-d", "--diff", "--compare"):  # what it holds is compared with what lies where it would go
            held = unpacking.stripped(parsed, unpacking.names(run, archive))
            for place in _unpacked_to(call, parsed):
                unpacking.beneath(run, call, place, held, reads=True)
    elif parsed.has("-x", "--extract", "--get"):
        if archive:
            run.reads(archive, call.where)
        if not parsed.has("-O", "--to-stdout", "--to-command"):
            held = unpacking.stripped(parsed, unpacking.names(run, archive))
            for place in _unpacked_to(call, parsed):
                unpacking.beneath(run, call, place, held)
            run.record.reason("tar", "unpacks an archive", SEQUENTIAL, call.where, placed=True)
    else:
        _tar_writes(run, call, parsed, archive)
    programs.note_cost(run, rule, SEQUENTIAL)
    return HOLE


def _unpacked_to(call: Call, parsed: Parsed) -> list[Arg]:
    """Return the directories that tar unpacks to: -C is for the names that follow it."""
    given = [option.value for option in parsed.options if option.name in {"-C", "--directory"} and option.value]
    if not given or any(arg.start < given[0].start for arg in parsed.operands):
        return [Arg(".", *call.where), *given]
    return given


def _tar_writes(run: Interpreter, call: Call, parsed: Parsed, archive: Arg | None) -> None:
    cwd, directory = run.state.cwd, parsed.value("-C", "--directory")
    if directory is not None:  # the archive is named from where tar begins, what goes into it from there
        run.state.cwd = run.absolute(directory.text) if directory.known else None
    for arg in parsed.operands:
        run.reads(arg, call.where, under=True)
    run.state.cwd = cwd
    names = parsed.value("-T", "--files-from")
    if names is not None:
        run.reads(names, call.where)
        run.reads(directory or Arg(".", *call.where), call.where, under=True)
    snapshot = parsed.value("-g", "--listed-incremental")
    if snapshot is not None:
        run.writes(snapshot, call.where)
    if archive is not None and archive.text == "-":
        return
    if archive is None or not run.writes(archive, call.where):
        run.record.reason("tar", "writes an archive", SEQUENTIAL, call.where)
    if parsed.has("--remove-files"):
        for arg in parsed.operands:
            run.writes(arg, call.where, access=Access.DELETE, under=True)


def _bundled(args: list[Arg]) -> list[Arg]:
    """Read the old form: the letters, then their arguments in the same order."""
    out: list[Arg] = []
    rest = list(args[1:])
    for letter in args[0].text:
        out.append(replace(args[0], text="-" + letter))
        if letter in "fCTXIFbgHVLKN" and rest:
            out.append(rest.pop(0))
    return out + rest


def _tee(run: Interpreter, call: Call, rule: Rule) -> str:
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    content = HOLE if call.stdin is None else call.stdin
    for arg in parsed.operands:
        append = parsed.has("-a", "--append")
        if append:
            run.held(arg)
        path = run.redirected(arg, run.where(arg.start, arg.end), append=append)
        if path is not None:
            run.saved(path, content, append=append)
    return content


def _passes(run: Interpreter, call: Call, rule: Rule) -> str:
    """cat: what it prints is known where what it reads is."""
    programs.generic(run, call, rule)
    operands = [arg for arg in call.args if not arg.text.startswith("-") or arg.text == "-"]
    if len(operands) != len(call.args):
        return HOLE
    if not operands:
        return HOLE if call.stdin is None else call.stdin
    out = []
    for arg in operands:
        if arg.text in {"-", "/dev/stdin"}:
            out.append(HOLE if call.stdin is None else call.stdin)
        else:
            path = run.absolute(arg.text) if arg.known else None
            out.append(HOLE if path is None else _printed(run, path))
    return "".join(out)


_SHORT = 4096  # bytes of a file that is read because something goes on with what it holds


def _printed(run: Interpreter, path: str) -> str:
    """Return what cat prints of a file: what this text has written there, or a few lines of the project's."""
    written = run.state.files.get(path)
    if written is not None or not run.asides or not run.inside_project(path):
        return HOLE if written is None else written
    mark, _ = places.read(path, whole=False)
    return HOLE if mark else sources.text(run, path, limit=_SHORT) or HOLE


def _downloads(run: Interpreter, call: Call, rule: Rule) -> str:
    """curl, wget, http: looking is safe, sending and saving is not."""
    if programs.only_help(call, rule):
        return HOLE
    if rule.name == "curl":
        rule = replace(rule, options=rule.options | _MADE_UP)
    parsed = parse_options(rule, call.args)
    rule = replace(rule, handler="", unknown=SEQUENTIAL)
    document = parsed.value("-O", "--output-document")
    if rule.name == "wget" and document is not None and document.text in {"-", "/dev/stdout"}:
        rule = replace(rule, tier=SAFE, writes=())
    output = programs.settle(run, call, rule, parsed)
    _sends(run, call, parsed)
    if rule.name == "wget":
        _wgetrc(run, call, parsed)
    for given in parsed.options:
        if given.option.role == "write" and given.value is not None and given.value.known:
            path = run.absolute(given.value.text)
            if path is not None and path in {effect.path for effect in run.record.paths.values()}:
                run.state.files[path] = HOLE
    _saved_as_named(run, rule, parsed)
    if any(
        given.name in {"-w", "--write-out"} and given.value and "%output{" in given.value.text
        for given in parsed.options
    ):
        run.record.reason("writes", "writes a file that the format names", SEQUENTIAL, call.where)
    method = parsed.value("-X", "--request", "--method")
    if method is not None and method.text.upper() not in {"GET", "HEAD", "OPTIONS"}:
        run.record.reason("sends", f"sends a {method.text.upper()} request", SEQUENTIAL, call.where)
    hosts = [arg for arg in parsed.operands if not arg.text.startswith("-")] + [
        given.value for given in parsed.options if given.name == "--url" and given.value
    ]
    for arg in hosts:
        if arg.text.startswith("file:"):
            run.reads(Arg(arg.text[5:].replace("//", "", 1), arg.start, arg.end), call.where)
        else:
            programs.connect(run, arg, call.where)
        spoken = _SPOKEN.match(arg.text) or (_GUESSED.match(arg.text) if rule.name == "curl" else None)
        if spoken is not None:
            text = f"says to a service what the {spoken.group(1).lower()} address spells"
            run.record.reason("sends", text, SEQUENTIAL, call.where)
    if not hosts:
        run.record.connection(None, None, call.where)
    return output


# What stands in such an address is sent as it is: a command to whatever listens there.
_SPOKEN = expression(r"(gophers?|dict|telnet|mqtts?|smtps?|imaps?|pop3s?|ldaps?|rtmp\w*|wss?):/{1,3}", re.IGNORECASE)
# An address without a scheme has the one that its host's name begins with.
_GUESSED = expression(r"(?:[^/@]*@)?(dict|imap|ldap|smtp|pop3)\.", re.IGNORECASE)
# What curl makes addresses and data of: of which kind they are, and which file is sent, does not stand in them.
_MADE_UP = dict.fromkeys(("--proto-default", "--variable"), Option(1, "value", SEQUENTIAL))


def _saved_as_named(run: Interpreter, rule: Rule, parsed: Parsed) -> None:
    """Note the file that gets its name from the URL; what it holds is not known."""
    named = parsed.has("-O", "--remote-name") if rule.name == "curl" else not parsed.has("-O", "--output-document")
    if not named or parsed.has("--spider"):
        return
    directory = parsed.value("-P", "--directory-prefix", "--output-dir")
    for arg in parsed.operands:
        name = re.split("[?#]", arg.text.partition("://")[2] or arg.text)[0].rpartition("/")[2]
        if arg.known and name:
            path = run.absolute(f"{directory.text}/{name}" if directory is not None and directory.known else name)
            if path is not None:
                run.state.files[path] = HOLE
                run.record.trail.writes(path)


# Settings of wget that neither write, send nor run anything, spelled as it compares them.
_PLAIN_SETTINGS = frozenset(
    """robots user useragent referer tries timeout dnstimeout connecttimeout readtimeout wait waitretry randomwait quota
    limitrate useproxy httpproxy httpsproxy ftpproxy noproxy checkcertificate cacertificate cadirectory secureprotocol
    verbose quiet showprogress progress serverresponse debug passiveftp cache continue level recursive noparent accept
    reject domains excludedomains followftp relativeonly spanhosts inet4only inet6only retryonhttperror header
    httpsonly ignorelength maxredirect dnscache bindaddress trustservernames contentonerror loglevel""".split()
)


def _wgetrc(run: Interpreter, call: Call, parsed: Parsed) -> None:
    """Follow the lines of a configuration that stand on the command line."""
    for given in parsed.options:
        if given.name not in {"-e", "--execute"} or given.value is None:
            continue
        name, _, value = given.value.text.partition("=")
        setting = name.strip().lower().replace("_", "").replace("-", "")
        if setting == "useaskpass":
            run.execute_text(value.strip(), call.where)
        if setting not in _PLAIN_SETTINGS:
            run.record.reason("settings", "a setting that writes, sends or runs something", SEQUENTIAL, call.where)


def _sends(run: Interpreter, call: Call, parsed: Parsed) -> None:
    """Note the files whose content goes out: @FILE in data and forms, and what is uploaded."""
    for given in parsed.options:
        if given.value is None or not given.value.known:
            continue
        name, text = "", given.value.text
        if given.name in {
            "-d",
            "--data",
            "--data-binary",
            "--data-ascii",
            "--data-urlencode",
            "--json",
            "-F",
            "--form",
        }:
            name = text.partition("@")[2].partition(";")[0] if "@" in text else text.partition("=<")[2]
        elif given.name in {"-H", "--header", "--proxy-header"} and call.name == "curl":
            name = text.removeprefix("@") if text.startswith("@") else ""
            if name:
                run.record.reason("sends", "sends what is in a file", SEQUENTIAL, call.where)
        elif given.name in {"-T", "--upload-file", "--post-file", "--body-file"}:
            name = text
        if name not in {"", "-"}:
            run.reads(replace(given.value, text=name), call.where)


def _http(run: Interpreter, call: Call, rule: Rule) -> str:
    """HTTPie and xh: a method, a URL, then items; items without a method make it a POST."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    words = list(parsed.operands)
    for given in parsed.options:
        programs.option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    method = ""
    if words and words[0].text.isalpha() and words[0].text.isupper():
        method = words.pop(0).text
    if words:
        programs.connect(run, words.pop(0), call.where)
    items = [arg for arg in words if not _is_query(arg.text)]
    if (method or "GET") not in {"GET", "HEAD", "OPTIONS"} or (not method and items):
        run.record.reason("sends", f"sends a {method or 'POST'} request", SEQUENTIAL, call.where)
    programs.note_cost(run, rule, SAFE)
    return HOLE


def _is_query(text: str) -> bool:
    return "==" in text or (":" in text and "=" not in text)


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    "rm": _rm,
    "permissions": _permissions,
    "tar": _tar,
    "tee": _tee,
    "passes": _passes,
    "downloads": _downloads,
    "http": _http,
}
