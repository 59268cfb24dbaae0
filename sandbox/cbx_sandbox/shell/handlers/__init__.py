"""Programs that a rule alone cannot describe: those that run other programs, and those with a language of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell.handlers import (
    copying,
    databases,
    editing,
    files,
    interpreters,
    lookers,
    make,
    packing,
    remote,
    targets,
    tools,
    wrappers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule

HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {
    **wrappers.HANDLERS,
    **interpreters.HANDLERS,
    **lookers.HANDLERS,
    **editing.HANDLERS,
    **files.HANDLERS,
    **copying.HANDLERS,
    **packing.HANDLERS,
    **remote.HANDLERS,
    **make.HANDLERS,
    **targets.HANDLERS,
    **tools.HANDLERS,
    **databases.HANDLERS,
}
