"""Long output through the caller's pager: on a terminal only, and only where the pager is the caller's own choice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from cbx_supervisor.cli import output

_LESS = {
    "LESS": "FRX",
    "LESSSECURE": "1",
}  # less: end at once if it fits, colours, the screen stays; nothing is started
_PATH = "/usr/local/bin:/usr/bin:/bin"


def command(environment: Mapping[str, str], uid: int) -> list[str] | None:
    """The pager to start; None for none.

    For root it is the system's `less`, whatever the environment says: sudo may have left the caller's PAGER in it.
    """
    if environment.get("TERM", "dumb") == "dumb":
        return None
    chosen = environment.get("CBX_PAGER", environment.get("PAGER", "less")) if uid else "less"
    if chosen.strip() in {"", "cat"}:
        return None
    if uid:
        return ["/bin/sh", "-c", chosen]
    found = shutil.which("less", path=_PATH)
    return None if found is None else [found]


def show(text: str) -> None:
    """Write ``text``, which is safe for a terminal, to stdout: through a pager if that is a terminal."""
    pager = command(os.environ, os.getuid()) if sys.stdout.isatty() else None
    if pager is None or text.count("\n") < 2:
        output.write(text)
        return
    environment = {**os.environ, **_LESS} if os.getuid() == 0 else {**_LESS, **os.environ}
    if os.getuid() == 0:
        environment = {key: value for key, value in environment.items() if key in {"TERM", "LANG", "LC_ALL", *_LESS}}
    try:
        started = subprocess.Popen(pager, stdin=subprocess.PIPE, env=environment)
    except OSError:
        output.write(text)
        return
    try:
        started.communicate(text.encode("utf-8", "surrogateescape"))
    except KeyboardInterrupt:
        started.wait()  # less takes it as "stop following", and ends by its own keys
