"""What makes two commands alike: their form without their values.

The form of one call is its program, its subcommands, the names of its options in order of the alphabet, and the kinds
of its operands: ``sort -o -u FILE.txt``. No value is in it, with two exceptions, because they name what runs: the
script of an interpreter or a program called by its path, made absolute, and the targets of what builds and tests.

The fingerprint of a text is a digest of its calls' forms, of how it writes, and of the directories around the working
directory that it may write as a whole: ``make`` in one project says nothing about ``make`` in another.
"""

from __future__ import annotations

from _blake2 import blake2b  # what hashlib would return, without the library of OpenSSL, which it loads first
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.rules import Rule
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.analysis import Analysis

MAX_ARGUMENTS = 64  # of a call are looked at: what follows is more of the same
MAX_CALLS = 64  # different ones of a text
MAX_LABEL = 120  # characters of a form that people are shown
DIGEST_BYTES = 8  # 64 bits: two of a user's thousand commands meet in 1 of 10^13 cases, and then share an estimate
_INTERPRETERS = frozenset({"shell", "python", "inline", "script"})  # handlers whose first operand is what runs
_WRAPPERS = frozenset({"wrap", "sudo", "su", "env", "xargs", "parallel", "flock"})  # what they run is a call of its own
_TARGETED = frozenset({"build", "test"})  # costs of programs whose operands are targets
_NO_RULE = Rule("")
_DIGITS = expression(r"[0-9]+")
_KIND = expression(  # one match, because every argument of every command goes through it
    r"(?P<URL>[A-Za-z][A-Za-z0-9+.-]*://)"
    r"|(?P<TEXT>[^ \t\n]*[ \t\n])"
    r"|(?P<SETTING>[A-Za-z_][A-Za-z0-9_.-]*=)"
    r"|(?P<NUMBER>[-+]?[0-9]+(?:\.[0-9]+)?[a-zA-Z%]?$)"
    r"|(?P<FILE>.*[^/]\.(?P<suffix>[A-Za-z][A-Za-z0-9]{0,5})$)"
    r"|(?P<PATH>[^/]*/)"
)
_TARGET = expression(r"[A-Za-z_][A-Za-z0-9_:-]{0,31}$")


def form(name: str, args: list[Arg], rule: Rule | None, path_of: Callable[[str], str | None]) -> str:
    """Return the form of one call. ``path_of`` makes the name of a file absolute."""
    words = [name]
    options: set[str] = set()
    rule, args = rule or _NO_RULE, args[:MAX_ARGUMENTS]
    wraps = rule.handler in _WRAPPERS or rule.wrap >= 0
    while True:
        parsed = parse_options(rule, args, stop=wraps or bool(rule.subs))
        options.update([given.name for given in parsed.options])
        first = parsed.operands[0] if parsed.operands else None
        sub = rule.sub(first.text) if rule.subs and first is not None and first.known else None
        if first is None or sub is None:
            break
        words.append(first.text)
        rule, args = sub, parsed.rest
    kinds: dict[str, int] = {}
    for index, arg in enumerate(() if wraps else (*parsed.operands, *parsed.rest)):
        kind = _kind(arg)
        if index == 0 and rule.handler in _INTERPRETERS and arg.known and kind not in {"URL", "TEXT"}:
            kind = path_of(arg.text) or kind
        elif kind == "WORD" and rule.cost in _TARGETED and _TARGET.match(arg.text):
            kind = arg.text
        kinds[kind] = kinds.get(kind, 0) + 1
    if options:
        words += sorted({"-?" if HOLE in option else _DIGITS.sub("#", option) for option in options})
    words += [f"{kind}…" if count > 1 else kind for kind, count in sorted(kinds.items())]
    return " ".join(words)


def _kind(arg: Arg) -> str:
    text = arg.text
    if arg.pattern:
        return "PATTERN"
    if arg.many:
        return "WORDS"
    if text == HOLE:
        return "UNKNOWN"
    found = _KIND.match(text)
    if found is None:
        return "WORD" if text else "EMPTY"
    kind = found.lastgroup or ""
    return f"FILE.{found['suffix'].lower()}" if kind == "FILE" else kind


def fingerprint(analysis: Analysis, cwd: str) -> str:
    """Return the fingerprint of what was analysed in ``cwd``: 16 hexadecimal digits."""
    parts = sorted(analysis.calls)
    if analysis.opaque or not parts:
        # What cannot be taken apart is like itself only.
        parts.append("text " + analysis.text)
    for effect in analysis.effects.paths:
        if effect.access is not Access.READ:
            parts.append(f"does {effect.access.value}")
        if effect.access is Access.WRITE and effect.certainty is Certainty.UNDER and _around(effect.path, cwd):
            parts.append(f"in {effect.path}")
    text = "\0".join(sorted(set(parts)))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()


def label(analysis: Analysis) -> str:
    """Return the forms of the calls for people, shortened."""
    text = "; ".join(analysis.calls) or analysis.text
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _around(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
