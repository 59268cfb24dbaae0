"""Levels that are saved one upon the other come to what the same commands come to natively."""

import functools
import os
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.crash.faults import STOPPED, Counter, in_child, stop
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State
from tests.root.checkpoint.test_sequences import OPERATIONS, SETUP, script

from cbx_sandbox.checkpoint import levels, trial
from cbx_sandbox.errors import CbxError

pytestmark = pytest.mark.root


@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "plain"])
@given(parts=st.lists(st.lists(OPERATIONS, min_size=1, max_size=5), min_size=2, max_size=4))
@example(parts=[[("move", "f", "n")], [("move", "n", "c/n")], [("append", "c/n")]])  # moved through all levels
@example(parts=[[("remove", "a")], [("mkdir", "a"), ("mkdir", "a/n")]])
@example(parts=[[("move", "a", "n")], [("write", "n/f"), ("write", "n/b/g")], [("remove", "n/b")]])
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sequence_over_levels(redirect, parts):
    """One commit of everything equals the native result of all parts, and nothing is left of the levels."""
    with harness.box(harness.SCRATCH, redirect=redirect) as box:
        box.shell(SETUP)
        native = f"{box.base}/native"
        harness.copy_bytes(box.live, native)
        before = harness.manifest(box.live)
        start = time.time_ns() - 20_000_000
        session = box.begin()
        for number, operations in enumerate(parts):
            if number:
                levels.save(session, number)
            box.inside(script(operations))
            box.shell(script(operations), cwd=native)
        assert harness.manifest(box.live) == before
        with trial.joined(session) as whole:
            seen = harness.listed(whole)
        assert levels.depth(session) == len(parts) - 1
        levels.join(session)
        assert harness.listed(session) == seen
        result = checkpoint.commit(session, allow_privileged=True)
        assert result.state in {State.COMMITTED, State.EMPTY}, result.conflicts
        wanted, got = harness.manifest(native, times_since=start), harness.manifest(box.live, times_since=start)
        if result.state is State.EMPTY:
            wanted, got = ({p: v[:7] for p, v in tree.items()} for tree in (wanted, got))
        assert got == wanted, [script(operations) for operations in parts]
        assert not os.listdir(f"{box.state}/layers")


def test_no_look_without_room_for_a_copy(mounted):
    """Where a copy would leave others without room, looking is refused with the numbers, and nothing is left of it."""
    with harness.box(mounted("tmpfs")) as box:
        session = box.begin()
        box.inside("head -c 250m /dev/zero > large")
        levels.save(session, 1)
        with pytest.raises(CbxError, match=r"bytes, .* are free"), trial.joined(session):
            raise AssertionError
        assert "trial" not in os.listdir(session.layers[0].root)
        levels.join(session)
        assert harness.listed(session) == [("A", b"large")]


FIRST = "mkdir d; echo 1 > d/one; echo 1 >> f; rm -r a/b; mv c moved"
SECOND = "echo 2 >> d/one; rm d/one a/f; mkdir a/b; echo n > a/b/n; chmod 700 moved; setfattr -n trusted.k -v v a"
OF_THE_RUN = {b"trusted.overlay.origin", b"trusted.overlay.uuid"}
THIRD = "rm -r d; echo 3 > d; rm l; mkdir l; mv moved/e e; ln e e2"


def stacked(box):
    box.shell(SETUP)
    session = box.begin()
    box.inside(FIRST)
    levels.save(session, 1)
    box.inside(SECOND)
    levels.save(session, 2)
    box.inside(THIRD)
    return session


def test_going_back_throws_away_what_came_later():
    """Twice is no error; what comes after is over the level that was gone back to."""
    with harness.box(harness.SCRATCH) as box, harness.box(harness.SCRATCH) as other:
        session = stacked(box)
        levels.back(session, 1)
        levels.back(session, 1)
        assert levels.depth(session) == 1
        box.inside(THIRD.replace("rm -r d", "rm -r d/"))
        levels.join(session)
        assert checkpoint.commit(session, allow_privileged=True).state is State.COMMITTED
        other.shell(SETUP)
        for line in (FIRST, THIRD):
            other.shell(line)
        assert {p: v[:6] for p, v in harness.manifest(box.live).items()} == {
            p: v[:6] for p, v in harness.manifest(other.live).items()
        }


@pytest.mark.parametrize("do", ["save", "back", "join"])
def test_an_interruption_is_finished_by_doing_it_again(do):
    """Stopped before each of its system calls in turn, and done again, it comes to the same."""
    orders = {
        "save": lambda session: levels.save(session, 3),
        "back": lambda session: levels.back(session, 1),
        "join": levels.join,
    }

    def contents(box):
        return {
            path: value[:6] + value[8:]
            for path, value in harness.manifest(box.session.layers[0].root).items()
            if b"work" not in path.split(b"/")
        }

    def without_handles(tree):
        return {
            path: (*value[:5], tuple(pair for pair in value[5] if pair[0] not in OF_THE_RUN), *value[6:])
            for path, value in tree.items()
        }

    with harness.box(harness.SCRATCH) as box:
        orders[do](stacked(box))
        wanted = without_handles(contents(box))
    stopped = 0
    for point in range(1, 400, 5):
        with harness.box(harness.SCRATCH) as box:
            session = stacked(box)
            status, said = in_child(functools.partial(orders[do], session), Counter(point, stop))
            assert status in {STOPPED, 0}, said
            orders[do](session)
            assert without_handles(contents(box)) == wanted, point
            levels.ready(session)
            if status != STOPPED:
                break
            stopped += 1
    assert stopped > 1
    assert status != STOPPED


def test_a_layer_that_is_not_whole_is_refused():
    """A level that somebody removed is no reason to go on without it."""
    with harness.box(harness.SCRATCH) as box:
        session = stacked(box)
        harness.remove(f"{session.layers[0].root}/saved/1")
        with pytest.raises(CbxError, match="not whole"):
            levels.ready(session)
