"""Ruby: what it starts, opens and deletes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.inner.effects import Effects
from cbx_sandbox.shell.inner.pieces import Language
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.inner.pieces import Call
    from cbx_sandbox.shell.state import Where

LANGUAGE = Language(comment="#", runs="`", inside="#{", percent=True, names=r"[A-Za-z_]\w*[?!]?")
_FILE = {
    "delete": "d+",
    "unlink": "d+",
    "rename": "dw",
    "symlink": "-c",
    "link": "rc",
    "chmod": "-w+",
    "chown": "--w+",
    "truncate": "w",
    "write": "w",
    "binwrite": "w",
    "mkfifo": "c",
    "utime": "--w+",
}
_TREES = ("rm_rf", "rm_r", "rmtree", "remove_dir", "remove_entry", "remove_entry_secure", "safe_unlink", "rm_tree")
_UTILS = {
    "rm": "d+", "rm_f": "d+", "remove": "d+", "rmdir": "d+", "mkdir": "c+", "mkdir_p": "c+", "makedirs": "c+",
    "touch": "w+", "cp": "rw", "copy": "rw", "copy_file": "rw", "cp_r": "rw", "mv": "dw", "move": "dw", "ln": "rc",
    "ln_s": "-c", "ln_sf": "-c", "install": "rw", "chmod": "-w+", "chmod_R": "-w+", "chown": "--w+", "chown_R": "--w+",
}  # fmt: skip
_TABLE = {
    "system": "shell", "exec": "shell", "spawn": "shell", "IO.popen": "shell", "PTY.spawn": "shell",
    "Open3.capture2": "shell", "Open3.capture2e": "shell", "Open3.capture3": "shell", "Open3.popen2": "shell",
    "Open3.popen2e": "shell", "Open3.popen3": "shell", "Process.spawn": "shell", "Process.exec": "shell",
    "eval": "eval", "*.instance_eval": "eval", "*.class_eval": "eval", "*.module_eval": "eval", "syscall": "eval",
    "load": "eval", "Process.kill": "kill", "Dir.mkdir": "c", "Dir.rmdir": "d", "Dir.delete": "d", "Dir.unlink": "d",
    "IO.write": "w", "IO.binwrite": "w", "*.rmtree": "t",
    "HTTP.get": "connect", "HTTP.post": "connect", "HTTP.start": "connect", "HTTP.new": "connect",
    "URI.open": "connect",
    "TCPSocket.new": "connect", "TCPSocket.open": "connect", "UDPSocket.new": "connect",
    **{f"File.{name}": what for name, what in _FILE.items()},
    **{f"FileUtils.{name}": what for name, what in _UTILS.items()},
    **{f"*.{name}": "t+" for name in _TREES},
}  # fmt: skip


def look(run: Interpreter, text: str, where: Where) -> bool:
    """Note what a text does; whether that is all it does is not known. Raise Unreadable where it cannot be read."""
    Effects(run, where).look(text, LANGUAGE, _TABLE, _special)
    return False


def _special(effects: Effects, call: Call) -> bool:
    if call.name in {"open", "new"} and call.of in {"File", "IO", "Kernel", ""} and (call.name == "open" or call.of):
        first = call.args[0] if call.args else HOLE
        path = first if isinstance(first, str) else HOLE
        mode = call.args[1] if len(call.args) > 1 and isinstance(call.args[1], str) else "r"
        if call.of in {"", "Kernel"} and path.startswith("|"):
            effects.shell(path[1:])
        elif re.match(r"https?://", path):
            effects.connects(path)
        elif set(mode) <= set("rbt:utf8-UTF"):
            effects.path("r", path)
        else:
            effects.path("a" if mode.startswith("a") else "w", path)
        return True
    if call.name == "File" and not call.of:
        return True
    if (
        call.name in {"public_send", "send", "__send__"}
        and call.args
        and call.args[0] == HOLE
        and not call.words & {":"}
    ):
        effects.run.executes_unknown("code that calls what it computes", effects.where)
        return True
    return False
