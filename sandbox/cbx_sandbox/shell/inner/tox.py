"""The commands of a tox.ini."""

from __future__ import annotations

import re

from cbx_sandbox.shell.words import HOLE

_KNOWN = {"toxinidir": ".", "tox_root": ".", "envpython": "python", "envbindir": HOLE, "posargs": HOLE}
_KEYS = ("commands_pre", "commands", "commands_post")


def commands(text: str, names: list[str] | None) -> list[str] | None:
    """Return what is executed in these environments, in all for None; None where the text cannot be read."""
    import configparser  # noqa: PLC0415 -- dear, and few commands lead to such a file

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    wanted = [f"testenv:{name}" for name in names or []]
    sections = [name for name in parser.sections() if name == "testenv" or name.startswith("testenv:")]
    if names is not None:
        sections = [name for name in sections if name == "testenv" or name in wanted]
    lines: list[str] = []
    for section in sections:
        for key in _KEYS:
            if parser.has_option(section, key):
                lines += _lines(parser.get(section, key))
    return lines


def _lines(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [_substituted(line.strip().lstrip("-! ")) for line in joined.split("\n") if line.strip(" \t-!")]


def _substituted(line: str) -> str:
    # `[testenv:x]` conditions such as "py3: pytest" leave the command; braces stand for what tox knows.
    line = re.sub(r"^[\w!,.{}-]+:\s+", "", line)
    return re.sub(r"\{([^{}]*)\}", lambda found: _KNOWN.get(found.group(1).partition(":")[0], HOLE), line)
