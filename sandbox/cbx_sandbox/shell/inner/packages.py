"""The scripts of a package.json."""

from __future__ import annotations

import json

HOOKED = frozenset({"install", "ci", "i", "add"})


def scripts(text: str) -> dict[str, str] | None:
    """Return the scripts by name; None where the text is no package.json that can be read."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = data.get("scripts", {}) if isinstance(data, dict) else None
    if not isinstance(found, dict):
        return None
    return {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}


def run(found: dict[str, str], name: str) -> list[tuple[str, bool]]:
    """Return the texts that are executed for a script, in order, and whether each gets the arguments."""
    order = [f"pre{name}", name, f"post{name}"]
    return [(found[each], each == name) for each in order if each in found]


def installed(found: dict[str, str]) -> list[tuple[str, bool]]:
    """Return the texts that are executed when the package's own dependencies are installed."""
    order = ("preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare")
    return [(found[each], False) for each in order if each in found]
