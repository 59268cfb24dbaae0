"""Conflicts that somebody decides: for all, for one path, by a merge; and what tells that there is one."""

import os

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import OnConflict, State

from cbx_sandbox.checkpoint import conflicts, merging
from cbx_sandbox.checkpoint.conflicts import Proof

pytestmark = pytest.mark.root

TEXT = "".join(f"line {number}\n" for number in range(1, 21))


def read(box, name):
    with open(f"{box.live}/{name}") as file:
        return file.read()


def held(box, job, setup=None):
    """A job that has run and is held: what its files were is kept."""
    for name in ("a", "b"):
        harness.write(f"{box.live}/{name}", TEXT)
        if not box.who.is_root:
            os.chown(f"{box.live}/{name}", box.who.uid, box.who.gid)
    if setup:
        box.shell(setup)
    session = box.run(job)
    checkpoint.keep_bases(session, checkpoint.diff(session))
    return session


def absolute(box, name):
    return os.fsencode(f"{box.live}/{name}")


def test_each_path_has_its_own_answer(box):
    """Ours here, theirs there, and all else lands; without an answer for one of them nothing does."""
    session = held(box, "echo job > a; echo job > b; echo job > n")
    box.shell("echo live > a; echo live > b")
    rules = [(absolute(box, "a"), OnConflict.OURS)]
    assert checkpoint.commit(session, paths=rules).state is State.CONFLICT
    assert (read(box, "a"), read(box, "b")) == ("live\n", "live\n")
    result = checkpoint.commit(session, paths=[*rules, (absolute(box, "b"), OnConflict.THEIRS)])
    assert result.state is State.COMMITTED
    assert (read(box, "a"), read(box, "b"), read(box, "n")) == ("job\n", "live\n", "job\n")
    assert {(d.conflict.path, d.choice) for d in result.decisions} == {
        (b"a", OnConflict.OURS),
        (b"b", OnConflict.THEIRS),
    }


def test_the_longest_path_wins(box):
    """A directory's answer holds for what is beneath it, but for what has its own."""
    box.shell("mkdir d; echo x > d/x; echo y > d/y")
    session = held(box, "echo job > d/x; echo job > d/y; echo job > a")
    box.shell("echo live > d/x; echo live > d/y; echo live > a")
    rules = [(absolute(box, "d"), OnConflict.THEIRS), (absolute(box, "d/y"), OnConflict.OURS)]
    result = checkpoint.commit(session, on_conflict=OnConflict.OURS, paths=rules)
    assert result.state is State.COMMITTED
    assert (read(box, "d/x"), read(box, "d/y"), read(box, "a")) == ("live\n", "job\n", "job\n")


@pytest.mark.parametrize("live", ["sed -i s/^line.18$/LIVE/ a", "sed s/^line.18$/LIVE/ a > t; cat t > a; rm t"])
@pytest.mark.parametrize("who", [harness.ROOT, harness.USER])
def test_a_merge_of_different_lines(who, live):
    """In place or by rename: both changes are in the file."""
    with harness.box(harness.SCRATCH, who=who) as box:
        session = held(box, "sed s/^line.3$/JOB/ a > t; cat t > a; rm t")
        box.shell(live)
        os.chown(f"{box.live}/a", who.uid, who.gid)
        assert checkpoint.commit(session).state is State.CONFLICT
        result = checkpoint.commit(session, on_conflict=OnConflict.MERGE)
        assert result.state is State.COMMITTED, result
        assert read(box, "a") == TEXT.replace("line 3\n", "JOB\n").replace("line 18\n", "LIVE\n")
        assert os.stat(f"{box.live}/a").st_uid == who.uid
        assert not [name for name in os.listxattr(f"{box.live}/a") if "overlay" in name]


def test_a_merge_of_the_same_lines_is_none(box):
    """It says so, nothing is changed, and the layer still has the job's own version."""
    session = held(box, "sed -i s/^line.3$/JOB/ a; sed -i s/^line.3$/JOB/ b")
    box.shell("sed -i s/^line.3$/LIVE/ a; sed -i s/^line.18$/LIVE/ b")
    before = harness.manifest(box.live)
    result = checkpoint.commit(session, on_conflict=OnConflict.MERGE)
    assert result.state is State.CONFLICT
    assert {d.conflict.path: d.why for d in result.decisions} == {b"a": "both changed the same lines", b"b": ""}
    assert harness.manifest(box.live) == before
    rules = [(absolute(box, "a"), OnConflict.OURS)]
    assert checkpoint.commit(session, on_conflict=OnConflict.MERGE, paths=rules).state is State.COMMITTED
    assert read(box, "a") == TEXT.replace("line 3\n", "JOB\n")
    assert read(box, "b") == TEXT.replace("line 3\n", "JOB\n").replace("line 18\n", "LIVE\n")


def test_a_refused_commit_takes_the_merge_back(box):
    """The layer has the job's own version afterwards, not a merge with what was there that day."""
    session = held(box, "sed -i s/^line.3$/JOB/ a; cp /bin/true s; chmod 4755 s")
    box.shell("sed -i s/^line.18$/LIVE/ a")
    upper = harness.manifest(session.layers[0].upper)
    with pytest.raises(checkpoint.DeniedError):
        checkpoint.commit(session, on_conflict=OnConflict.MERGE)
    assert harness.manifest(session.layers[0].upper) == upper
    result = checkpoint.commit(session, on_conflict=OnConflict.MERGE, allow_privileged=True)
    assert result.state is State.COMMITTED
    assert "LIVE" in read(box, "a")


def test_modes_are_merged_too(box):
    """Of each property, that of who changed it."""
    session = held(box, "sed -i s/^line.3$/JOB/ a; sed -i s/^line.3$/JOB/ b; chmod 600 b")
    box.shell("sed -i s/^line.18$/LIVE/ a b; chmod 640 a")
    assert checkpoint.commit(session, on_conflict=OnConflict.MERGE).state is State.COMMITTED
    assert [os.stat(f"{box.live}/{name}").st_mode & 0o777 for name in ("a", "b")] == [0o640, 0o600]


NOT_MERGED = {
    "binary": ("printf 'a\\0b' > c", "printf 'a\\0c' > c", "printf 'b\\0b' > c"),
    "large": ("yes | head -c 2000000 > c", "echo job >> c", "echo live >> c"),
    "new": ("true", "echo job > c", "echo live > c"),
    "removed": ("echo c > c", "rm c", "echo live >> c"),
    "moved": ("echo c > c", "mv c d; echo job >> d", "echo live >> c"),
}


@pytest.mark.parametrize("name", NOT_MERGED)
def test_what_cannot_be_merged_is_a_conflict(box, name):
    """With the reason; nothing is changed."""
    setup, job, live = NOT_MERGED[name]
    session = held(box, job, setup)
    box.shell(live)
    before = harness.manifest(box.live)
    result = checkpoint.commit(session, on_conflict=OnConflict.MERGE)
    assert result.state is State.CONFLICT
    assert all(decision.why for decision in result.decisions if decision.choice is OnConflict.ABORT)
    assert harness.manifest(box.live) == before


def test_what_changed_while_the_job_ran_has_no_base(box):
    """The lower side is the live tree: what the job saw is gone, and a guess at it would be a wrong merge."""
    harness.write(f"{box.live}/a", TEXT)
    session = box.begin()
    box.inside("sed -i s/^line.3$/JOB/ a")
    box.shell("sed s/^line.18$/LIVE/ a > t; cat t > a; rm t")
    checkpoint.keep_bases(session, checkpoint.diff(session))
    result = checkpoint.commit(session, on_conflict=OnConflict.MERGE)
    assert result.state is State.CONFLICT
    assert "was not kept" in result.decisions[0].why


def test_a_base_is_not_read_with_rights_that_the_submitter_lacks(user_box):
    """His job may replace what he cannot read; its old text is then not kept for him."""
    for name in ("secret", "open"):
        harness.write(f"{user_box.live}/{name}", TEXT)
        os.chmod(f"{user_box.live}/{name}", 0o600 if name == "secret" else 0o644)
    session = user_box.run("for f in secret open; do rm -f $f; echo job > $f; done")
    assert checkpoint.keep_bases(session, checkpoint.diff(session)) == 1


@pytest.mark.parametrize("who", [harness.ROOT, harness.USER])
def test_a_merge_runs_as_the_submitter(who, tmp_path, monkeypatch):
    """What stands in for git here writes who it is: that is the merged text."""
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nid -u; id -G\n")
    git.chmod(0o755)
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    monkeypatch.setattr(merging, "_PATH", f"{tmp_path}:/usr/bin:/bin")
    with harness.box(harness.SCRATCH, who=who) as box:
        session = held(box, "sed s/^line.3$/JOB/ a > t; cat t > a; rm t")
        box.shell("sed s/^line.18$/LIVE/ a > t; cat t > a; rm t")
        assert checkpoint.commit(session, on_conflict=OnConflict.MERGE).state is State.COMMITTED
        assert read(box, "a") == f"{who.uid}\n{' '.join(map(str, (who.gid, *who.groups)))}\n"


PROOFS = {
    "in place": ("echo live >> a", conflicts.CHANGED, Proof.CHANGE_TIME),
    "time restored": ('t=$(stat -c %y a); echo live >> a; touch -d "$t" a', conflicts.CHANGED, Proof.CHANGE_TIME),
    "by rename": ("cp a t; mv t a", conflicts.REPLACED, Proof.HANDLE),
    "removed": ("rm a", conflicts.GONE, Proof.PRESENCE),
}


@pytest.mark.parametrize("name", PROOFS)
def test_what_tells(box, name):
    """Each conflict says what proved it, and when that was where a time tells."""
    live, reason, proof = PROOFS[name]
    session = held(box, "echo job >> a")
    box.shell(live)
    (conflict,) = checkpoint.commit(session).conflicts
    assert (conflict.reason, conflict.proof) == (reason, proof) or proof is Proof.HANDLE
    if proof is Proof.CHANGE_TIME:
        assert conflict.at_ns == os.stat(f"{box.live}/a").st_ctime_ns >= session.clocks[0]
