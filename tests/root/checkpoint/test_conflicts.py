"""Changes underneath are found for each path, and only there."""

import dataclasses
import importlib
import os
import time

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import OnConflict, State

from cbx_sandbox.checkpoint import conflicts
from cbx_sandbox.checkpoint import session as session_module

pytestmark = pytest.mark.root

SETUP = "mkdir -p d/sub e; echo a > a; echo b > b; echo x > d/x; echo y > d/sub/y; ln -s a link; echo z > e/z"

# name: (what the job does, what somebody else does meanwhile, the paths in conflict)
CASES = {
    "edited": ("echo job >> a", "echo live >> a", {b"a"}),
    "edited-time-restored": ("echo job >> a", 't=$(stat -c %y a); echo live >> a; touch -d "$t" a', {b"a"}),
    "edited-here-chmod-there": ("echo job >> a", "chmod 600 a", {b"a"}),
    "chmod-here-edited-there": ("chmod 600 a", "echo live >> a", {b"a"}),
    "replaced-by-rename": ("echo job >> a", "cp -p a t; mv t a", {b"a"}),
    "removed": ("echo job >> a", "rm a", {b"a"}),
    "removed-symlink": ("ln -sfn b link", "rm link", set()),  # what the job put there is new in either case
    "made-at-the-same-path": ("echo job > n", "echo live > n", {b"n"}),
    "directory-made": ("mkdir n; echo 1 > n/1", "mkdir n; echo 2 > n/2", {b"n"}),
    "deleted-edited": ("rm a", "echo live >> a", {b"a"}),
    "tree-deleted-file-added": ("rm -r d", "echo n > d/sub/n", {b"d/sub"}),
    "tree-deleted-file-edited": ("rm -r d", "echo n >> d/sub/y", {b"d/sub/y"}),
    "tree-replaced-file-edited": ("rm -r d; mkdir d", "echo n >> d/sub/y", {b"d/sub/y"}),
    "tree-to-file-mode-changed": ("rm -r d; echo f > d", "chmod 600 d/x", {b"d/x"}),
    "parent-removed": ("echo job >> d/x", "rm -r d", {b"d"}),
    "parent-replaced": ("echo job >> d/x", "cp -a d t; rm -r d; mv t d", {b"d/x"}),
    "parent-moved": ("echo job > d/n", "mv d gone", {b"d"}),
    "parent-now-symlink": ("echo job > d/n", "mv d gone; ln -s gone d", {b"d"}),
    "type-changed": ("echo job >> a", "rm a; mkdir a", {b"a"}),
    "moved-edited": ("mv a n", "echo live >> a", {b"a"}),
    "moved-removed": ("mv a n", "rm a", {b"n"}),
    "moved-directory-replaced": ("mv d n", "mv d t; mkdir d", {b"d"}),
    "moved-directory-inner-edited": ("mv d n; echo job >> n/x", "echo live >> d/x", {b"d/x"}),
    "moved-over": ("mv -T e/z b", "echo live >> b", {b"b"}),
    "link-in-deleted-tree": ("rm -r d", "ln d/x other", {b"d/x"}),
}


def prepare(box, job):
    box.shell(SETUP)
    return box.run(job)


@pytest.mark.parametrize("name", CASES)
def test_conflict(box, name):
    """A change underneath is a conflict: nothing is applied, the layer stays, and the live tree is as it was."""
    job, live, expected = CASES[name]
    session = prepare(box, job)
    box.shell(live)
    before = harness.manifest(box.live)
    result = checkpoint.commit(session)
    assert {conflict.path for conflict in result.conflicts} == expected
    if expected:
        assert result.state is State.CONFLICT
        assert harness.manifest(box.live) == before
        again = checkpoint.commit(session)
        assert {conflict.path for conflict in again.conflicts} == expected
        assert os.path.isdir(session.layers[0].root)


@pytest.mark.parametrize("name", CASES)
def test_control_no_change_no_conflict(box, name):
    """The same job commits where nobody interferes, also with changes elsewhere, before, and reads."""
    job, _, _ = CASES[name]
    box.shell(SETUP)
    box.shell("echo earlier >> a; echo earlier > d/sub/later; chmod 640 b")  # right before: the same tick of the clock
    session = box.run(job)
    box.shell("cat a b d/x d/sub/y >/dev/null; ls -lR >/dev/null; mkdir other-dir; echo o > other-dir/o; echo o > e/o")
    result = checkpoint.commit(session)
    assert (result.state, result.conflicts) == (State.COMMITTED, ())


@pytest.mark.parametrize("redirect", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_theirs_keeps_the_live_version(name, redirect):
    """With ``theirs``, what conflicts is left out, the rest is applied."""
    job, live, expected = CASES[name]
    with harness.box(harness.SCRATCH, redirect=redirect) as box:
        session = prepare(box, f"{job}; echo mine > elsewhere")
        box.shell(live)
        before = harness.manifest(box.live)
        result = checkpoint.commit(session, on_conflict=OnConflict.THEIRS)
        assert result.state is State.COMMITTED
        after = harness.manifest(box.live)
        assert after.pop(b"elsewhere")
        # A move whose inside is in conflict still moves; an edited original stays beside its moved copy.
        if expected and redirect and name not in {"moved-directory-inner-edited", "moved-edited"}:
            assert {path: value[:6] for path, value in after.items()} == {
                path: value[:6] for path, value in before.items()
            }


OURS = {
    "parent-replaced": ("d/x", "x\njob\n"),
    "edited": ("a", "a\njob\n"),
    "removed": ("a", "a\njob\n"),
    "made-at-the-same-path": ("n", "job\n"),
    "replaced-by-rename": ("a", "a\njob\n"),
    "type-changed": ("a", "a\njob\n"),
    "parent-removed": ("d/x", "x\njob\n"),
    "directory-made": ("n/1", "1\n"),
}


@pytest.mark.parametrize("name", OURS)
def test_ours_puts_the_jobs_version(box, name):
    """With ``ours``, the job's version stands."""
    job, live, _ = CASES[name]
    path, content = OURS[name]
    session = prepare(box, job)
    box.shell(live)
    result = checkpoint.commit(session, on_conflict=OnConflict.OURS)
    assert result.state is State.COMMITTED
    assert result.conflicts
    with open(f"{box.live}/{path}") as file:
        assert file.read() == content


def test_ours_deletes(box):
    """With ``ours``, a directory that the job removed goes, and what was put into it goes along."""
    session = prepare(box, "rm -r d")
    box.shell("echo n > d/new")
    assert checkpoint.commit(session, on_conflict=OnConflict.OURS).state is State.COMMITTED
    assert not os.path.exists(f"{box.live}/d")


def test_target_replaced(box):
    """If the directory itself was exchanged, nobody's version can be chosen: always a conflict."""
    session = prepare(box, "echo job >> a")
    box.shell(f"mv {box.live} {box.live}.away; cp -a {box.live}.away {box.live}", cwd="/")
    for how in OnConflict:
        result = checkpoint.commit(session, on_conflict=how)
        assert [conflict.reason for conflict in result.conflicts] == [conflicts.TARGET]
    # Control: back in its place, it is the same one.
    box.shell(f"rm -r {box.live}; mv {box.live}.away {box.live}", cwd="/")
    assert checkpoint.commit(session).state is State.COMMITTED


def test_clock_set_back(box):
    """After the clock was set, change times tell nothing: what existed is in conflict, what is new is not."""
    session = prepare(box, "echo job >> a; echo new > n")
    stepped = dataclasses.replace(session, clock_offset_ns=session.clock_offset_ns + 3_000_000_000)
    result = checkpoint.commit(stepped)
    assert {(c.path, c.reason) for c in result.conflicts} == {(b"a", conflicts.CLOCK)}
    # Another boot alone is no reason, an earlier hour is.
    rebooted = dataclasses.replace(stepped, boot_id="another")
    assert not conflicts.clock_was_set(rebooted)
    assert conflicts.clock_was_set(dataclasses.replace(rebooted, clocks=(time.time_ns() + 10**12,)))
    assert checkpoint.commit(rebooted).state is State.COMMITTED


def test_change_between_look_and_step(box, monkeypatch):
    """What changes after the check is found at the step itself; everything done so far is taken back."""
    session = prepare(box, "echo job > 0new; echo job >> a; rm -r d; chmod 600 e; mkdir zz; echo 1 > zz/1")
    changes = checkpoint.diff(session)
    monkeypatch.setattr(importlib.import_module("cbx_sandbox.checkpoint.resolve"), "check", lambda *_: [])
    for live in ("echo live > d/sub/n", "echo live >> a", "echo live > zz"):
        box.shell(live)
        before = harness.manifest(box.live)
        result = checkpoint.commit(session, changes)
        assert result.state is State.CONFLICT
        assert harness.manifest(box.live) == before
        box.shell("rm -f d/sub/n; rm -rf zz")
    # Control: the layer is whole after all that, and lands when it is forced.
    assert checkpoint.commit(session, on_conflict=OnConflict.OURS).state is State.CONFLICT
    monkeypatch.undo()
    assert checkpoint.commit(session, on_conflict=OnConflict.OURS).state is State.COMMITTED
    assert sorted(os.listdir(box.live)) == ["0new", "a", "b", "e", "link", "zz"]


@pytest.mark.parametrize("kind", ["ext4-root", "xfs", "btrfs", "tmpfs"])
def test_conflict_clock(mounted, kind):
    """No change before T0 counts as later, none after it is missed; and finding T0 does not wait."""
    where = mounted(kind)
    fd = os.open(where, os.O_RDONLY)
    victim, bystander = f"{where}/victim", f"{where}/bystander"
    missed = false = 0
    for attempt in range(200):
        for path in (victim, bystander):
            harness.write(path)
        with open(bystander, "a") as file:
            file.write("before")
        clock = session_module.change_clock(fd)
        match attempt % 3:
            case 0:
                harness.write(victim, "after")
            case 1:
                os.rename(victim, victim + "2")
                os.rename(victim + "2", victim)
            case 2:
                os.chmod(victim, 0o600)
        missed += os.stat(victim).st_ctime_ns < clock
        false += os.stat(bystander).st_ctime_ns >= clock
    os.close(fd)
    assert (missed, false) == (0, 0)
