"""JavaScript, for Node, Deno and Bun: what it starts, opens and deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell.inner.effects import Effects
from cbx_sandbox.shell.inner.pieces import Language
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.inner.pieces import Call
    from cbx_sandbox.shell.state import Where

LANGUAGE = Language(comment="//", blocks=True, templates="`", inside="${", names=r"[A-Za-z_$][\w$]*")

_FILES = {
    "writeFile": "w", "appendFile": "a", "createWriteStream": "w", "truncate": "w", "mkdir": "c", "mkdtemp": "c",
    "rmdir": "d", "unlink": "d", "rename": "dw", "copyFile": "rw", "cp": "rw", "symlink": "-c", "link": "rc",
    "chmod": "w", "chown": "w", "utimes": "w", "readFile": "r", "outputFile": "w", "outputJson": "w", "writeJson": "w",
    "ensureDir": "c", "ensureFile": "w", "move": "dw", "emptyDir": "t", "remove": "t",
    "writeTextFile": "w",
}  # fmt: skip
_NOT_PLAIN = frozenset({"remove", "move", "link", "cp", "truncate"})  # names that much else has, too
_TABLE = {
    "execSync": "shell", "*.execSync": "shell", "*.execFileSync": "program", "*.execFile": "program",
    "*.spawnSync": "program", "*.spawn": "program", "*.execa": "program", "*.execaSync": "program",
    "*.execaCommand": "shell", "process.kill": "kill", "fetch": "connect", "axios.get": "connect",
    "axios.post": "connect", "axios": "connect", "http.get": "connect", "http.request": "connect",
    "https.get": "connect", "https.request": "connect", "net.connect": "connect", "net.createConnection": "connect",
    "WebSocket": "connect", "eval": "eval", "Function": "eval", "*.runInThisContext": "eval",
    "*.runInNewContext": "eval", "*.runInContext": "eval", "Bun.write": "w", "Bun.spawn": "shell", "Deno.run": "eval",
    "Deno.Command": "program", "Deno.remove": "d", "rimraf": "t", "*.rimrafSync": "t", "rimraf.sync": "t",
    "*.deleteIndex": "t", "*.clearObjects": "t", "del": "t",
    **{f"*.{name}Sync": what for name, what in _FILES.items()},
    **{f"*.{name}": what for name, what in _FILES.items() if name not in _NOT_PLAIN},
    **{f"fs.{name}": what for name, what in _FILES.items()},
    **{f"promises.{name}": what for name, what in _FILES.items()},
}  # fmt: skip


def look(run: Interpreter, text: str, where: Where) -> bool:
    """Note what a text does; whether that is all it does is not known. Raise Unreadable where it cannot be read."""
    starts = "child_process" in text

    def special(effects: Effects, call: Call) -> bool:
        return _special(effects, call, starts=starts)

    Effects(run, where).look(text, LANGUAGE, _TABLE, special)
    return False


def _special(effects: Effects, call: Call, *, starts: bool) -> bool:
    first = call.args[0] if call.args else HOLE
    path = first if isinstance(first, str) else HOLE
    if call.name in {"exec", "fork"}:
        if starts:  # else it is what a pattern does with a text
            effects.starts(call.args[:1])
        return True
    if call.name in {"rm", "rmSync", "rmdir", "rmdirSync"} and call.args:
        effects.path("t" if "recursive" in call.words else "d", path)
        return True
    if call.name in {"open", "openSync"} and len(call.args) > 1:
        mode = call.args[1] if isinstance(call.args[1], str) else HOLE
        effects.path("r" if set(mode) <= set("rs") else "w", path)
        return True
    if call.name in {"require", "import"} and call.args and path.startswith(HOLE):
        effects.run.executes_unknown("code that loads what it computes", effects.where)
        return True
    if call.name == "spawnSync" or call.name == "spawn":
        if "shell" in call.words and isinstance(first, str):
            effects.shell(path)
            return True
        return call.of == "Bun" and _bun(effects, call)
    return call.name == "Function" and not call.args


def _bun(effects: Effects, call: Call) -> bool:
    effects.starts(call.args[:1])
    return True
