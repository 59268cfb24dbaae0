"""Python text, read with Python's own parser: safe only where everything in it is known to compute."""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.words import Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

MAX_TEXT = 20_000

_COMPUTING = frozenset(
    """abc argparse array ast base64 binascii bisect calendar cmath collections colorsys copy csv dataclasses datetime
    decimal difflib email enum fractions functools hashlib heapq hmac html io itertools json keyword locale math
    numbers operator platform pprint random re secrets statistics string struct sys textwrap time tomllib
    traceback typing unicodedata urllib.parse uuid warnings zlib __future__ contextlib graphlib ipaddress token
    tokenize errno stat""".split()
)
_SAFE_OS = frozenset(
    """path environ getcwd listdir getenv sep linesep name uname cpu_count getpid getppid getuid geteuid stat lstat
    scandir walk access get_terminal_size curdir pardir pathsep fspath fsdecode fsencode getlogin times getloadavg
    sched_getaffinity strerror R_OK W_OK X_OK F_OK""".split()
)
_BUILTINS = frozenset(
    """abs all any ascii bin bool bytearray bytes callable chr complex dict dir divmod enumerate filter float format
    frozenset hash hex id int isinstance issubclass iter len list map max min next object oct ord pow print property
    range repr reversed round set slice sorted str sum super tuple type zip input hasattr staticmethod classmethod
    Exception ValueError TypeError KeyError IndexError RuntimeError StopIteration OSError ImportError exit quit
    __name__ __file__ NotImplementedError AttributeError ZeroDivisionError FileNotFoundError""".split()
)
_EXECUTES = frozenset({"eval", "exec", "compile", "__import__", "execfile", "breakpoint"})
_RUNS_TEXT = frozenset(
    {("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}
)
_RUNS = frozenset({"run", "call", "check_call", "check_output", "Popen"})
_DELETES = frozenset({("os", "remove"), ("os", "unlink"), ("os", "rmdir"), ("os", "removedirs")})
_SAFE_SYS = frozenset(
    """argv version version_info platform path stdin stdout stderr exit maxsize executable byteorder prefix
    getsizeof getrecursionlimit implementation flags float_info int_info hexversion api_version base_prefix
    getdefaultencoding getfilesystemencoding builtin_module_names""".split()
)
_SAFE_ATTRIBUTES_NOT = frozenset(
    """write_text write_bytes unlink rmdir mkdir touch rename replace_with symlink_to hardlink_to chmod open write
    writelines truncate setattr __globals__ __builtins__ __subclasses__ __code__ __class__ __bases__ __mro__
    __getattribute__ __reduce__ __dict__ f_globals f_builtins gi_frame load_module exec_module""".split()
)


# Modules that others carry along, and the double-underscored names that lead nowhere.
_CARRIED = frozenset(
    """os sys subprocess shutil io socket builtins pathlib importlib posix signal ctypes threading tempfile runpy
    pickle""".split()
)
_HARMLESS_DUNDERS = frozenset({"__name__", "__doc__", "__version__", "__len__", "__file__", "__init__", "__main__"})


def look(run: Interpreter, text: str, where: Where) -> None:
    """Look at Python text and note what it may do."""
    if len(text) > MAX_TEXT:
        _unknown(run, "more Python than is read here", where)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the text deserves to be warned of is not ours to print
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        _unknown(run, "Python that cannot be read", where)
        return
    _Reader(run, where).look(tree)


def _unknown(run: Interpreter, why: str, where: Where) -> None:
    run.record.reason("python", why, SEQUENTIAL, where)
    run.writes_place("project", where, SEQUENTIAL)


class _Reader:
    """One text."""

    def __init__(self, run: Interpreter, where: Where) -> None:
        self.run = run
        self.where = where
        self.modules: dict[str, str] = {}  # a name here to what it was imported as
        self.defined: set[str] = set()
        self.heads: set[str] = set()
        self.bases: set[ast.AST] = set()  # names that stand before a dot

    def look(self, tree: ast.AST) -> None:
        nodes = list(ast.walk(tree))
        for node in nodes:
            self._names(node)
            if isinstance(node, ast.Attribute):
                self.bases.add(node.value)
        self.heads = {origin.partition(".")[0] for origin in self.modules.values()}
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node)
            elif isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Attribute):
                self._attribute(node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._name(node)

    def unknown(self, why: str) -> None:
        _unknown(self.run, why, self.where)

    def _names(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                self.modules[bound] = alias.name if alias.asname else alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.modules[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.defined.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            self.defined.add(node.name)
        elif isinstance(node, ast.arg):
            self.defined.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.defined.add(node.name)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            if name in _COMPUTING or name in {"os", "os.path", "subprocess", "shutil", "pathlib", "glob", "fnmatch"}:
                continue
            if name.partition(".")[0] in {
                "urllib",
                "http",
                "requests",
                "httpx",
                "socket",
                "ftplib",
                "smtplib",
                "aiohttp",
            }:
                self.run.record.connection(None, None, self.where)
            self.unknown(f"Python that imports {name}")

    def _dotted(self, node: ast.AST) -> tuple[str, ...]:
        """Return a.b.c as names, with imports resolved."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or (node.id not in self.modules and node.id in self.defined):
            return ()
        names.append(self.modules.get(node.id, node.id))
        return tuple(".".join(reversed(names)).split("."))

    def _name(self, node: ast.Name) -> None:
        if node.id in self.modules:
            origin = self.modules[node.id]
            if "." in origin:
                self._member(tuple(origin.split(".")))
            if node not in self.bases and origin.partition(".")[0] in _CARRIED and "." not in origin:
                self.unknown(f"Python that passes {origin} on")
        elif node.id in _EXECUTES:
            self.run.executes_unknown(f"Python that calls {node.id}", self.where)
        elif node.id not in self.defined and node.id not in _BUILTINS and node.id != "open":
            self.unknown(f"Python that uses {node.id}")

    def _attribute(self, node: ast.Attribute) -> None:
        dotted = self._dotted(node)
        if node.attr.startswith("__") and node.attr not in _HARMLESS_DUNDERS:
            self.unknown(f"Python that uses .{node.attr}")
        if dotted:
            self._member(dotted)
        elif node.attr in _SAFE_ATTRIBUTES_NOT:
            self.unknown(f"Python that uses .{node.attr}")

    def _member(self, dotted: tuple[str, ...]) -> None:
        """Judge a member of a module where it is named."""
        head, tail = dotted[0], dotted[1] if len(dotted) > 1 else ""
        if head in self.heads and any(
            part in _CARRIED or (part.startswith("_") and not part.startswith("__")) for part in dotted[1:]
        ):
            self.unknown(f"Python that uses {'.'.join(dotted)}")
        if head == "os" and tail and tail not in _SAFE_OS:
            self.unknown(f"Python that uses os.{tail}")
        elif head == "sys" and tail and tail not in _SAFE_SYS:
            self.unknown(f"Python that uses sys.{tail}")
        elif head == "subprocess" and tail:
            self.unknown("Python that starts programs")
        elif head == "shutil" and tail not in {"", "which", "disk_usage", "get_terminal_size"}:
            if tail == "rmtree":
                self.run.record.reason("python", "Python that deletes a tree", DANGEROUS, self.where)
            self.unknown(f"Python that uses shutil.{tail}")
        elif any(part in _SAFE_ATTRIBUTES_NOT for part in dotted[1:]) and head in self.heads:
            self.unknown(f"Python that uses .{dotted[-1]}")
        elif head == "io" and tail in {"open", "FileIO", "open_code"}:
            self.unknown("Python that opens files")

    def _call(self, node: ast.Call) -> None:
        dotted = self._dotted(node.func)
        pair = (dotted[0], dotted[-1]) if len(dotted) > 1 else ("", dotted[0] if dotted else "")
        if pair in _RUNS_TEXT:
            self._runs_text(node)
        elif pair[0] == "subprocess" and pair[1] in _RUNS:
            self._runs(node)
        elif pair[0] == "os" and pair[1].startswith(("exec", "spawn", "posix_spawn", "fork")):
            self.run.executes_unknown(f"Python that calls os.{pair[1]}", self.where)
        elif pair in _DELETES:
            path = _string(node.args[0]) if node.args else None
            self.unknown("Python that deletes")
            if path:
                self.run.writes(Arg(path, *self.where), self.where, access=Access.DELETE)
        elif pair == ("", "open") or pair == ("io", "open"):
            self._opens(node)
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "open" and not dotted:
            self.unknown("Python that opens files")

    def _opens(self, node: ast.Call) -> None:
        mode = _string(node.args[1]) if len(node.args) > 1 else "r"
        for keyword in node.keywords:
            if keyword.arg in {"mode", None}:
                mode = _string(keyword.value)
            elif keyword.arg == "opener":
                mode = None
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            mode = None
        path = _string(node.args[0]) if node.args else None
        if mode is None or set(mode) - set("rbtU"):
            self.unknown("Python that writes files")
            if path:
                self.run.writes(Arg(path, *self.where), self.where)
        elif path:
            self.run.reads(Arg(path, *self.where), self.where)

    def _runs_text(self, node: ast.Call) -> None:
        text = _string(node.args[0]) if node.args else None
        if text is None:
            self.run.executes_unknown("Python that executes text", self.where)
        else:
            self.run.nested(text, self.where)

    def _runs(self, node: ast.Call) -> None:
        shell = any(keyword.arg in {"shell", None} for keyword in node.keywords)
        first = node.args[0] if node.args else None
        if isinstance(first, (ast.List, ast.Tuple)) and not shell:
            words = [_string(element) for element in first.elts]
            if words and all(word is not None for word in words):
                self.run.dispatch([Arg(word or "", *self.where) for word in words], None, self.where)
                return
        self._runs_text(node)


def _string(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
