"""A part of the changes is committed, the rest still waits; and what a commit would do is told without doing it."""

import contextlib
import errno
import functools
import os

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import OnConflict, Selection, State

from cbx_sandbox.checkpoint import journal, leftovers, parting, transaction
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.recover import Recovered, recover
from cbx_sandbox.checkpoint.undo import custody, redo, undo
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


@pytest.mark.parametrize("first", ["a", "b", "n", "moved", "m", "e"])
def test_a_part_is_undone(mounted, first):
    """What was committed of it is a checkpoint of its own: undone and done again beside the rest, and after it."""
    with harness.box(mounted("xfs")) as box:
        box.shell(SETUP)
        trees = [tree(box)]
        session = box.run(JOB)
        result = checkpoint.commit(
            session, selection=Selection(only=paths(box, first)), keep=True, apart=Apart(900, b"")
        )
        assert (result.state, result.parted.checkpoint) == (State.HELD, 900)
        trees.append(tree(box))
        held = names(checkpoint.diff(session))
        for turn, wanted in ((undo, 0), (redo, 1)):
            turn(result.parted)
            assert tree(box) == trees[wanted]
            assert names(checkpoint.diff(session)) == held
        assert checkpoint.commit(session, keep=True).state is State.COMMITTED
        trees.append(tree(box))
        undo(session)
        assert tree(box) == trees[1]
        undo(result.parted, custody([session]))
        assert tree(box) == trees[0]
        checkpoint.discard(result.parted)
        assert not os.path.exists(os.path.dirname(result.parted.layers[0].root))


def tree(box):
    """The tree without the numbers of names: the stage keeps one of what was replaced, too."""
    return {path: (*value[:6], value[7]) for path, value in harness.manifest(box.live).items()}


@pytest.mark.parametrize("at", ["make", "rename", "the journal"])
def test_interrupted_between_the_commit_and_its_own_checkpoint(box, monkeypatch, at):
    """A recovery finds the part committed and the rest held; only the undo of the part is lost."""
    box.shell(SETUP)
    session = box.run(JOB)
    held = names(checkpoint.diff(session)) - {b"a"}

    def stop(*_arguments):
        raise KeyboardInterrupt

    renamed = os.rename
    before_journal = lambda old, new: stop() if old.endswith("/journal") else renamed(old, new)  # noqa: E731
    if at == "make":
        monkeypatch.setattr(leftovers, "make", stop)
    else:
        monkeypatch.setattr("os.rename", before_journal if at == "the journal" else stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.commit(session, selection=Selection(only=paths(box, "a")), keep=True, apart=Apart(901, b""))
    monkeypatch.undo()
    assert recover(session, keep=True) is Recovered.PARTLY
    with open(f"{box.live}/a") as file:
        assert file.read() == "a\njob\n"
    assert names(checkpoint.diff(session)) == held
    assert not os.path.exists(f"{session.layers[0].upper}/a")
    assert checkpoint.commit(session).state is State.COMMITTED


@pytest.mark.parametrize("apart", [None, Apart(77, b"own")], ids=["alone", "apart"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("at", ["before the end", "at the end", "before the layers are cleared"])
def test_interrupted_before_the_layers_are_cleared(box, at, again, apart):
    """The rest is then what was not selected, with no word of what was: also where the recovery is interrupted, too."""
    box.shell("echo a > a; echo b > b; echo c > c; mkdir d; echo x > d/x; echo m > m")
    session = box.run("rm a; chmod 600 b; echo 2 > c; rm -r d; mv m n")
    selection = Selection(only=tuple(paths(box, "a", "b", "d", "m", "n")))
    commit = functools.partial(checkpoint.commit, session, keep=True, selection=selection, apart=apart)
    assert stopped(commit, at)
    if again:
        stopped(functools.partial(recover, session, keep=True), "before the layers are cleared")
    recover(session, keep=True)
    if apart is not None and (found := parting.find(session, apart.number)) is not None:
        parting.clear(session, found[1])  # as the supervisor does that writes it down
    assert names(checkpoint.diff(session)) == {b"c"}
    box.shell("echo new > a; echo new > m")
    result = checkpoint.commit(session, keep=True)
    assert (result.state, result.conflicts) == (State.COMMITTED, ())
    with open(f"{box.live}/c") as file:
        assert file.read() == "2\n"


def stopped(work, at):
    """Whether the process that does ``work`` was ended there."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            if at == "before the end":
                transaction.sync = transaction.sync_all = lambda *_: os._exit(9)
            elif at == "at the end":
                append = journal.Journal.append
                journal.Journal.append = lambda log, kind, *rest: (
                    append(log, kind, *rest),
                    kind is journal.Entry.DONE and os._exit(9),
                )
            else:
                parting.clear = lambda *_: os._exit(9)
            work()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_without_room_for_its_own_checkpoint_it_is_committed(box, monkeypatch):
    """It cannot be undone then."""

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "no room")

    box.shell(SETUP)
    session = box.run(JOB)
    monkeypatch.setattr(leftovers, "make", full)
    result = checkpoint.commit(session, selection=Selection(only=paths(box, "a")), keep=True, apart=Apart(902, b""))
    assert (result.state, result.parted) == (State.HELD, None)
    assert checkpoint.commit(session).state is State.COMMITTED


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


@pytest.mark.parametrize("given", ["resolve", "in_place"])
def test_a_path_at_which_nothing_changes(box, given):
    """Who names one has meant another: nothing is done, as a commit or to look at it; the control is the right name."""
    box.shell(SETUP)
    session = box.run("echo job >> a; rm -r d")
    box.shell("echo live >> a; echo live >> d/new")

    def committed(*names, do=checkpoint.commit):
        rules = [(path, OnConflict.THEIRS) for path in paths(box, *names)]
        return do(session, paths=rules) if given == "resolve" else do(session, in_place=paths(box, *names))

    for do in (checkpoint.commit, checkpoint.preview)[: 2 if given == "resolve" else 1]:
        with pytest.raises(UsageError, match="changes nothing there"):
            committed("a", "aa", do=do)
    # What is beneath a directory that goes as a whole may be decided on.
    result = committed("a", "d/new") if given == "resolve" else committed("a")
    assert (result.state, {c.path for c in result.conflicts}) == (State.CONFLICT, {b"a", b"d"})


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
