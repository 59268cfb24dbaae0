"""Known cases that no other test has: two jobs over one tree, full disks, parts of file systems."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from tests.crash.faults import Counter, in_child
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State

from cbx_sandbox.checkpoint.recover import recover
from cbx_sandbox.checkpoint.undo import redo, undo
from cbx_sandbox.errors import CbxError

pytestmark = pytest.mark.root
WHOLE = bool(os.environ.get("CBX_CRASH"))


def test_both_removed_the_same(box):
    """What the job removed and somebody else, too, is gone: no conflict, and nothing is left to do."""
    box.shell("echo a > a; mkdir d; echo x > d/x; ln -s a l")
    session = box.run("rm a l; rm -r d")
    box.shell("rm a l; rm -r d")
    assert checkpoint.commit(session).state is State.EMPTY
    assert os.listdir(box.live) == []


def test_both_made_the_same(box):
    """The same content twice is a conflict as any other where the times differ: theirs or ours decides."""
    box.shell("echo a > a")
    session = box.run("echo b > a; echo n > n; touch -d @1000000000 a n")
    box.shell("echo b > a; echo n > n; touch -d @1000000001 a n")
    result = checkpoint.commit(session)
    assert (result.state, {conflict.path for conflict in result.conflicts}) == (State.CONFLICT, {b"a", b"n"})


def test_both_made_the_same_at_the_same_time(box):
    """What is there already, with its times, is no conflict: nothing is left to do."""
    box.shell("echo a > a")
    made = "echo b > a; echo n > n; touch -d @1000000000 a n"
    session = box.run(made)
    box.shell(made)
    assert checkpoint.commit(session).state is State.EMPTY


def test_jobs_that_share_no_path(box):
    """Begun at once over one tree, both land; the third, which changed what the first did, is a conflict."""
    box.shell("echo a > a; echo b > b")
    sessions = [box.run("echo 1 >> a; echo 1 > one"), box.run("echo 2 >> b; echo 2 > two"), box.run("echo 3 >> a")]
    assert [checkpoint.commit(session).state for session in sessions] == [
        State.COMMITTED, State.COMMITTED, State.CONFLICT,
    ]  # fmt: skip
    assert {name: Path(box.live, name).read_text() for name in os.listdir(box.live)} == {
        "a": "a\n1\n", "b": "b\n2\n", "one": "1\n", "two": "2\n",
    }  # fmt: skip
    checkpoint.discard(sessions[2])


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_an_undo_on_a_full_disk(mounted, kind):
    """What was replaced is there already: an undo needs no space but for its record, or is refused whole."""
    with harness.box(mounted(kind)) as box:
        box.shell("mkdir d; for i in $(seq 50); do echo $i > d/$i; done; head -c 4M /dev/urandom > large")
        before = harness.manifest(box.live)
        session = box.run("for i in $(seq 50); do echo n > d/$i; done; head -c 4M /dev/urandom > large; rm d/7")
        checkpoint.commit(session, keep=True)
        after = harness.manifest(box.live)
        ballast = f"{box.base}/ballast"
        with contextlib.suppress(OSError), open(ballast, "wb") as file:
            for size in (16 << 20, 1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"b" * size)
                        file.flush()
                        os.fsync(file.fileno())
        try:
            for turn, wanted, other in ((undo, before, after), (redo, after, before)):
                try:
                    turn(session)
                    assert harness.manifest(box.live) == wanted
                except (CbxError, OSError):
                    assert harness.manifest(box.live) == other
                    break
        finally:
            os.unlink(ballast)
        if harness.manifest(box.live) == after:
            undo(session)
        assert harness.manifest(box.live) == before


def test_a_subvolume_in_the_tree(mounted):
    """Nothing can be renamed into a part of btrfs from another: it is refused whole, and the layer stays."""
    with harness.box(mounted("btrfs")) as box:
        inner = f"{box.live}/inner"
        subprocess.run(["btrfs", "-q", "subvolume", "create", inner], check=True)
        try:
            box.shell("echo a > a; echo b > inner/b")
            before = harness.manifest(box.live)
            session = box.run("echo n > n; echo 1 >> a; echo 1 >> inner/b")
            with pytest.raises(CbxError):
                checkpoint.commit(session)
            assert harness.manifest(box.live) == before
            assert harness.listed(session) == [("M", b"a"), ("A", b"n"), ("M", b"inner/b")]
            checkpoint.discard(session)
        finally:
            subprocess.run(["btrfs", "-q", "subvolume", "delete", inner], check=True)


def test_copied_up_by_many_at_once(box):
    """Eight processes that append to one file, and to one of two names of another, lose no line in its copying up."""
    box.shell("yes line | head -n 200000 > large; echo 0 > one; ln one two; touch -d 2001-02-03 large one")
    each = "for j in $(seq 50); do echo $i.$j >> large; echo $i.$j >> one; done"
    lines = f"for i in 1 2 3 4 5 6 7 8; do ({each}) & done; wait"
    session = box.run(lines)
    assert checkpoint.commit(session).state is State.COMMITTED
    written = sorted(f"{i}.{j}" for i in range(1, 9) for j in range(1, 51))
    for name, before in (("large", ["line"] * 200000), ("one", ["0"])):
        found = Path(box.live, name).read_text().splitlines()
        assert found[: len(before)] == before
        assert sorted(found[len(before) :]) == written


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_read_only_in_the_middle(mounted, kind):
    """Made read-only at any change of a commit: it is pending, and whole when the file system can be written again."""
    where = mounted(kind)
    found = {}
    with harness.box(mounted("tmpfs")) as elsewhere:
        count = 1
        for at in (0, *range(1, 200)):
            if at > 3 and at % max(1, count // (200 if WHOLE else 5)):
                continue
            if at > count:
                break
            with harness.box(where, state=elsewhere.state) as box:
                box.shell("echo a > a; echo b > b; mkdir d; echo x > d/x; echo l > l")
                before = harness.manifest(box.live)
                session = box.run("echo n >> a; rm b; mv d e; echo n > e/n; echo more >> l; mkdir k; echo 1 > k/1")
                counter = Counter(at, lambda where=where: remount(where, "ro"))
                _, said = in_child(
                    lambda box=box, session=session: (
                        checkpoint.commit(session, keep=True, in_place=[os.fsencode(f"{box.live}/l")]).state.value
                    ),
                    counter,
                )
                remount(where, "rw")
                assert recover(session, keep=True) is not None
                now = harness.manifest(box.live)
                if at == 0:
                    count, after = int(said.split()[0]), names(now)
                found[at] = "old" if now == before else "new" if names(now) == after else f"torn: {sorted(now)}: {said}"
                if found[at] == "old":
                    assert "committed" not in said
                    result = checkpoint.commit(session, on_conflict=checkpoint.OnConflict.OURS)
                    assert result.state is State.COMMITTED
                    assert names(harness.manifest(box.live)) == after
                else:
                    checkpoint.discard(session)
    assert set(found.values()) == {"old", "new"}, found


def names(tree):
    """What is where, without times."""
    return {path: value[:6] for path, value in tree.items()}


def remount(where, how):
    subprocess.run(["mount", "-o", f"remount,{how}", where], check=True)


def test_a_quota_on_what_is_copied_to(own_mounts):
    """Without room by quota a commit that copies changes nothing; with room it goes on."""
    with harness.image("btrfs") as where, harness.image("tmpfs") as elsewhere:
        subprocess.run(["btrfs", "-q", "subvolume", "create", f"{where}/limited"], check=True)
        subprocess.run(["btrfs", "-q", "quota", "enable", where], check=True)
        subprocess.run(["btrfs", "-q", "quota", "rescan", "-w", where], check=True)
        with harness.box(f"{where}/limited", state=f"{elsewhere}/state") as box:
            box.shell("echo a > a; echo b > b")
            session = box.run("echo n >> a; rm b; head -c 16M /dev/urandom > large")
            before, ours = harness.manifest(box.live), checkpoint.OnConflict.OURS  # files were made just now
            subprocess.run(["btrfs", "-q", "qgroup", "limit", "8M", f"{where}/limited"], check=True)
            with pytest.raises((CbxError, OSError)) as refused:
                checkpoint.commit(session, on_conflict=ours)
            assert "quota" in str(refused.value).lower()
            assert harness.manifest(box.live) == before
            subprocess.run(["btrfs", "-q", "qgroup", "limit", "none", f"{where}/limited"], check=True)
            assert checkpoint.commit(session, on_conflict=ours).state is State.COMMITTED
            assert sorted(os.listdir(box.live)) == ["a", "large"]
