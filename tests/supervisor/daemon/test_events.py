"""Events in memory: numbers that only grow, listeners that do not keep up, what is not in memory any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cbx_supervisor.daemon import events
from cbx_supervisor.daemon.events import Events, Filter
from cbx_supervisor.model.job import Job, Queued
from cbx_supervisor.store import jobs
from cbx_supervisor.store.database import Database


@pytest.fixture
def database(tmp_path):
    made = Database(str(tmp_path / "cbx.db"))
    yield made
    made.close()


def live(number, uid=0):
    return SimpleNamespace(number=number, uid=uid, state=Queued(0.0))


async def first(made, count, *, since, wanted=None):
    found = []
    async for event in made.since(since, wanted or Filter(), 5.0):
        assert event is not None, "it is silent"
        found.append(event)
        if len(found) == count:
            break
    return found


def test_numbers_grow_when_the_clock_stands_or_goes_back(database):
    times = iter([100.0, 100.0, 100.0, 50.0])
    made = Events(database, lambda: next(times))
    for number in (1, 2, 3):
        made.changed(live(number))
    found = asyncio.run(first(made, 3, since=int(100e6)))
    assert [event.job for event in found] == [1, 2, 3]
    assert [event.number for event in found] == [100_000_001, 100_000_002, 100_000_003]


def test_each_hears_what_he_may(database):
    made = Events(database)
    for number in range(6):
        made.changed(live(number, uid=number % 2))
    start = made._whole_from
    assert [e.job for e in asyncio.run(first(made, 3, since=start, wanted=Filter(uid=1)))] == [1, 3, 5]
    assert [e.job for e in asyncio.run(first(made, 1, since=start, wanted=Filter(job=4)))] == [4]


def test_a_listener_that_does_not_keep_up_is_let_go_and_can_ask_again(database):
    async def slow():
        made = Events(database)
        start = made._whole_from
        made.changed(live(0))
        heard = [event async for event in _with_pause(made, start)]
        assert len(heard) == 1 + events.UNREAD
        rest = await first(made, 10, since=heard[-1].number)
        assert [event.job for event in rest] == list(range(events.UNREAD + 1, events.UNREAD + 11))

    async def _with_pause(made, start):
        async for event in made.since(start, Filter(), 5.0):
            if event.job == 0:
                for number in range(1, events.UNREAD + 20):
                    made.changed(live(number))
            yield event

    asyncio.run(slow())


def test_what_fell_out_of_memory_comes_from_the_store(database, monkeypatch):
    monkeypatch.setattr(events, "KEPT", 2)
    made = Events(database, lambda: 1000.0)
    made._ring = type(made._ring)(maxlen=2)
    for number in (1, 2, 3, 4):
        job = Job(number=number, uid=0, gid=0, command="true", workdir="/", submitted=1000.0 + number / 1e6)
        database.write(jobs.insert(job, "queued")).result()
        made.changed(live(number))
    found = asyncio.run(first(made, 4, since=int(1000e6)))
    assert [event.job for event in found] == [1, 2, 3, 4]
