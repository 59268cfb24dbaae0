"""The database's schema, step by step. A step that was released is never edited: another one follows it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from cbx_sandbox.errors import CbxError
from cbx_supervisor.store.audit import seal

# AUTOINCREMENT: a number is never given twice, not even after its row was removed.
_FIRST = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    sudo_uid INTEGER,
    session TEXT,
    command TEXT NOT NULL,
    workdir TEXT NOT NULL,
    tier TEXT,
    detached INTEGER NOT NULL,
    state TEXT NOT NULL,
    submitted REAL NOT NULL,
    ended REAL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_uid ON jobs (uid, id);
CREATE TABLE attempts (
    job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    started REAL NOT NULL,
    boot_id TEXT NOT NULL,
    init_pid INTEGER,
    init_start INTEGER,
    cgroup_inode INTEGER,
    ended REAL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE results (
    job INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    json TEXT NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    decided REAL,
    changes TEXT,
    session TEXT,
    message TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX checkpoints_by_state ON checkpoints (state, id);
CREATE INDEX checkpoints_by_job ON checkpoints (job);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    uid INTEGER,
    pid INTEGER,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
"""

# WITHOUT ROWID, by user: a job's row is beside that user's last one, and pruning one user reads no other's.
_PREDICTIONS = """
CREATE TABLE predictions (
    uid INTEGER NOT NULL,
    job INTEGER NOT NULL,
    at REAL NOT NULL,
    fingerprint TEXT NOT NULL,
    analysed TEXT NOT NULL,
    tier TEXT NOT NULL,
    writes TEXT NOT NULL,
    seconds REAL NOT NULL,
    memory_mb INTEGER NOT NULL,
    bound TEXT NOT NULL,
    source TEXT NOT NULL,
    confidence REAL NOT NULL,
    status INTEGER,
    suspect INTEGER,
    wall REAL,
    cpu REAL,
    peak INTEGER,
    changed INTEGER,
    missed INTEGER,
    missed_paths TEXT,
    predicted INTEGER,
    untouched INTEGER,
    untouched_paths TEXT,
    PRIMARY KEY (uid, job)
) STRICT, WITHOUT ROWID;
CREATE TABLE lessons (
    uid INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    at REAL NOT NULL,
    label TEXT NOT NULL,
    runs INTEGER NOT NULL,
    misses INTEGER NOT NULL,
    seconds BLOB NOT NULL,
    memory BLOB NOT NULL,
    busy BLOB NOT NULL,
    directories TEXT NOT NULL,
    PRIMARY KEY (uid, fingerprint)
) STRICT, WITHOUT ROWID;
"""

_KEPT = """
ALTER TABLE checkpoints ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoints ADD COLUMN label TEXT NOT NULL DEFAULT '';
CREATE TABLE listings (
    checkpoint INTEGER PRIMARY KEY REFERENCES checkpoints (id) ON DELETE CASCADE,
    changes BLOB NOT NULL
) STRICT;
"""

# kept: what another supervisor needs to start a job, or to go on with one that was started; gone when it is over.
_DURABLE = """
ALTER TABLE jobs ADD COLUMN token TEXT;
CREATE TABLE kept (
    job INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    submission TEXT,
    launch TEXT
) STRICT;
CREATE TABLE keys (
    uid INTEGER NOT NULL,
    key TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (uid, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_job ON keys (job);
"""

# Entries are added and, as far as audit_trimmed says, removed at the beginning; nothing else. That is against mistakes:
# whoever writes to the file as root can do without triggers, and is found out by the chain.
_CHAINED = """
ALTER TABLE audit RENAME TO audit_unchained;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    uid INTEGER,
    pid INTEGER,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE TABLE audit_trimmed (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    up_to INTEGER NOT NULL
) STRICT;
INSERT INTO audit_trimmed VALUES (1, 0);
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN old.id > (SELECT up_to FROM audit_trimmed)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""


def _chain_old_entries(connection: sqlite3.Connection) -> None:
    seal(connection, connection.execute("SELECT * FROM audit_unchained ORDER BY id"))
    connection.execute("DROP TABLE audit_unchained")


# A try of a job that is over before the job is: how it ended, and when and why there is another.
_ATTEMPTS = """
ALTER TABLE attempts ADD COLUMN tier TEXT;
ALTER TABLE attempts ADD COLUMN state TEXT;
ALTER TABLE attempts ADD COLUMN reason TEXT;
ALTER TABLE attempts ADD COLUMN status INTEGER;
ALTER TABLE attempts ADD COLUMN message TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN again_at REAL;
ALTER TABLE attempts ADD COLUMN again_why TEXT;
ALTER TABLE attempts ADD COLUMN again_tier TEXT;
"""

# steps: what was done in it, as JSON; pending: what was begun on its layers and may have been interrupted.
_TRANSACTIONS = """
CREATE TABLE transactions (
    checkpoint INTEGER PRIMARY KEY REFERENCES checkpoints (id) ON DELETE CASCADE,
    touched REAL NOT NULL,
    savepoints TEXT NOT NULL DEFAULT '[]',
    pending TEXT,
    running INTEGER,
    steps TEXT NOT NULL DEFAULT '[]'
) STRICT;
"""

_BREAKERS = """
CREATE TABLE breakers (
    name TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    until REAL
) STRICT, WITHOUT ROWID;
"""

# What was done to the live tree through checkpoints, in its order.
_OPERATIONS = """
CREATE TABLE operations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    checkpoint INTEGER NOT NULL REFERENCES checkpoints (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    uid INTEGER NOT NULL,
    changes TEXT
) STRICT;
CREATE INDEX operations_by_checkpoint ON operations (checkpoint);
"""

# Jobs that a person has to look at.
_ATTENTION = """
CREATE TABLE attention (
    job INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    since REAL NOT NULL,
    why TEXT NOT NULL
) STRICT;
"""

# What somebody has stopped by hand: jobs, and the queue.
_STEERING = """
CREATE TABLE paused (
    job INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE queue (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    paused INTEGER NOT NULL,
    draining INTEGER NOT NULL
) STRICT;
"""

# What was seen to be read, as JSON; and what of it was not predicted, for the next prediction.
_READS = """
ALTER TABLE predictions ADD COLUMN reads TEXT;
ALTER TABLE lessons ADD COLUMN reads TEXT NOT NULL DEFAULT '[]';
"""

# Whom somebody has told to end, or not to begin: an order that was acknowledged outlives the supervisor.
_WITHDRAWN = """
CREATE TABLE withdrawn (
    job INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    at_once INTEGER NOT NULL
) STRICT;
"""

MIGRATIONS: tuple[str, ...] = (
    _FIRST,
    _PREDICTIONS,
    _KEPT,
    _DURABLE,
    _CHAINED,
    _ATTEMPTS,
    _TRANSACTIONS,
    _BREAKERS,
    _OPERATIONS,
    _ATTENTION,
    _STEERING,
    _READS,
    _WITHDRAWN,
)
# What a step needs done in Python, in its own transaction.
_AFTER: Mapping[str, Callable[[sqlite3.Connection], None]] = {_CHAINED: _chain_old_entries}


def refuse_other(connection: sqlite3.Connection, path: str) -> None:
    """Raise CbxError unless the database has this release's schema."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version != len(MIGRATIONS):
        raise CbxError(
            f"cannot read {path}: it has schema {version}, this release knows {len(MIGRATIONS)}",
            hint="a start of the supervisor of this release brings an older one up to date",
        )


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the database to this release's schema, each step whole or not at all."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise CbxError(
            f"cannot use {path}: it was written by a newer cbx (schema {version}, this one knows {len(MIGRATIONS)})",
            hint="start the newer cbx, or move the file away to begin with an empty history",
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        # executescript commits what was begun before it, not what it begins: the version is in the step's transaction.
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}")
        if (after := _AFTER.get(script)) is not None:
            after(connection)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
