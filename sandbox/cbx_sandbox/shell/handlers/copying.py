"""Programs that put files under other names: cp, mv, install, ln, mkdir."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import marks, programs
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_DIRECTORY = ("-t", "--target-directory")
_RECURSIVE = ("-r", "-R", "--recursive", "-a", "--archive")


def _copies(run: Interpreter, call: Call, rule: Rule) -> str:
    """cp, mv, install, ln: each source gets a name, in a directory where the last operand is one."""
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    if call.name in {"install", "ginstall"} and parsed.has("-d", "--directory"):
        for arg in parsed.operands:
            _makes(run, arg, parents=True)
        programs.finish(run, call, rule, rule.tier, touched=True)
        return HOLE
    sources, target = _split(parsed, call)
    for arg in (*(() if parsed.has("-s", "--symbolic") else sources), *((target,) if target is not None else ())):
        if arg.known and (call.name in {"ln", "link"}):
            run.looks(run.absolute(arg.text), call.where)
    moves, links = call.name == "mv", call.name in {"ln", "link", "cp-link"}
    for source in sources:
        where = run.where(source.start, source.end)
        if moves:
            run.writes(source, where, access=Access.DELETE)
        elif not links:
            run.reads(source, where, under=True)
    if target is not None:
        inside = _into(run, call, parsed, sources, target)
        for source in sources:
            made = _named(run, parsed, source, target) if inside else target
            _lands(run, call, parsed, source, made)
    programs.finish(run, call, rule, rule.tier, touched=bool(parsed.operands))
    return HOLE


def _begin(run: Interpreter, call: Call, rule: Rule) -> Parsed | None:
    """Take the options apart; None where only help was asked for."""
    if programs.only_help(call, rule):
        return None
    parsed = parse_options(rule, call.args)
    for given in parsed.options:
        if given.name not in _DIRECTORY:
            programs.option_effects(run, call, rule, given)
        if given.option.tier is not None:
            run.record.reason(rule.name, f"{rule.name} {given.name}", given.option.tier, call.where)
    return parsed


def _split(parsed: Parsed, call: Call) -> tuple[list[Arg], Arg | None]:
    """Return the sources and where they go."""
    directory = parsed.value(*_DIRECTORY)
    if directory is not None:
        return parsed.operands, directory
    if len(parsed.operands) == 1:
        only = parsed.operands[0]
        if call.name in {"ln", "link"}:
            return [only], Arg(".", only.start, only.end)
        return [], only  # more words than one, or nothing
    return parsed.operands[:-1], parsed.operands[-1] if parsed.operands else None


def _into(run: Interpreter, call: Call, parsed: Parsed, sources: list[Arg], target: Arg) -> bool:
    """Whether the sources go into the target rather than become it."""
    if parsed.value(*_DIRECTORY) is not None or target.text in {".", ".."} or target.text.endswith(("/", "/.", "/..")):
        return True
    if parsed.has("-T", "--no-target-directory"):
        return False
    path = run.absolute(target.text) if target.known else None
    if path is None:
        return False
    if call.name == "ln" and parsed.has("-n", "--no-dereference") and run.facts.kind(path) == "link":
        return False
    return len(sources) > 1 or run.is_directory(path)


def _named(run: Interpreter, parsed: Parsed, source: Arg, directory: Arg) -> Arg | None:
    """Return the name that a source gets in a directory; None where it can be any there."""
    name = source.text.rstrip("/").rpartition("/")[2]
    if source.many or HOLE in source.text or name in {"", ".", ".."} or parsed.has("--parents"):
        return None
    if source.pattern and any(run.is_directory(path) for path in run.facts.glob(run.absolute(source.text) or "")):
        return None
    text = f"{directory.text.rstrip('/')}/{name}"
    return Arg(text, source.start, source.end, source.pattern or directory.pattern, directory.many)


def _lands(run: Interpreter, call: Call, parsed: Parsed, source: Arg, made: Arg | None) -> None:
    """Note that a source arrives under a name, or somewhere in the target."""
    if made is None:
        target = parsed.value(*_DIRECTORY) or parsed.operands[-1]
        run.writes(target, run.where(target.start, target.end), under=True)
        return
    where = run.where(made.start, made.end)
    moves, links = call.name == "mv", call.name in {"ln", "link", "cp-link"}
    path = run.absolute(source.text) if source.known else None
    tree = not links and (moves or parsed.has(*_RECURSIVE)) and path is not None and run.is_directory(path)
    if moves and path is not None and run.facts.kind(path) == "link":
        tree = False
    # What is moved, linked or copied as a link takes the place of a link; only a copy is written through one.
    through = not (moves or links or parsed.has("-P", "-d", "-a", "--remove-destination"))
    if not through and made.known and (run.absolute(made.text) or "").startswith("/dev/") and not run.state.remote:
        run.record.reason("replaces-device", f"puts something in the place of {made.text}", DANGEROUS, where)
    if parsed.has("-D") and made.known:
        run.parents(made, where)
    run.writes(made, where, under=tree, follow=through)
    if parsed.has("-b", "--backup", "-S", "--suffix"):
        suffix = parsed.value("-S", "--suffix")
        kept = Arg(made.text + (suffix.text if suffix is not None else "~"), made.start, made.end, made.pattern)
        kind = parsed.value("--backup")
        if kind is not None and kind.text in {"t", "numbered", "nil", "existing"}:
            kept = Arg(made.text + ".~*~", made.start, made.end, pattern=True)
        run.writes(kept, where, follow=False)


def _mkdir(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = _begin(run, call, rule)
    if parsed is None:
        return HOLE
    for arg in parsed.operands:
        _makes(run, arg, parents=parsed.has("-p", "--parents"))
    programs.finish(run, call, rule, rule.tier, touched=bool(parsed.operands))
    return HOLE


def _makes(run: Interpreter, arg: Arg, *, parents: bool) -> None:
    if parents and arg.known:
        run.parents(arg, run.where(arg.start, arg.end))
    run.writes(arg, run.where(arg.start, arg.end), access=Access.CREATE)


_TEMPLATE = expression(r"X{3,}(?=[^X]*$)")


def _mktemp(run: Interpreter, call: Call, rule: Rule) -> str:
    """mktemp: without a directory it goes to TMPDIR, of which every job has its own."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    if programs.chosen(rule, parsed).tier is SAFE:
        return HOLE
    directory = parsed.value("-p", "--tmpdir")
    template = parsed.operands[0] if parsed.operands else None
    if directory is not None and directory.text:
        name = "tmp.XXX" if template is None else template.text
        text = f"{directory.text.rstrip('/')}/{_TEMPLATE.sub('*', name)}"
        exact = directory.known and "*" in text and HOLE not in name
        run.writes(replace(directory, text=text, pattern=True) if exact else directory, call.where, under=not exact)
    elif template is not None and not parsed.has("-t", "--tmpdir"):
        text = _TEMPLATE.sub("*", template.text)
        run.writes(replace(template, text=text, pattern="*" in text), call.where, access=Access.CREATE)
    elif place := run.state.variables.get("TMPDIR"):  # the text's own
        run.writes(Arg(place, *call.where), call.where, under=True)
    run.record.reason("mktemp", rule.why, rule.tier, call.where, placed=True)
    programs.note_cost(run, rule, rule.tier)
    if directory is not None and directory.known and directory.text:
        name = f"tmp.{HOLE}{marks.PART}" if template is None else HOLE
        return f"{directory.text.rstrip('/')}/{name}"
    place = run.lookup("TMPDIR") or HOLE
    if (
        template is None
        and directory is None
        and not parsed.has("--suffix")
        and place.startswith("/")
        and HOLE not in place
    ):
        return f"{place.rstrip('/')}/tmp.{HOLE}{marks.PART}"  # noqa: S108 -- a job's own TMPDIR
    if template is not None and template.known and not parsed.has("-t", "--tmpdir", "-p"):
        return _TEMPLATE.sub(HOLE + marks.PART, template.text)
    return HOLE


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"copies": _copies, "mkdir": _mkdir, "mktemp": _mktemp}
