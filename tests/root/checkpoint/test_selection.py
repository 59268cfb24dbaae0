"""A part of the changes is committed, the rest still waits; and what a commit would do is told without doing it."""

import os

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import OnConflict, Selection, State

from cbx_sandbox.errors import UsageError

pytestmark = pytest.mark.root

SETUP = "mkdir -p d/sub e; echo a > a; echo b > b; echo x > d/x; echo y > d/sub/y; ln a hard; echo m > m"
JOB = "echo job >> a; rm b; mkdir n; echo 1 > n/1; echo 2 > n/2; mv d moved; chmod 600 m; rm -r e; echo e > e"


def paths(box, *names):
    return tuple(os.fsencode(f"{box.live}/{name}") for name in names)


def names(changes):
    return {change.path for change in changes if not change.implied}


@pytest.mark.parametrize("first", ["a", "b", "n", "moved", "m", "e"])
def test_first_one_then_the_rest(first):
    """In the end the tree is what one commit of all makes it; in between it has what was selected, and that alone."""
    found = []
    for selected in ((), (first,)):
        with harness.box(harness.SCRATCH) as box:
            box.shell(SETUP)
            before = harness.manifest(box.live)
            session = box.run(JOB)
            whole = names(checkpoint.diff(session))
            if selected:
                result = checkpoint.commit(session, selection=Selection(only=paths(box, *selected)))
                assert result.state is State.HELD
                left = names(checkpoint.diff(session))
                assert left
                assert left == names(result.left)
                gone = {p for p in whole if p.split(b"/")[0] == os.fsencode(first)}
                assert left == whole - gone
                after = harness.manifest(box.live)
                changed = {p.split(b"/")[0] for p in before.keys() ^ after.keys()}
                changed |= {p.split(b"/")[0] for p in before.keys() & after.keys() if before[p][:6] != after[p][:6]}
                assert changed <= {os.fsencode(first), b"d", b"."} if first == "moved" else {os.fsencode(first), b"."}
            assert checkpoint.commit(session).state is State.COMMITTED
            found.append({path: value[:6] for path, value in harness.manifest(box.live).items()})
            assert not os.path.exists(session.layers[0].root)
    assert found[0] == found[1]


def test_without_leaves_it(box):
    """What is left out still waits; rolled back, it was never there."""
    box.shell(SETUP)
    session = box.run(JOB)
    result = checkpoint.commit(session, selection=Selection(without=paths(box, "a", "n")))
    assert (result.state, names(result.left)) == (State.HELD, {b"a", b"n", b"n/1", b"n/2"})
    checkpoint.discard(session)
    assert sorted(os.listdir(box.live)) == ["a", "e", "hard", "m", "moved"]
    assert os.stat(f"{box.live}/a").st_nlink == 2


def test_what_is_selected_brings_what_it_needs(box):
    """A file of a new directory brings the directory, if nothing else is in it."""
    session = box.run("mkdir -p p/q; echo 1 > p/q/1; echo 2 > other")
    result = checkpoint.commit(session, selection=Selection(only=paths(box, "p/q/1")))
    assert result.state is State.HELD
    assert sorted(os.listdir(box.live)) == ["p"]
    assert names(result.left) == {b"other"}


REFUSED = {
    "part of a new directory": ("mkdir n; echo 1 > n/1; echo 2 > n/2", Selection, ("n/1",)),
    "part of a moved directory": ("mv d n; echo 1 > n/x; echo 2 > n/sub/y", Selection, ("n/x",)),
    "nothing there": ("echo 1 > one", Selection, ("two",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_parted_is_refused(box, name):
    """And nothing is changed, in the live tree or in the layer."""
    job, how, selected = REFUSED[name]
    box.shell(SETUP)
    session = box.run(job)
    live, upper = harness.manifest(box.live), harness.manifest(session.layers[0].upper)
    with pytest.raises(UsageError):
        checkpoint.commit(session, selection=how(only=paths(box, *selected)))
    assert (harness.manifest(box.live), harness.manifest(session.layers[0].upper)) == (live, upper)


def test_a_conflict_elsewhere_does_not_matter(box):
    """Only what is selected is compared with the live tree."""
    box.shell(SETUP)
    session = box.run("echo job >> a; echo job >> b")
    box.shell("echo live >> b")
    assert checkpoint.commit(session, selection=Selection(only=paths(box, "a"))).state is State.HELD
    result = checkpoint.commit(session)
    assert (result.state, {c.path for c in result.conflicts}) == (State.CONFLICT, {b"b"})
    assert checkpoint.commit(session, on_conflict=OnConflict.OURS).state is State.COMMITTED


def test_a_second_job_in_what_was_committed_is_a_conflict(box):
    """What was taken out of the layer does not come back: somebody else's new file at that name stays."""
    box.shell(SETUP)
    session = box.run("rm b; echo job > n")
    assert checkpoint.commit(session, selection=Selection(only=paths(box, "b"))).state is State.HELD
    box.shell("echo live > b")
    assert checkpoint.commit(session).state is State.COMMITTED
    with open(f"{box.live}/b") as file:
        assert file.read() == "live\n"


@pytest.mark.parametrize("how", list(OnConflict))
def test_a_preview_changes_nothing_and_is_right(box, how):
    """Neither the live tree nor the layer; the commit then does what was told."""
    text = "".join(f"{number}\n" for number in range(20))
    for name in ("a", "b"):
        harness.write(f"{box.live}/{name}", text)
    session = box.run("sed -i s/^3$/JOB/ a; echo new > n")
    checkpoint.keep_bases(session, checkpoint.diff(session))
    box.shell("sed -i s/^18$/LIVE/ a")
    trees = [box.live, session.layers[0].upper]
    before = [harness.manifest(tree) for tree in trees]
    told = checkpoint.preview(session, on_conflict=how)
    assert [harness.manifest(tree) for tree in trees] == before
    assert {d.conflict.path for d in told.decisions} == {b"a"}
    assert (
        names(told.changes)
        == {
            OnConflict.ABORT: set(),
            OnConflict.OURS: {b"a", b"n"},
            OnConflict.MERGE: {b"a", b"n"},
            OnConflict.THEIRS: {b"n"},
        }[how]
    )
    result = checkpoint.commit(session, on_conflict=how)
    assert (result.state is State.COMMITTED) == (how is not OnConflict.ABORT)
    assert [d.choice for d in result.decisions] == [d.choice for d in told.decisions]


def test_a_preview_says_what_needs_a_permission(box):
    """As the commit would."""
    session = box.run("cp /bin/true s; chmod 4755 s")
    assert "privileges" in checkpoint.preview(session).refused
    assert checkpoint.preview(session, allow_privileged=True).refused == ""
