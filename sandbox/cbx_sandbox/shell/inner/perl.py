"""Perl: what it starts, opens and deletes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner.effects import Effects
from cbx_sandbox.shell.inner.pieces import Kind, Language
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.inner.pieces import Call
    from cbx_sandbox.shell.state import Where

LANGUAGE = Language(
    comment="#",
    runs="`",
    sigils="$@%&",
    quoting={
        "q": Kind.STRING,
        "qq": Kind.STRING,
        "qw": Kind.STRING,
        "qx": Kind.RUN,
        "m": Kind.REGEX,
        "qr": Kind.REGEX,
        "s": Kind.REGEX,
        "tr": Kind.REGEX,
        "y": Kind.REGEX,
    },
    names=r"[A-Za-z_]\w*(?:::\w+)*",
)
_TABLE = {
    "system": "shell",
    "exec": "shell",
    "unlink": "d+",
    "rmdir": "d+",
    "mkdir": "c",
    "rename": "dw",
    "symlink": "-c",
    "link": "rc",
    "chmod": "-w+",
    "chown": "--w+",
    "utime": "--w+",
    "truncate": "w",
    "sysopen": "-w",
    "opendir": "-r",
    "kill": "kill",
    "rmtree": "t+",
    "remove_tree": "t+",
    "File::Path::rmtree": "t+",
    "File::Path::remove_tree": "t+",
    "mkpath": "c+",
    "make_path": "c+",
    "copy": "rw",
    "cp": "rw",
    "move": "dw",
    "mv": "dw",
    "write_file": "w",
    "syscall": "eval",
    "dump": "w",
}
_NETWORK = expression(r"(?:IO::Socket|LWP|HTTP::Tiny|Net::|WWW::|Mojo::UserAgent|Socket)")

# What a text may name beside its own variables without more than its input and output being touched.
COMPUTES = frozenset(
    """print printf say if unless else elsif while until for foreach next last redo my our local sub return and or not
    xor x eq ne lt gt le ge cmp split join push pop shift unshift splice map grep sort reverse keys values each exists
    delete defined undef length substr index rindex sprintf lc uc lcfirst ucfirst chomp chop chr ord hex oct int abs
    sqrt sin cos atan2 exp log rand srand time localtime gmtime scalar wantarray ref bless die warn exit eof tell pos
    quotemeta pack unpack sprintf BEGIN END STDIN STDOUT STDERR ARGV ENV use strict warnings utf8 feature no qw
    binmode List::Util sum max min first uniq shuffle any all none POSIX floor ceil strftime Data::Dumper
    Dumper""".split()
)


def look(run: Interpreter, text: str, where: Where) -> bool:
    """Note what a text does; whether it does nothing but what was noted. Raise Unreadable where it cannot be read."""
    called = Effects(run, where).look(text, LANGUAGE, _TABLE, _special)
    names = {call.name for call in called if not call.name.isupper()}  # those are handles
    return not re.search(r"[&$]\s*\{|->\s*\(|<[^<>]*>", text) and names <= COMPUTES | _TABLE.keys() | {"open", "close"}


def _special(effects: Effects, call: Call) -> bool:
    name = call.name
    if name == "open":
        _opens(effects, call)
    elif name == "eval":
        if "{" not in call.words:  # a block is only guarded
            effects.run.executes_unknown("code that evaluates text", effects.where)
    elif name in {"do", "require"} and call.args and "{" not in call.words and _is_file(call):
        effects.run.executes_unknown(f"code that executes a file by {name}", effects.where)
    elif _NETWORK.match(name):
        effects.connects(next((str(value) for value in call.args if "://" in str(value)), HOLE))
    else:
        return False
    return True


def _is_file(call: Call) -> bool:
    first = call.args[0]
    return isinstance(first, str) and ("/" in first or first.startswith(HOLE)) and len(call.words) == 1


def _opens(effects: Effects, call: Call) -> None:
    """See through open(F, ">", "x"), open(F, ">x") and open(F, "-|", "command")."""
    texts = [value if isinstance(value, str) else HOLE for value in call.args[1:]]
    if not texts:
        return
    mode = texts[0].strip()
    if len(texts) > 1:
        mode = mode.partition(":")[0].strip()
        if mode in {"-|", "|-"}:
            effects.starts([*texts[1:]])
        elif mode == "<":
            effects.path("r", texts[1])
        else:
            effects.path("a" if mode == ">>" else "w", texts[1])
    elif mode.startswith("|") or mode.endswith("|"):
        effects.shell(mode.strip("|").strip())
    elif mode.startswith((">", "+")):
        effects.path("a" if mode.startswith(">>") else "w", mode.lstrip("+<>").strip() or HOLE)
    elif mode.startswith(HOLE):
        effects.run.executes_unknown("code that opens what its text names, which may be a command", effects.where)
    else:
        effects.path("r", mode.lstrip("<").strip())
