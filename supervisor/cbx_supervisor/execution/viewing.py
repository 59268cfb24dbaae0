"""Looking around in a held checkpoint: its layers shown over the live tree, read-only. A job that can change nothing.

A commit or a rollback need not wait for it: who looks meanwhile may see files go.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import structs

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.checkpoint.changes import absolute, split
from cbx_sandbox.checkpoint.diff import diff
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import UsageError
from cbx_sandbox.linux import files
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.checkpoint import Checkpoint
from cbx_supervisor.store import checkpoints

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

MOST = 64  # overlays in one view


def request_of(executor: Executor, submission: Submission, request: runner.Request) -> runner.Request:
    """The request of a job that looks around in a checkpoint: it writes nowhere. Raises UsageError."""
    if submission.view is None:
        return request
    options = request.options
    if submission.transaction is not None or options.writable or options.commit is not None or options.tier is not None:
        raise UsageError("cannot use --rw, --commit, --tier or --transaction with --view: nothing can be written in it")
    _usable(executor, submission)
    return structs.replace(request, options=structs.replace(options, viewing=True))


async def places(executor: Executor, submission: Submission) -> list[box.OverlayPlace]:
    """What is to be shown, and over which directories. Raises UsageError."""
    return await executor.files.work(
        submission.uid, _places, Session.from_json(_usable(executor, submission).session or {})
    )


def _usable(executor: Executor, submission: Submission) -> Checkpoint:
    number = submission.view or 0
    found = executor.database.read(lambda connection: checkpoints.find(connection, number))
    if found is None or (submission.uid != 0 and found.uid != submission.request.identity.uid):
        raise UsageError(f"there is no checkpoint {number}", hint="`cbx-sandbox checkpoint list` shows yours")
    if not found.state.waits or found.session is None:
        raise UsageError(
            f"cannot look around in checkpoint {number}: it is {found.state.value}",
            hint="a held one has a view; `tx shell` is for open transactions",
        )
    return found


def _places(session: Session) -> list[box.OverlayPlace]:
    """An overlay over each overlaid directory; over a whole mount only where something is changed in it.

    A layer over a whole mount has no moved directories, whose old places are written down from the layer's root.
    """
    found = []
    for layer in session.layers:
        if not files.is_directory(layer.upper):
            raise UsageError(f"cannot look around: the layer of {layer.target} is not there")
        inside = _changed(session, layer.index) if layer.whole_mount and not layer.redirect_dir else [b""]
        for path in inside:
            shown = os.path.normpath(f"upper/{os.fsdecode(path)}")
            found.append(
                box.OverlayPlace(os.fsdecode(absolute(path, layer.target)), layer.root, redirect=False, shown=shown)
            )
    if len(found) > MOST:
        raise UsageError(
            f"cannot look around: the changes lie in {len(found)} directories, {MOST} can be shown",
            hint="`checkpoint diff` shows all of them",
        )
    return found


def _changed(session: Session, index: int) -> list[bytes]:
    """The outermost directories of the live tree in which the layer changes something."""
    changes = [change for change in diff(session) if change.layer == index and not change.implied]
    parents = {split(change.path)[0] for change in changes if change.path}
    parents = {_existing(session, index, path) for path in parents}
    return sorted(path for path in parents if not any(path != o and _beneath(path, o) for o in parents))


def _existing(session: Session, index: int, path: bytes) -> bytes:
    target = os.fsencode(session.layers[index].target)
    while path and not os.path.isdir(os.path.join(target, path)):
        path = split(path)[0]
    return path


def _beneath(path: bytes, above: bytes) -> bool:
    return not above or path.startswith(above + b"/")
