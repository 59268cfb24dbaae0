"""What an archive unpacks to: the names that it holds, where they can be read, else anything where they go."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import SAFE, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_MANY = 64  # names that are noted one by one; of more, the directories that they begin with


def names(run: Interpreter, archive: Arg | None) -> tuple[str, ...] | None:
    """Return what an archive holds; None where that cannot be told."""
    path = run.absolute(archive.text) if archive is not None and archive.known else None
    if path is None or run.state.remote or path in run.state.files or sources.changed(run, path):
        return None
    return run.facts.members(run.facts.resolve(path))


def beneath(run: Interpreter, call: Call, place: Arg, held: tuple[str, ...] | None, *, reads: bool = False) -> None:
    """Note that what an archive holds is written, or looked at, in a directory."""
    if held is None or not place.known:
        if reads:
            run.reads(place, call.where, under=True)
        else:
            run.writes(place, call.where, under=True)
        return
    few = len(held) <= _MANY
    found = _with_parents(held) if few else dict.fromkeys(name.partition("/")[0] for name in held)
    for name in found:
        arg = Arg(posixpath.normpath(f"{place.text or '.'}/{name}"), *call.where)
        if reads:
            run.looks(run.absolute(arg.text), call.where, under=not few)
        elif name in held or not few or not run.is_directory(run.absolute(arg.text) or ""):
            run.writes(arg, call.where, under=not few, follow=False)


def _with_parents(held: tuple[str, ...]) -> dict[str, None]:
    """Add the directories that have to be made for what lies in them."""
    found: dict[str, None] = {}
    for name in held:
        parts = name.split("/")
        found |= dict.fromkeys("/".join(parts[:length]) for length in range(1, len(parts) + 1))
    return found


def _unzip(run: Interpreter, call: Call, rule: Rule) -> str:
    """unzip: to the working directory, or to -d; with -j without directories."""
    parsed = parse_options(rule, call.args)
    plain = replace(rule, handler="")
    if programs.only_help(call, rule) or programs.chosen(plain, parsed).tier is SAFE or not parsed.operands:
        return programs.generic(run, call, plain)
    archive = parsed.operands[0]
    held = names(run, archive)
    if held is None and archive.known:  # it tries that, too
        held = names(run, replace(archive, text=archive.text + ".zip"))
    if held is None or parsed.open:
        return programs.generic(run, call, plain)
    if parsed.has("-j"):
        held = tuple(dict.fromkeys(name.rpartition("/")[2] for name in held))
    run.reads(archive, call.where)
    place = parsed.value("-d") or Arg(".", *call.where)
    if place.known:
        run.parents(replace(place, text=f"{place.text}/x"), call.where)
    beneath(run, call, place, held)
    run.record.reason("unzip", rule.why, SEQUENTIAL, call.where, placed=True)
    programs.note_cost(run, rule, SEQUENTIAL)
    return HOLE


def stripped(parsed: Parsed, held: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return what tar makes of the names, None where an option makes others of them."""
    if held is None or parsed.open or parsed.has(*_RENAMES):
        return None
    given = parsed.value("--strip-components")
    if given is None:
        return held
    if not (given.text.isascii() and given.text.isdigit()):
        return None
    parts = ["/".join(name.split("/")[int(given.text) :]) for name in held]
    return tuple(dict.fromkeys(part for part in parts if part))


_RENAMES = tuple(
    """--transform --xform -P --absolute-names --one-top-level -g --listed-incremental -G --incremental --backup
    --suffix -M --multi-volume --recursive-unlink""".split()
)

HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"unzip": _unzip}
