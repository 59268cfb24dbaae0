"""One Python text as a whole: every name and every attribute in it has to be known to compute, or it is not safe.

The order in which a text runs is not followed. What is named anywhere counts, and a name counts as everything that it
is given anywhere.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.inner.python import imports, modules
from cbx_sandbox.shell.inner.python.calls import OPENERS, Calls
from cbx_sandbox.shell.inner.python.names import Names
from cbx_sandbox.shell.inner.python.values import Values
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

MAX_TEXT = 64_000
MAX_FILES = 12  # modules of the project that are read for one text
_PRINTS = frozenset("print len list sorted enumerate repr str tuple set pprint any all".split())


def look(
    run: Interpreter, text: str, where: Where, *, file: str | None = None, isolated: bool = False, nested: int = 0
) -> None:
    """Look at Python text and note what it may do; ``file`` is where it came from, ``isolated`` is -I or -P."""
    _Reader(run, where, file, isolated=isolated, nested=nested).look(text)


class _Reader:
    """One text and the modules of the project that it imports."""

    def __init__(self, run: Interpreter, where: Where, file: str | None, *, isolated: bool, nested: int) -> None:
        self.run = run
        self.where = where
        self.isolated = isolated
        self.nested = nested
        directory = run.state.cwd if file is None else file.rpartition("/")[0] or "/"
        self.places = imports.places(run, directory, isolated=isolated)
        self.names = Names()
        self.values = Values(run, self.names, file)
        self.calls = Calls(run, self.values, where, self.unknown)
        self.read: dict[str, set[str]] = {}  # modules of the project, and what they define
        self.foreign: set[str] = set()  # modules that nothing is known of
        self.carried: set[str] = set()  # what the modules of the project import
        self.parents: dict[ast.AST, ast.AST] = {}

    def unknown(self, why: str) -> None:
        """Note that the text does what is not followed."""
        self.run.record.reason("python", why, SEQUENTIAL, self.where)
        self.run.writes_place("project", self.where, SEQUENTIAL)

    def look(self, text: str) -> None:
        """Read a text and what it imports."""
        tree = self._parsed(text)
        if tree is None:
            return
        nodes = list(ast.walk(tree))
        self.names.collect(nodes)
        for node in nodes:
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            if isinstance(node, ast.Call) and self.names.origins(node.func) & {"os.chdir", "os.fchdir"}:
                self.values.moved = True
        imported = (ast.Import, ast.ImportFrom)
        for node in sorted(nodes, key=lambda node: not isinstance(node, imported)):
            self._node(node)
        if self.names.exhausted:
            self.unknown("Python whose names lead to each other in too many ways")

    def _parsed(self, text: str) -> ast.Module | None:
        if len(text) > MAX_TEXT:
            self.unknown("more Python than is read here")
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what the text deserves to be warned of is not ours to print
                return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.unknown("Python that cannot be read")
            return None

    def _node(self, node: ast.AST) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    self._module(alias.name)
            case ast.ImportFrom():
                self._import_from(node)
            case ast.Call():
                self._call(node)
            case ast.Attribute():
                self._attribute(node)
            case ast.Name(ctx=ast.Load()):
                self._name(node)
            case ast.MatchClass():
                for name in node.kwd_attrs:
                    self._attribute_name(name)
            case _:
                pass

    # -- imports ------------------------------------------------------------------------------------------------

    def _import_from(self, node: ast.ImportFrom) -> None:
        name = node.module or ""
        if any(alias.name == "*" for alias in node.names) or node.level:
            self.unknown(f"Python that imports everything of {name}" if name else "Python that imports its neighbours")
            return
        inner = [f"{name}.{alias.name}" for alias in node.names if f"{name}.{alias.name}" in modules.HARMLESS]
        for one in inner:
            self._module(one)
        if len(inner) < len(node.names):
            self._module(name)

    def _module(self, name: str) -> None:
        """Judge an import."""
        head = name.partition(".")[0]
        if name in modules.HARMLESS or name in modules.ONLY or name == "os.path":
            if name not in modules.PRELOADED:
                self._not_replaced(name)
            return
        if head in modules.NETWORK:
            self.run.record.connection(None, None, self.where)
        if head in modules.NETWORK or not self._local(name):
            self.foreign.add(head)
            self.unknown(f"Python that imports {name}")

    def _not_replaced(self, name: str) -> None:
        if self.places is None:
            self.unknown(f"Python that imports {name} from a directory that is not known")
            return
        for place in self.places:
            other = imports.replaced(self.run, place)
            if other is not None:
                self.unknown(f"Python that imports {name}, and {place} has a {other} of its own")

    def _local(self, name: str) -> bool:
        """Read a module of the project; False where it is none or cannot be read."""
        if name in self.read:
            return True
        if self.nested or len(self.read) >= MAX_FILES or self.places is None:
            return False
        found = imports.local(self.run, name, self.places)
        if found is None or "." in name:
            return False
        path, text = found
        inner = _Reader(self.run, self.where, path, isolated=self.isolated, nested=1)
        inner.look(text)
        self.read[name] = set(inner.names.bound) - set(inner.names.modules)
        self.carried |= inner.imported()
        self.run.record.leftovers[f"{path.rpartition('/')[0]}/__pycache__"] = self.where
        return True

    # -- names and attributes -----------------------------------------------------------------------------------

    def _name(self, node: ast.Name) -> None:
        origins = self.names.modules.get(node.id, set())
        for origin in origins:
            if _split(origin)[1] and "." in origin:
                self._member(origin, node)
            elif not self._followed(node):
                self.unknown(f"Python that passes {origin} on")
        if node.id in modules.EXECUTES:
            self._executes(node)
        elif node.id == "open":
            if not self._called(node):
                self.unknown("Python that passes open on")
        elif node.id == "getattr":
            if not self._named_getattr(node):
                self.unknown("Python that looks up attributes by computed names")
        elif not origins and node.id not in self.names.bound and node.id not in modules.BUILTINS:
            self.unknown(f"Python that uses {node.id}")

    def _followed(self, node: ast.AST) -> bool:
        """Whether a module stands where its members are looked at: before a dot, or as the value of a plain name."""
        parent = self.parents.get(node)
        if isinstance(parent, ast.Attribute):
            return True
        if isinstance(parent, ast.Call) and self._named_getattr(parent.func) and parent.args[0] is node:
            return True
        named = isinstance(parent, ast.Assign) and all(isinstance(target, ast.Name) for target in parent.targets)
        return named and not self.nested  # what a text within defines is not followed out of it

    def _called(self, node: ast.AST) -> bool:
        parent = self.parents.get(node)
        return isinstance(parent, ast.Call) and parent.func is node

    def _named_getattr(self, node: ast.AST) -> bool:
        call = self.parents.get(node)
        if not (isinstance(node, ast.Name) and node.id == "getattr" and isinstance(call, ast.Call)):
            return False
        name = call.args[1] if len(call.args) > 1 else None
        if not (call.func is node and isinstance(name, ast.Constant) and isinstance(name.value, str)):
            return False
        if not self.names.origins(call.args[0]):
            self._attribute_name(name.value)
        else:
            for origin in self.names.origins(call):
                self._member(origin, call)
        return True

    def _executes(self, node: ast.Name) -> None:
        """Judge eval, exec and __import__: what they are given is looked at where it is written down."""
        call = self.parents.get(node)
        if isinstance(call, ast.Call) and call.func is node and call.args:
            if node.id == "__import__" and self.names.origins(call):
                for origin in self.names.origins(call):
                    self._module(origin)
                    if not self._followed(call):
                        self.unknown(f"Python that passes {origin} on")
                return
            if node.id == "compile" and self._compiles(call):
                return
            text = self._text_of(call.args[0]) if node.id in {"eval", "exec"} else None
            if text is not None and self.nested < 2:
                self._within(text)
                return
        self.run.executes_unknown(f"Python that calls {node.id}", self.where)

    def _compiles(self, call: ast.Call) -> bool:
        """Whether the result of compile goes straight to an exec that has its text looked at."""
        outer = self.parents.get(call)
        taken = isinstance(outer, ast.Call) and isinstance(outer.func, ast.Name) and outer.func.id in {"eval", "exec"}
        return taken and self._text_of(call) is not None

    def _text_of(self, node: ast.expr) -> str | None:
        """Return the text that exec gets: a constant, or what a file holds that is opened and read on the spot."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "compile" and node.args:
            return self._text_of(node.args[0])
        target: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            opened = node.func.value
            if node.func.attr in {"read_text", "read_bytes"}:
                target = opened
            elif node.func.attr == "read" and isinstance(opened, ast.Call) and opened.args:
                target = opened.args[0]
        texts = self.values.texts(node) if target is None else self.values.path(target)
        if len(texts) != 1 or HOLE in texts[0]:
            return None
        if target is None:
            return texts[0]
        path = self.run.absolute(texts[0])
        text = None if path is None else sources.text(self.run, path)
        return None if text is None or HOLE in text else text

    def _within(self, text: str) -> None:
        inner = _Reader(self.run, self.where, None, isolated=self.isolated, nested=self.nested + 1)
        inner.places = self.places
        inner.names.bound = {name: [None] for name in self.names.bound}
        inner.names.modules = {name: set(origins) for name, origins in self.names.modules.items()}
        inner.look(text.strip())
        if inner.names.modules != self.names.modules:
            self.unknown("Python that imports in a text that it executes")

    def _attribute(self, node: ast.Attribute) -> None:
        origins = self.names.origins(node)
        for origin in origins:
            self._member(origin, node)
        root = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        if not origins or (isinstance(root, ast.Name) and root.id in self.names.bound):
            self._attribute_name(node.attr, node)
        elif node.attr.startswith("__") and node.attr not in modules.HARMLESS_DUNDERS:
            self.unknown(f"Python that uses .{node.attr}")

    def _attribute_name(self, name: str, node: ast.Attribute | None = None) -> None:
        """Judge an attribute of an object that may be anything that harmless code can make."""
        call = self.parents.get(node) if node is not None else None
        if node is not None and isinstance(call, ast.Call) and call.func is node:
            if self.calls.method(call, node):
                return
            takes = name == "copy" and bool(call.args)  # a path's copy has a target, a list's has none
            takes = takes or (
                name == "write" and any(origin.startswith("xml.") for origin in self.imported() | self.carried)
            )
        else:
            takes = name in {"open", "replace", "copy"} and not (node is not None and isinstance(node.ctx, ast.Store))
        hidden = name.startswith("__") and name not in modules.HARMLESS_DUNDERS
        if takes or hidden or name in modules.MUTATING or name in modules.CARRIED - {"code", "inspect", "io"}:
            self.unknown(f"Python that uses .{name}")

    def _has_trees(self) -> bool:
        """Whether there can be trees of XML: what they write has a name, where a file's write has a text."""
        return any(origin.startswith("xml.") for origin in self.imported() | self.carried)

    def imported(self) -> set[str]:
        """Return all that the text imports."""
        return {origin for origins in self.names.modules.values() for origin in origins}

    def _member(self, origin: str, node: ast.AST) -> None:
        """Judge a member of a module where it is named."""
        base, rest = _split(origin)
        if base is None:
            head, _, member = origin.partition(".")
            if head in self.read:
                if member and member.partition(".")[0] not in self.read[head]:
                    self.unknown(f"Python that uses {origin}")
                for part in member.split(".")[1:]:
                    self._attribute_name(part)
            elif head not in self.foreign and not self._judged(origin, node):
                self.unknown(f"Python that uses {origin}")
            return
        if not rest or self._judged(origin, node):
            return
        if self.calls.runs(origin) and not self._followed(node):
            self.run.executes_unknown(f"Python that passes {origin} on", self.where)
        hidden = any(part.startswith("_") and part not in modules.HARMLESS_DUNDERS | {"_exit"} for part in rest)
        deep = len(rest) > 1 and not all(part in modules.SHALLOW or not part.islower() for part in rest[:-1])
        if (
            hidden
            or deep
            or any(part in modules.CARRIED for part in rest)
            or any(f"{base}.{'.'.join(rest[: index + 1])}" in modules.HARMFUL for index in range(len(rest)))
            or (base in modules.ONLY and rest[0] not in modules.ONLY[base])
            or (base in modules.HARMLESS and rest[-1] in modules.MUTATING)
            or (origin in OPENERS or rest[-1] in {"open", "main", "eval", "exec"})
            or (origin.startswith("logging.basicConfig") and not self._plain_logging(node))
            or (origin.startswith("sys.path") and not self._reads_path(node))
        ):
            self.unknown(f"Python that uses {origin}")

    def _judged(self, origin: str, node: ast.AST) -> bool:
        """Whether this member is called here, by a function whose effects are known."""
        call = self.parents.get(node)
        if not (isinstance(call, ast.Call) and call.func is node):
            return False
        return self.calls.covers(origin)

    def _plain_logging(self, node: ast.AST) -> bool:
        call = self.parents.get(node)
        return isinstance(call, ast.Call) and all(
            keyword.arg in {"level", "format", "datefmt", "style", "stream", "force"} for keyword in call.keywords
        )

    def _reads_path(self, node: ast.AST) -> bool:
        """Whether sys.path is only looked at: it decides which files later imports mean."""
        parent = self.parents.get(node)
        if isinstance(parent, ast.Call):
            name = parent.func.id if isinstance(parent.func, ast.Name) else ""
            joins = isinstance(parent.func, ast.Attribute) and parent.func.attr == "join"
            return parent.func is not node and (name in _PRINTS or joins)
        if isinstance(parent, ast.Subscript):
            return isinstance(parent.ctx, ast.Load)
        return isinstance(parent, (ast.For, ast.comprehension, ast.FormattedValue, ast.Compare, ast.Expr))

    # -- calls --------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> None:
        origins = set(self.names.origins(node.func))
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            origins.add("open")
        for origin in origins:
            self.calls.note(node, origin)
            if origin == "importlib.import_module":
                for module in self.names.origins(node):
                    self._module(module)


def _split(origin: str) -> tuple[str | None, list[str]]:
    """Split a dotted name into the longest module that is known and the rest."""
    parts = origin.split(".")
    for count in range(len(parts), 0, -1):
        base = ".".join(parts[:count])
        if base in modules.HARMLESS or base in modules.ONLY:
            return base, parts[count:]
    return None, parts


def read_file(run: Interpreter, path: str, where: Where, *, isolated: bool) -> bool:
    """Look at a file of Python; False where it cannot be read."""
    text = sources.text(run, path)
    if text is None or HOLE in text:
        return False
    look(run, text, where, file=path, isolated=isolated)
    return True
