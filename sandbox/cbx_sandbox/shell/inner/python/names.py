"""What each name of a Python text can stand for: every binding counts, whichever is meant where it is used."""

from __future__ import annotations

import ast

from msgspec import Struct, field

MAX_DEPTH = 12  # names that stand for names
MAX_WORK = 20_000  # looks at bindings for one text


class Each(Struct, frozen=True):
    """A name that stands for one element after the other."""

    elements: ast.expr


Bound = ast.expr | Each | None
"""What a binding gives a name: the value of an expression, elements, or something that is not followed."""


class Names(Struct):
    """The bindings of one text."""

    modules: dict[str, set[str]] = field(default_factory=dict)  # a name to what it was imported as
    bound: dict[str, list[Bound]] = field(default_factory=dict)  # a name to all else that it is given
    work: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether the names lead to each other in more ways than are followed: what was found is not all."""
        return self.work > MAX_WORK

    def collect(self, nodes: list[ast.AST]) -> None:
        """Note what is bound in a text."""
        for node in nodes:
            self._bind(node)

    def origins(self, node: ast.AST | None, depth: int = 0) -> set[str]:
        """Return the dotted names of modules and their members that an expression can stand for."""
        self.work += 1
        if node is None or self.exhausted:
            return set()
        if depth > MAX_DEPTH:
            self.work = MAX_WORK + 1
            return set()
        if isinstance(node, ast.Name):
            found = set(self.modules.get(node.id, ()))
            for value in self.bound.get(node.id, ()):
                if isinstance(value, ast.Name) and value.id == node.id:
                    continue
                if isinstance(value, (ast.Name, ast.Attribute, ast.Call)):
                    found |= self.origins(value, depth + 1)
            return found
        if isinstance(node, ast.Attribute):
            return {f"{origin}.{node.attr}" for origin in self.origins(node.value, depth + 1)}
        if isinstance(node, ast.Call):
            return self._imported(node, depth)
        return set()

    def _imported(self, node: ast.Call, depth: int) -> set[str]:
        """See through __import__("os"), import_module("os") and getattr(os, "system")."""
        texts = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        if function == "__import__" and texts and isinstance(texts[0], str):
            return {texts[0].partition(".")[0]}
        if function == "getattr" and len(texts) > 1 and isinstance(texts[1], str):
            return {f"{origin}.{texts[1]}" for origin in self.origins(node.args[0], depth + 1)}
        if texts and isinstance(texts[0], str) and "importlib.import_module" in self.origins(node.func, depth + 1):
            return {texts[0]}
        return set()

    def _bind(self, node: ast.AST) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self.modules.setdefault(name, set()).add(alias.name if alias.asname else name)
            case ast.ImportFrom():
                for alias in node.names:
                    origin = f"{'.' * node.level}{node.module or ''}.{alias.name}"
                    self.modules.setdefault(alias.asname or alias.name, set()).add(origin)
            case ast.Assign():
                for target in node.targets:
                    self._target(target, node.value)
            case ast.AnnAssign() | ast.NamedExpr():
                self._target(node.target, node.value)
            case ast.AugAssign():
                self._target(node.target, None)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                self._target(node.target, Each(node.iter))
            case ast.withitem() if node.optional_vars is not None:
                self._target(node.optional_vars, None)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.bound.setdefault(node.name, []).append(None)
            case ast.arg():
                self.bound.setdefault(node.arg, []).append(None)
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar() if node.name:
                self.bound.setdefault(node.name, []).append(None)
            case ast.MatchMapping() if node.rest:
                self.bound.setdefault(node.rest, []).append(None)
            case ast.Name() if not isinstance(node.ctx, ast.Load):
                # Every other way to bind ends in such a name; those that were followed have an entry already.
                self.bound.setdefault(node.id, [])
            case _:
                pass

    def _target(self, target: ast.AST, value: Bound) -> None:
        if isinstance(target, ast.Name):
            self.bound.setdefault(target.id, []).append(value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._target(element, None)
        elif isinstance(target, ast.Starred):
            self._target(target.value, None)
