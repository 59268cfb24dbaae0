"""Programs that replace a file by a packed or unpacked one, and those whose archives get a name of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.tiers import SAFE
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

_ENDINGS = {
    "gzip": ".gz", "gunzip": ".gz", "pigz": ".gz", "unpigz": ".gz", "bzip2": ".bz2", "bunzip2": ".bz2",
    "pbzip2": ".bz2", "xz": ".xz", "unxz": ".xz", "lzma": ".lzma", "unlzma": ".lzma", "zstd": ".zst", "unzstd": ".zst",
    "lz4": ".lz4", "unlz4": ".lz4", "lzop": ".lzo", "brotli": ".br", "compress": ".Z", "uncompress": ".Z",
    "lzip": ".lz",
}  # fmt: skip
_KEEPS = frozenset({"zstd", "unzstd", "lz4", "unlz4", "lzop", "brotli"})  # what they read stays unless told otherwise
_KNOWN = expression(r"(?:\.(?:gz|z|Z|bz2?|xz|lzma|zst|lz4|lzo|br|lz)|-gz|-z|_z)$")
_TARRED = expression(r"\.(?:tgz|taz|tbz2?|txz|tlz|tzst)$")


def _compresses(run: Interpreter, call: Call, rule: Rule) -> str:
    """Each operand is replaced by a file whose name has another ending."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    plain = replace(rule, handler="")
    chosen = programs.chosen(plain, parsed)
    output = parsed.value("-o", "--output")
    if chosen.tier is SAFE or output is not None:
        return programs.settle(run, call, replace(plain, operands=("read*",)), parsed)
    unpacks = call.name.startswith("un") or call.name[1:].startswith("un") or parsed.has(*_UNPACKING)
    keeps = parsed.has("-k", "--keep") or (call.name in _KEEPS and not parsed.has("--rm", "-j", "-m"))
    for given in parsed.options:
        programs.option_effects(run, call, plain, given)
    for arg in parsed.operands:
        where = run.where(arg.start, arg.end)
        path = run.absolute(arg.text) if arg.known else None
        if parsed.has("-r", "--recursive") and (path is None or run.facts.kind(path) != "file"):
            run.reads(arg, where, under=True)
            run.writes(arg, where, under=True)
            continue
        run.reads(arg, where)
        run.writes(_made(call, parsed, arg, unpacks=unpacks), where)
        if not keeps:
            run.writes(arg, where, access=Access.DELETE)
    programs.finish(run, call, chosen, chosen.tier, touched=bool(parsed.operands))
    return HOLE


_UNPACKING = ("-d", "--decompress", "--uncompress")


def _made(call: Call, parsed: Parsed, arg: Arg, *, unpacks: bool) -> Arg:
    """Return the name of what is made of a file."""
    suffix = parsed.value("-S", "--suffix")
    ending = suffix.text if suffix is not None and suffix.text else _ENDINGS.get(call.name, "")
    if arg.many or arg.text.endswith(HOLE):
        return arg  # somewhere where it is
    text = arg.text + ending
    if unpacks:
        text = arg.text.removesuffix(ending) if arg.text.endswith(ending) else _KNOWN.sub("", arg.text)
        text = _TARRED.sub(".tar", text)
    return Arg(text, arg.start, arg.end, arg.pattern)


def _zip(run: Interpreter, call: Call, rule: Rule) -> str:
    """zip: the archive's name gets an ending where it has none; -m takes what it packs."""
    if programs.only_help(call, rule):
        return HOLE
    parsed = parse_options(rule, call.args)
    archive = parsed.operands[0] if parsed.operands else None
    if archive is not None and archive.known and archive.text != "-" and "." not in archive.text.rpartition("/")[2]:
        parsed.operands[0] = Arg(archive.text + ".zip", archive.start, archive.end)
    elif archive is not None and archive.text == "-":
        run.record.reason("zip", "packs files to its output", SAFE, call.where)
        for arg in parsed.operands[1:]:
            run.reads(arg, run.where(arg.start, arg.end), under=True)
        return HOLE
    output = programs.settle(run, call, replace(rule, handler=""), parsed)
    if parsed.has("-m", "--move"):
        for arg in parsed.operands[1:]:
            path = run.absolute(arg.text) if arg.known else None
            tree = path is None or run.is_directory(path)
            run.writes(arg, run.where(arg.start, arg.end), access=Access.DELETE, under=tree)
    return output


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"compresses": _compresses, "zip": _zip}
