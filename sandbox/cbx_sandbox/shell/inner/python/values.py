"""The texts that a Python expression can make, as far as they are known: folding of constants, paths and names."""

from __future__ import annotations

import ast
import itertools
import posixpath
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.inner.python.names import MAX_DEPTH, Each
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.inner.python.names import Bound, Names

MAX_VALUES = 24  # texts that one expression can make
_OWN_PROCESSES = frozenset({"os.getpid", "os.getpgrp", "os.getpgid", "os.fork"})
UNKNOWN = (HOLE,)
Texts = tuple[str, ...]

_SAME = frozenset(
    """str os.fspath os.fsencode os.fsdecode os.path.abspath os.path.realpath os.path.normpath pathlib.Path
    pathlib.PurePath pathlib.PosixPath pathlib.PurePosixPath""".split()
)
_SAME_METHODS = frozenset({"resolve", "absolute", "as_posix", "encode", "decode", "strip", "__str__"})
_HERE = frozenset({"os.getcwd", "pathlib.Path.cwd", "os.getcwdb"})


class Values:
    """The expressions of one text."""

    def __init__(self, run: Interpreter, names: Names, file: str | None) -> None:
        self.run = run
        self.names = names
        self.file = file  # what __file__ is
        self.moved = False  # the text changes its own working directory
        self._known: dict[str, Texts] = {}  # what names were found to be; UNKNOWN while that is being found out

    def texts(self, node: ast.AST | None, depth: int = 0) -> Texts:
        """Return what an expression can be as text or as a path; a HOLE stands for what is not known."""
        if node is None or depth > MAX_DEPTH:
            return UNKNOWN
        found = self._texts(node, depth + 1)
        if not found or len(found) > MAX_VALUES:
            return UNKNOWN
        return tuple(dict.fromkeys(found))

    def path(self, node: ast.AST | None) -> Texts:
        """Return what an expression can be as a path from where the program was started."""
        return tuple(HOLE if self.moved and not text.startswith("/") else text for text in self.texts(node))

    def words(self, node: ast.AST | None, depth: int = 0) -> list[str] | None:
        """Return the elements of a list that is written down; None where it is not."""
        if isinstance(node, ast.Name) and depth < MAX_DEPTH:
            bound = self.names.bound.get(node.id, [])
            if len(bound) == 1 and isinstance(bound[0], ast.expr) and node.id not in self.names.modules:
                return self.words(bound[0], depth + 1)
            return None
        if not isinstance(node, (ast.List, ast.Tuple)):
            return None
        out: list[str] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                more = self.words(element.value, depth + 1)
                if more is None:
                    return None
                out += more
            else:
                texts = self.texts(element, depth + 1)
                out.append(texts[0] if len(texts) == 1 else HOLE)
        return out

    # -- kinds of expressions -----------------------------------------------------------------------------------

    def _texts(self, node: ast.AST, depth: int) -> Texts:
        match node:
            case ast.Constant():
                return _constant(node.value)
            case ast.JoinedStr():
                return self._joined([self._piece(part, depth) for part in node.values])
            case ast.Name():
                return self._name(node, depth)
            case ast.BinOp(op=ast.Add()):
                return self._joined([self.texts(node.left, depth), self.texts(node.right, depth)])
            case ast.BinOp(op=ast.Div()):
                return self._path([self.texts(node.left, depth), self.texts(node.right, depth)])
            case ast.BinOp(op=ast.Mod()):
                return tuple(_until(text, "%") for text in self.texts(node.left, depth))
            case ast.IfExp():
                return self.texts(node.body, depth) + self.texts(node.orelse, depth)
            case ast.BoolOp():
                return tuple(text for value in node.values for text in self.texts(value, depth))
            case ast.NamedExpr():
                return self.texts(node.value, depth)
            case ast.Call():
                return self._call(node, depth)
            case ast.Attribute():
                return self._attribute(node, depth)
            case ast.Subscript():
                if "os.environ" in self.names.origins(node.value):
                    return self._variable(self.texts(node.slice, depth))
        return UNKNOWN

    def _piece(self, part: ast.expr, depth: int) -> Texts:
        if isinstance(part, ast.FormattedValue):
            plain = part.format_spec is None and part.conversion in {-1, 115}
            return self.texts(part.value, depth) if plain else UNKNOWN
        return self.texts(part, depth)

    def _name(self, node: ast.Name, depth: int) -> Texts:
        if node.id == "__file__" and node.id not in self.names.bound:
            return (self.file or HOLE,)
        if node.id in self.names.modules:
            return UNKNOWN
        if node.id not in self._known:
            self._known[node.id] = UNKNOWN
            out: list[str] = []
            for bound in self.names.bound.get(node.id, [None]):
                out += self._bound(bound, depth)
            self._known[node.id] = tuple(out) if 0 < len(out) <= MAX_VALUES else UNKNOWN
        return self._known[node.id]

    def _bound(self, bound: Bound, depth: int) -> Iterable[str]:
        if bound is None:
            return UNKNOWN
        if isinstance(bound, Each):
            elements = bound.elements
            if isinstance(elements, (ast.List, ast.Tuple, ast.Set)) and elements.elts:
                return [text for element in elements.elts for text in self.texts(element, depth)]
            return UNKNOWN
        return self.texts(bound, depth)

    def _call(self, node: ast.Call, depth: int) -> Texts:
        function = node.func
        origins = self.names.origins(function)
        if isinstance(function, ast.Name) and not origins and function.id not in self.names.bound:
            origins = {function.id}
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            return UNKNOWN
        args = [self.texts(arg, depth) for arg in node.args]
        if origins & _HERE:
            return (HOLE if self.moved or self.run.state.cwd is None else self.run.state.cwd,)
        if origins & _OWN_PROCESSES:
            return (HOLE + marks.OWN,)
        if "pathlib.Path.home" in origins or ("os.path.expanduser" in origins and node.args):
            return tuple(self._home(text) for text in args[0]) if args else (self.run.home() or HOLE,)
        if origins & {"os.getenv", "os.environ.get"} and args:
            return self._variable(args[0])
        if "os.path.join" in origins:
            return self._path(args)
        if "os.path.dirname" in origins and args:
            return tuple(_parent(text) for text in args[0])
        if origins & _SAME:
            return self._path(args) if args else (".",)
        if isinstance(function, ast.Attribute) and not self._module(function):
            return self._method(function, args, depth)
        return UNKNOWN

    def _module(self, function: ast.Attribute) -> bool:
        return bool(self.names.origins(function.value))

    def _method(self, function: ast.Attribute, args: list[Texts], depth: int) -> Texts:
        texts = self.texts(function.value, depth)
        if function.attr in _SAME_METHODS and not any(args):
            return texts
        if function.attr == "expanduser":
            return tuple(self._home(text) for text in texts)
        if function.attr == "joinpath":
            return self._path([texts, *args])
        if function.attr in {"with_suffix", "with_name", "with_stem"}:
            return tuple(_parent(text) + "/" + HOLE for text in texts)
        if function.attr == "format":
            return tuple(_until(text, "{") for text in texts)
        return UNKNOWN

    def _attribute(self, node: ast.Attribute, depth: int) -> Texts:
        origins = self.names.origins(node)
        if "os.devnull" in origins:
            return ("/dev/null",)
        if origins & {"os.sep", "os.path.sep"}:
            return ("/",)
        if node.attr == "parent" and not origins:
            return tuple(_parent(text) for text in self.texts(node.value, depth))
        return UNKNOWN

    # -- texts of texts -----------------------------------------------------------------------------------------

    def _joined(self, parts: list[Texts]) -> Texts:
        return tuple("".join(choice) for choice in _choices(parts))

    def _path(self, parts: list[Texts]) -> Texts:
        return tuple(_join(choice) for choice in _choices(parts))

    def _home(self, text: str) -> str:
        home = self.run.home() or HOLE
        if text == "~" or text.startswith("~/"):
            return home + text[1:]
        return HOLE if text.startswith("~") else text

    def _variable(self, names: Texts) -> Texts:
        return tuple(HOLE if HOLE in name else self.run.lookup(name) or HOLE for name in names)


def _constant(value: object) -> Texts:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bytes):
        return (value.decode("utf-8", "replace"),)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        return (str(value),)
    return UNKNOWN


def _choices(parts: list[Texts]) -> Iterable[tuple[str, ...]]:
    count = 1
    for part in parts:
        count *= len(part)
    return itertools.product(*parts) if count <= MAX_VALUES else [(HOLE,)]


def _join(parts: tuple[str, ...]) -> str:
    """Join as a path: what is not known could also be absolute."""
    joined = ""
    for part in parts:
        joined = HOLE if part.startswith(HOLE) else posixpath.join(joined, part)
    return joined


def _parent(text: str) -> str:
    return HOLE if HOLE in text.rpartition("/")[2] and "/" not in text else posixpath.dirname(text) or "."


def _until(text: str, mark: str) -> str:
    return text if mark not in text else text.partition(mark)[0] + HOLE
