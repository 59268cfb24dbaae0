"""Held checkpoints whose time is over are rolled back, and what all of them take on disk is counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files
from cbx_supervisor.execution.transactions import Caller
from cbx_supervisor.model import retention
from cbx_supervisor.model.checkpoint import Checkpoint
from cbx_supervisor.store import checkpoints as rows
from cbx_supervisor.store import transactions

if TYPE_CHECKING:
    from cbx_supervisor.execution.review import Review


class Retention:
    """Keeps an eye on what is held. ``now`` is the Unix clock."""

    def __init__(self, review: Review, now: Callable[[], float]) -> None:
        self._review = review
        self._executor = review.executor
        self._now = now

    async def expire(self) -> list[int]:
        """Roll back what was held for too long; the numbers."""
        days = self._executor.settings.retention.held_days
        gone = []
        for found in retention.expired(self._executor.database.read(rows.waiting), self._now(), days):
            try:
                await self._review.expire(found, f"nobody decided for {days:g} days", still=self._still_over)
            except CbxError as error:
                self._executor.log("not rolled back", checkpoint=found.id, error=str(error))
                continue
            self._executor.log("rolled back after its time", checkpoint=found.id, days=days)
            gone.append(found.id)
        return gone + await self._give_up(days)

    async def _give_up(self, days: float) -> list[int]:
        """Roll back transactions that nobody has touched for too long."""
        gone, nobody = [], Caller(0, os.getpid())
        for found in self._executor.database.read(transactions.all_open):
            at = retention.given_up(found.checkpoint, found.touched, days)
            if at is None or at > self._now():
                continue
            why = f"nobody touched it for {days:g} days"
            try:
                await self._executor.transactions.roll_back(found.number, nobody, why, "expired")
            except CbxError as error:
                self._executor.log("not rolled back", transaction=found.number, error=str(error))
                continue
            self._executor.log("rolled back after its time", transaction=found.number, days=days)
            gone.append(found.number)
        return gone

    def _still_over(self, found: Checkpoint) -> bool:
        return bool(retention.expired([found], self._now(), self._executor.settings.retention.held_days))

    async def usage(self, uid: int | None) -> list[dict[str, object]]:
        """Bytes on disk of each checkpoint of ``uid``, or of everybody's; the largest first.

        Of those that wait, and of what commits have replaced and an undo would put back.
        """
        history, database = self._executor.settings.history, self._executor.database
        since = self._now() - history.undo_hours * 3600
        kept = database.read(lambda connection: rows.undoable(connection, since, history.undo_max))
        found: list[dict[str, object]] = []
        for checkpoint in (*database.read(rows.waiting), *kept):
            if uid is not None and checkpoint.uid != uid:
                continue
            taken = await self._executor.files.work(checkpoint.uid, on_disk, checkpoint)
            if taken or checkpoint.state.waits:
                entry = {"id": checkpoint.id, "uid": checkpoint.uid, "bytes": taken, "pinned": checkpoint.pinned}
                found.append({**entry, "state": checkpoint.state.value})
        return sorted(found, key=lambda entry: (-int(str(entry["bytes"])), entry["id"]))


def on_disk(checkpoint: Checkpoint) -> int:
    """Bytes that the layers of a checkpoint take on disk; a file with several names counts once."""
    if checkpoint.session is None:
        return 0
    total = 0
    seen: set[tuple[int, int]] = set()
    for layer in Session.from_json(checkpoint.session).layers:
        try:
            root = os.open(layer.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # it went with its file system
        try:
            with files.Cursor(root) as cursor:
                for name, _ in files.walk(cursor):
                    status = os.stat(name, dir_fd=cursor.fd, follow_symlinks=False)
                    if (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        total += status.st_blocks * 512
        finally:
            os.close(root)
    return total
