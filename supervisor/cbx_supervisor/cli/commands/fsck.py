"""`fsck`: holds what the store says against what is on disk, and mends what is safe to; without a supervisor."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

import click

from cbx_sandbox.errors import CbxError, DeniedError
from cbx_supervisor import paths as places
from cbx_supervisor.cli import output
from cbx_supervisor.execution.consistency import Check, Finding
from cbx_supervisor.paths import Paths
from cbx_supervisor.store.database import Database, looking

CLEAN, MENDED, LEFT = 0, 1, 4  # as in fsck(8)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A finding, and what became of it: found, mended, or left."""

    finding: Finding
    state: str
    why: str = ""


@click.command(short_help="Check what is kept on disk, and mend it.")
@click.option("--repair", is_flag=True, help="Mend what is safe to; not while a supervisor runs.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(repair: bool, as_json: bool) -> int:
    """Hold journals, stages, layers, transactions and mounts against what the store says of them.

    A supervisor does these repairs at each start as far as they are its own doing. The exit status is 0 if all is well,
    1 if all that was found is mended, 4 if something is left.
    """
    if os.geteuid() != 0:
        raise DeniedError("cannot look at what is kept: only root can", hint="run: sudo cbx-sandbox fsck")
    paths = places.from_environment(os.environ, uid=0)
    if not os.path.exists(paths.database):
        raise CbxError(f"there is nothing to check: no {paths.database}", hint="CBX_STATE_DIR says where it is")
    with _alone(paths) as alone:
        if repair and not alone:
            raise CbxError(
                "cannot repair while a supervisor runs: it changes the same things",
                hint="stop it first (systemctl stop cbx, or let it end when idle); starting it again repairs, too",
            )
        outcomes = _repaired(paths) if repair else _found(paths, served=not alone)
    show(outcomes, as_json=as_json)
    if not outcomes:
        return CLEAN
    return MENDED if all(outcome.state == "mended" for outcome in outcomes) else LEFT


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[bool]:
    """Hold the lock that a supervisor holds, so that none starts meanwhile; False if one does."""
    if not os.path.isdir(os.path.dirname(paths.lock)):
        yield True  # no supervisor has run since the host was started
        return
    fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def _found(paths: Paths, *, served: bool) -> list[Outcome]:
    def nothing(_: object) -> None:
        raise AssertionError

    with looking(paths.database) as connection:
        return [Outcome(finding, "found") for finding in Check(paths, connection, nothing, served=served).run()]


def _repaired(paths: Paths) -> list[Outcome]:
    with contextlib.closing(Database(paths.database)) as database, looking(paths.database) as connection:

        def write(operation: Callable[[Any], None]) -> None:
            database.write(operation).result()

        return [_mended(finding) for finding in list(Check(paths, connection, write, served=False).run())]


def _mended(finding: Finding) -> Outcome:
    if finding.repair is None:
        return Outcome(finding, "left")
    try:
        finding.repair()
    except (CbxError, OSError) as error:
        return Outcome(finding, "left", str(error))
    return Outcome(finding, "mended")


def show(outcomes: list[Outcome], *, as_json: bool) -> None:
    """Print what was found: each with what was done, or could be."""
    if as_json:
        output.show_json({"clean": not outcomes, "findings": [describe(outcome) for outcome in outcomes]})
        return
    for outcome in outcomes:
        finding = outcome.finding
        done = {"mended": "mended: ", "left": "left: "}.get(outcome.state, "to do: ")
        output.show(output.lines(f"{finding.code}  {finding.subject}: {finding.text}"))
        output.show(output.lines(f"    {done}{outcome.why or finding.remedy}"))
    left = sum(1 for outcome in outcomes if outcome.state != "mended")
    if not outcomes:
        output.show("clean")
    elif any(outcome.state == "found" and outcome.finding.repair for outcome in outcomes):
        output.show(f"{left} found; --repair mends what is safe to")
    else:
        output.show(f"{len(outcomes) - left} mended, {left} left")


def describe(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain JSON values."""
    finding = outcome.finding
    return {
        "code": finding.code,
        "subject": finding.subject,
        "text": finding.text,
        "remedy": finding.remedy,
        "repairable": finding.repair is not None,
        "state": outcome.state,
        "why": outcome.why,
    }
