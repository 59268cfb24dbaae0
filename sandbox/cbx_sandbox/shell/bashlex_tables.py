"""bashlex without the tenth of a second that it needs to make its tables whenever it is imported.

Its grammar never changes within a release, so the tables lie beside this file, with a checksum of the grammar that they
were made from. For any other grammar they are made anew, as bashlex does by itself.
"""

from __future__ import annotations

import importlib
import json
import sys
import zlib
from functools import cache
from importlib import util
from typing import Any

from cbx_sandbox.shell import bundled

NAME = "bashlex_tables.json"


@cache
def load() -> Any:
    """Import bashlex and return it."""
    known = sys.modules.get("bashlex")
    spec = util.find_spec("bashlex")
    if known is not None or spec is None or spec.loader is None:
        return importlib.import_module("bashlex")
    package = util.module_from_spec(spec)
    sys.modules["bashlex"] = package
    generator = importlib.import_module("bashlex.yacc")
    make = generator.LRTable.__init__
    stored = json.loads(bundled.text(__package__, NAME))

    def init(self: Any, grammar: Any, log: Any = None) -> None:
        if stored["grammar"] != checksum(grammar.Productions):
            make(self, grammar, log)
            return
        self.grammar, self.lr_productions = grammar, grammar.Productions
        self.lr_action = dict(enumerate(stored["action"]))
        self.lr_goto = {int(state): row for state, row in stored["goto"].items()}
        self.sr_conflicts = self.rr_conflicts = []

    generator.LRTable.__init__ = init
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules["bashlex"]
        raise
    finally:
        generator.LRTable.__init__ = make
    return package


def checksum(productions: list[Any]) -> str:
    """Return what tells one grammar from another."""
    return f"{zlib.crc32(chr(10).join(map(str, productions)).encode()):08x}-{len(productions)}"


def made() -> dict[str, Any]:
    """Return the tables as bashlex makes them; its module has to be imported without those that are stored."""
    parser = importlib.import_module("bashlex.parser").yaccparser
    return {
        "grammar": checksum(parser.productions),
        "action": [dict(parser.action[state]) for state in range(len(parser.action))],
        "goto": {str(state): dict(row) for state, row in parser.goto.items()},
    }
