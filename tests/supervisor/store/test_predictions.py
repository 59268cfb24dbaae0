"""Predictions and lessons as rows: found again, bounded for each user, and made in a database of the first release."""

from __future__ import annotations

import sqlite3

import pytest

from cbx_sandbox.shell.learned import Lesson, Run
from cbx_supervisor.model.prediction import Forecast, Observed, ObservedReads, PredictedPath, Prediction
from cbx_supervisor.store import migrations, predictions
from cbx_supervisor.store.database import Database

FORECAST = Forecast(1.5, 64, "cpu", "rules", 0.0)
MARK = "0123456789abcdef"


@pytest.fixture
def database(tmp_path):
    made = Database(str(tmp_path / "cbx.db"))
    yield made
    made.close()


def foreseen(**more):
    values = {"fingerprint": MARK, "tier": "SEQUENTIAL_REQUIRED", "forecast": FORECAST}
    return Prediction(**values, **more)


def ran(database, uid, job, observed=None, status=0, prediction=None):
    how = predictions.Ended(status, False, 0.5, 0.1, 1 << 20)
    database.write(predictions.started(uid, job, float(job), prediction or foreseen(), "SEQUENTIAL_REQUIRED"))
    database.write(predictions.ended(uid, job, how, observed)).result()


def rows(database, uid=None, since=0.0):
    return list(predictions.rows(database, uid, since))


def test_a_prediction_is_found_as_it_was_written(database):
    """Before the run without an observation, afterwards with it."""
    writes = (PredictedPath("write", "/p/\u20ac", "literal"), PredictedPath("delete", "/q", "under"))
    made = foreseen(writes=writes, writes_left_out=3)
    database.write(predictions.started(7, 1, 1.0, made, "DANGEROUS_ISOLATED")).result()
    assert database.read(lambda connection: predictions.find(connection, 7, 1)) == made
    seen, read = Observed(5, 1, ("/r/x",), 2, 1, ("/q",)), ObservedReads(9, 1, ("/s/\u20ac",), 40, "some are missing")
    database.write(predictions.ended(7, 1, predictions.Ended(0, False, 0.5, None, None), seen, read)).result()
    found = database.read(lambda connection: predictions.find(connection, 7, 1))
    assert (found.observed, found.reads, found.writes, found.writes_left_out) == (seen, read, writes, 3)
    assert [(row.observed, row.reads) for row in rows(database)] == [(seen, read)]
    assert database.read(lambda connection: predictions.find(connection, 8, 1)) is None


def test_rows_are_a_users_and_those_that_are_over(database):
    """Since a time; everybody's for nobody in particular."""
    for job in range(1, predictions.CHUNK * 2 + 2):
        ran(database, job % 2, job)
    database.write(predictions.started(1, 5000, 5000.0, foreseen(), "SAFE_PARALLEL")).result()
    assert len(rows(database)) == predictions.CHUNK * 2 + 1
    assert {row.uid for row in rows(database, 0)} == {0}
    assert [row.job for row in rows(database, 1, since=990.0)] == [991, 993, 995, 997, 999, 1001]


def test_pruning_takes_the_oldest_of_one_user(database):
    """And nobody else's."""
    for job in range(1, 21):
        ran(database, 1, job)
        ran(database, 2, job + 100)
    database.write(predictions.prune(1, 5)).result()
    assert [row.job for row in rows(database, 1)] == [16, 17, 18, 19, 20]
    assert len(rows(database, 2)) == 20
    database.write(predictions.prune(2, 20)).result()
    assert len(rows(database, 2)) == 20


def test_lessons_are_found_as_they_were_written(database):
    """By user; the one used longest ago first; names of any bytes."""
    lesson = Lesson().after(Run(0.1, 20.5, 0.3), missed=True, directories=["./\udcff", "/srv/\u20ac"], reads=["./r"])
    database.write(predictions.learned(1, MARK, lesson, "make", 2.0))
    database.write(predictions.learned(1, "ff", Lesson(), "ls", 1.0)).result()
    found = database.read(lambda connection: predictions.lessons(connection, 1))
    assert list(found) == ["ff", MARK]
    assert found[MARK] == lesson
    database.write(predictions.forgotten(1, MARK)).result()
    assert list(database.read(lambda connection: predictions.lessons(connection, 1))) == ["ff"]
    assert database.read(lambda connection: predictions.lessons(connection, 2)) == {}


def test_a_database_of_the_first_release_is_brought_up(tmp_path):
    """Its jobs stay."""
    path = str(tmp_path / "cbx.db")
    with sqlite3.connect(path) as old:
        old.executescript(migrations.MIGRATIONS[0])
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO jobs (uid, gid, command, workdir, detached, state, submitted)"
            " VALUES (1, 1, 'ls', '/', 0, 'exited', 1.0)"
        )
    old.close()
    database = Database(path)
    try:
        ran(database, 1, 1)
        assert [row.job for row in rows(database)] == [1]
        assert database.read(lambda connection: connection.execute("SELECT count(*) FROM jobs").fetchone()[0]) == 1
    finally:
        database.close()
