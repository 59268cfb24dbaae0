"""The power fails while the supervisor writes to its database: what was acknowledged is there, nothing by halves."""

import contextlib
import os
import tempfile

import pytest
from tests.crash import blocklog, faults, states

from cbx_supervisor.store.database import Database

pytestmark = [pytest.mark.root, pytest.mark.crash]

WANTED = (8, 80)  # states of each file system: in a sample, and in a full run
ROWS = 40  # of one transaction, on several pages
WRITES = 10


@contextlib.contextmanager
def recording(kind, *, synced=True):
    """Transactions, each marked once it was acknowledged; everything that the disk was told."""
    with tempfile.TemporaryDirectory(prefix="cbx-store-", dir=faults.MEMORY) as base:
        mount_point = f"{base}/m"
        os.mkdir(mount_point)
        with blocklog.Recorder(kind, base, mount_point) as recorder:
            with contextlib.closing(Database(f"{mount_point}/state.db")) as database:
                if not synced:
                    database._writer.execute("PRAGMA synchronous = OFF")
                database.write(lambda connection: connection.execute("CREATE TABLE made (number, text)")).result()
                faults.syncfs(mount_point)
                recorder.mark("0")
                for number in range(1, WRITES + 1):
                    rows = [(number, "x" * 500)] * ROWS
                    database.write(
                        lambda connection, rows=rows: connection.executemany("INSERT INTO made VALUES (?, ?)", rows)
                    ).result()
                    recorder.mark(str(number))
            writes = recorder.writes()
        yield base, mount_point, writes


def looked_at(kind, base, mount_point, acknowledged) -> str:
    with (
        blocklog.mounted(f"{base}/state", mount_point),
        contextlib.closing(Database(f"{mount_point}/state.db")) as again,
    ):
        damage = again.read(lambda reader: reader.execute("PRAGMA integrity_check").fetchone()[0])
        counts = again.read(
            lambda reader: reader.execute(
                "SELECT number, COUNT(*) FROM made GROUP BY number ORDER BY number"
            ).fetchall()
        )
    if damage != "ok":
        return damage
    if [tuple(row) for row in counts] != [(number, ROWS) for number in range(1, len(counts) + 1)]:
        return f"torn: {[tuple(row) for row in counts]}"
    if len(counts) < acknowledged:
        return f"lost: {len(counts)} of {acknowledged}"
    if dirty := blocklog.check(kind, f"{base}/state"):
        return dirty
    return "old" if len(counts) == acknowledged else "new"


def after_cuts(kind, wanted, *, synced=True):
    with recording(kind, synced=synced) as (base, mount_point, writes):
        marks = {index: int(write.mark) for index, write in enumerate(writes) if write.mark}
        disks = blocklog.Disks(f"{base}/first", base, writes)
        seen = {}
        for cut in faults.some(blocklog.cuts(writes, seed=7, first=min(marks)), wanted):
            disks.make(cut, f"{base}/state")
            acknowledged = max(number for index, number in marks.items() if index < cut.after)
            seen[str(cut)] = looked_at(kind, base, mount_point, acknowledged)
        return seen


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"] if faults.ALL else ["ext4"])
def test_what_was_acknowledged_is_there(own_mounts, kind):
    """Whole transactions, at least those that were acknowledged, in a database that SQLite finds sound."""
    seen = after_cuts(kind, WANTED[faults.ALL])
    states.told(seen.values())
    assert {cut: found for cut, found in seen.items() if found not in {"old", "new"}} == {}


def test_control_without_syncs(own_mounts):
    """The harness sees a database that acknowledges what is not on disk."""
    # A host that stands still for half a minute syncs by itself: once more, then.
    attempts = (after_cuts("ext4", 8, synced=False) for _ in range(3))
    assert any(found.startswith("lost") for seen in attempts for found in seen.values())
