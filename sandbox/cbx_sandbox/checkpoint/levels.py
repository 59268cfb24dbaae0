"""The levels of a checkpoint that several jobs work in, one after the other: saved one upon the other, and thrown away.

A layer's upper directory is where the next job writes. A savepoint puts it aside as ``saved/1``, ``saved/2`` and so on,
beneath a new one, and the overlay is mounted over all of them. Each of these may be done again after an interruption.
"""

from __future__ import annotations

import contextlib
import os

from cbx_sandbox.checkpoint import layers as layer_store
from cbx_sandbox.checkpoint.flatten import flatten
from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.checkpoint.session import Session, gone, sync
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, removal

SAVED = "saved"
COPY = "trial"  # all levels once more, joined, for as long as somebody looks at them
_NEW = "upper.new"


def depth(session: Session) -> int:
    """How many levels are saved."""
    return max((number for layer in session.layers for number in saved(layer)), default=0)


def saved(layer: LayerSpec) -> list[int]:
    """The numbers of the levels that are put aside, the lowest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(int(name) for name in os.listdir(f"{layer.root}/{SAVED}") if name.isdecimal())
    return []


def ready(session: Session) -> int:
    """Have the overlays mounted once more, after another job; returns how many levels are saved.

    Raises CbxError: a file system is not mounted any more, or the levels are not what they were.
    """
    _insist_there(session)
    number = depth(session)
    for layer in session.layers:
        if not files.is_directory(layer.upper) or saved(layer) != list(range(1, number + 1)):
            raise CbxError(
                f"cannot use checkpoint {session.checkpoint}: its layer of {layer.target} is not whole",
                hint="`cbx-sandbox fsck` looks at it; a rollback throws it away",
            )
        _fresh_work(layer)
    return number


def save(session: Session, number: int) -> None:
    """Put aside what was changed so far, as level ``number``; on disk when this returns."""
    _insist_there(session)
    for layer in session.layers:
        with contextlib.suppress(FileExistsError):
            os.mkdir(f"{layer.root}/{SAVED}", 0o700)
        place = f"{layer.root}/{SAVED}/{number}"
        if not files.is_directory(place):
            os.rename(layer.upper, place)
        _fresh(layer, place)
    sync(session)


def back(session: Session, number: int) -> None:
    """Throw away all that was changed since level ``number`` was saved; on disk when this returns."""
    _insist_there(session)
    for layer in session.layers:
        with files.directory(layer.root, os.O_PATH) as root:
            removal.remove_tree(root, b"upper")
        with files.directory(f"{layer.root}/{SAVED}", os.O_PATH) as place:
            for later in saved(layer):
                if later > number:
                    removal.remove_tree(place, b"%d" % later)
        _fresh(layer, f"{layer.root}/{SAVED}/{number}")
    sync(session)


def join(session: Session) -> None:
    """Make one level of all, as a commit wants it; on disk when this returns."""
    _insist_there(session)
    for layer in session.layers:
        beneath = [f"{layer.root}/{SAVED}/{number}" for number in saved(layer)]
        if beneath:
            flatten([*beneath, layer.upper])
            os.rename(beneath[0], layer.upper)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{layer.root}/{SAVED}")
        with files.directory(layer.root, os.O_PATH) as root:
            for left in (_NEW, COPY):
                removal.remove_tree(root, os.fsencode(left))
    sync(session)


def _insist_there(session: Session) -> None:
    # A layer whose upper directory is put aside is there all the same.
    lost = [layer.target for layer in session.layers if not files.is_directory(layer.root)]
    lost += gone(session) if not (lost or depth(session)) else ()
    if lost:
        raise CbxError(
            f"cannot use checkpoint {session.checkpoint}: what was changed on {lost[0]} is not there",
            hint="mount its file system again where it was, or roll back",
        )


def _fresh(layer: LayerSpec, like: str) -> None:
    """An empty upper directory that looks like the one beneath it, unless there is one."""
    if not files.is_directory(layer.upper):
        new = f"{layer.root}/{_NEW}"
        with files.directory(layer.root, os.O_PATH) as root:
            removal.remove_tree(root, os.fsencode(_NEW))
        os.mkdir(new, 0o700)
        layer_store.imitate(like, new)
        os.rename(new, layer.upper)
    _fresh_work(layer)


def _fresh_work(layer: LayerSpec) -> None:
    # The mark of a volatile mount lies in it: the kernel refuses a second one as long as it is there.
    with files.directory(layer.root, os.O_PATH) as root:
        removal.remove_tree(root, b"work")
    os.mkdir(layer.work, 0o700)
