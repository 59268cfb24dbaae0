"""Programs that a rule alone cannot describe: those that run other programs, and those with a language of their own.

Which module a handler lies in is written here, so that a process that explains one command imports what that needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule

    Handler = Callable[[Interpreter, Call, Rule], str]

MODULES = {
    "compiling": "compiler",
    "copying": "copies mkdir mktemp",
    "databases": "database sqlite",
    "editing": "sed awk ed",
    "files": "rm permissions tar tee passes downloads http",
    "interpreters": "shell python inline code",
    "lookers": "find fd grep ls",
    "make": "make",
    "packing": "compresses zip",
    "patching": "patch",
    "remote": "ssh scp container git salt",
    "targets": "just package tox",
    "unpacking": "unzip",
    "tools": "sysctl ip socat rest date pager api npx uv cmake cloud fzf tmux names",
    "wrappers": "wrap cargo-watch env sudo su xargs parallel text each-text script flock busybox elsewhere",
}


class _Handlers(Mapping[str, "Handler"]):
    """The handlers by name; a module is imported when one of its own is asked for."""

    def __init__(self) -> None:
        self._modules = {name: module for module, names in MODULES.items() for name in names.split()}
        self._found: dict[str, Handler] = {}

    def __getitem__(self, name: str) -> Handler:
        found = self._found.get(name)
        if found is None:
            module = import_module(f"{__name__}.{self._modules[name]}")
            found = self._found[name] = module.HANDLERS[name]
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


HANDLERS: Mapping[str, Handler] = _Handlers()


def load() -> None:
    """Import every module, for a process that must not do so later."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
