"""Installing cbx as a service of systemd's: a plan of small steps, which can be shown or carried out."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from cbx_sandbox.errors import CbxError
from cbx_supervisor.cli import completion

UNITS = ("cbx.slice", "cbx.socket", "cbx-exec.socket", "cbx-launcher.service", "cbx-supervisor.service")
STARTED = ("cbx-launcher.service", "cbx.socket", "cbx-exec.socket", "cbx-supervisor.service")
# Where an administrator's files belong: they go before a distribution's of the same names.
PLACES = {
    **{unit: f"/etc/systemd/system/{unit}" for unit in UNITS},
    "cbx.sysusers.conf": "/etc/sysusers.d/cbx.conf",
    "cbx.tmpfiles.conf": "/etc/tmpfiles.d/cbx.conf",
    "completion": "/etc/bash_completion.d/cbx-sandbox",
}
RUN_SECONDS = 180.0


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """Put a file in its place, unless it is there already."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"

    def carry_out(self) -> None:
        """Whole or not at all."""
        path = Path(self.path)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(self.text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """Take a file away."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def carry_out(self) -> None:
        """It may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Have a command of the system's do its part."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"run {' '.join(self.words)}"

    def carry_out(self) -> None:
        """Raises CbxError with what it said."""
        try:
            done = subprocess.run(self.words, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CbxError(f"cannot {self}: {error}", hint="this needs a host that systemd runs") from error
        if done.returncode:
            raise CbxError(f"cannot {self}: it ended with {done.returncode}", details=done.stderr.strip() or None)


Step = Write | Remove | Run


def install(files: dict[str, str], *, enable: bool, restart: bool) -> list[Step]:
    """What to do, in order. ``files`` are the texts by their names; ``restart``: an older one of these runs."""
    steps: list[Step] = [Write(PLACES[name], text) for name, text in files.items()]
    steps += [
        Run(("systemd-sysusers", PLACES["cbx.sysusers.conf"])),
        Run(("systemd-tmpfiles", "--create", PLACES["cbx.tmpfiles.conf"])),
        Run(("systemctl", "daemon-reload")),
    ]
    if enable:
        steps.append(Run(("systemctl", "enable", "--now", *STARTED)))
    if restart:
        # Jobs go on. The launcher is left as it is: it would end them.
        steps.append(Run(("systemctl", "try-restart", "cbx-supervisor.service")))
    return steps


def uninstall() -> list[Step]:
    """Stop everything, jobs included, and take the files away. The group and what is remembered are kept."""
    return [
        Run(("systemctl", "disable", "--now", *reversed(STARTED))),
        *(Remove(path) for path in PLACES.values()),
        Run(("systemctl", "daemon-reload")),
    ]


def files() -> dict[str, str]:
    """The files with this installation's own paths in them."""
    directory = _directory()
    binaries = Path(sys.executable).parent
    texts = {}
    for name in PLACES:
        if name == "completion":
            texts[name] = completion.bash()
            continue
        text = (directory / name).read_text(encoding="utf-8")
        texts[name] = text.replace("@BIN@", str(binaries)).replace("@DOCS@", str(directory.parent / "docs"))
    return texts


def _directory() -> Path:
    """Beside the package where it was installed, at the top of the tree where it is worked on."""
    package = Path(__file__).parents[1]
    for directory in (package / "systemd", package.parents[1] / "systemd"):
        if (directory / "cbx.socket").is_file():
            return directory
    raise CbxError("cannot find the files of the service: they are not installed", hint="install cbx anew")
