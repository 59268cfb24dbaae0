"""Files that keep their inode: written in place where somebody goes on with it, appended to, or as asked for."""

import contextlib
import mmap
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State

from cbx_sandbox.checkpoint import homes, inplace, rewriting, transaction
from cbx_sandbox.checkpoint.recover import Recovered, recover
from cbx_sandbox.checkpoint.undo import redo, undo
from cbx_sandbox.errors import CbxError, ConflictError, DeniedError
from cbx_sandbox.linux import contents

pytestmark = pytest.mark.root
KINDS = ["ext4-root", "xfs", "btrfs", "tmpfs"]


def inodes(box, *names):
    return [os.stat(f"{box.live}/{name}").st_ino for name in names]


def in_place(box, *names):
    return [os.fsencode(f"{box.live}/{name}") for name in names]


def back_and_forth(box, session, before, after, names, since=None):
    """Undone, done again and undone: the trees are whole, and the inodes the same throughout."""
    kept = inodes(box, *names)
    for turn, wanted in ((undo, before), (redo, after), (undo, before)):
        turn(session)
        assert harness.manifest(box.live, times_since=since) == wanted
        assert inodes(box, *names) == kept


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_process_writes_to_is_written_in_place(mounted, kind):
    """A process that has a log open for writing goes on in the same file, and the result says so."""
    with harness.box(mounted(kind)) as box:
        box.shell("echo 1 > log; echo 1 > other; echo 1 > replaced")
        before, kept = harness.manifest(box.live), inodes(box, "log", "replaced")
        with open(f"{box.live}/log", "a") as log, open(f"{box.live}/replaced", "a"):
            session = box.run("echo 2 >> log; echo 2 >> other; echo 2 > new; mv new replaced")
            assert inplace.expected(session, checkpoint.diff(session))
            result = checkpoint.commit(session, keep=True)
            assert result.state is State.COMMITTED
            assert result.notes == ("log was written in place: another process has it open for writing",)
            after = harness.manifest(box.live)
            # What the job has put in the place of a file is another file, as it is natively.
            assert [a == b for a, b in zip(inodes(box, "log", "replaced"), kept, strict=True)] == [True, False]
            back_and_forth(box, session, before, after, ["log"])
            redo(session)
            log.write("3\n")
        assert Path(box.live, "log").read_text() == "1\n2\n3\n"
        with pytest.raises(ConflictError):
            undo(session)


def test_capabilities_that_were_given_again(box):
    """Writing takes a program its capabilities; the job has given them again, and the live file has them at the end."""
    box.shell("cp /bin/true t; setcap cap_net_raw+ep t; cp -a t u; setcap cap_kill+ep u")
    before = harness.manifest(box.live)
    session = box.run("echo x >> t; setcap cap_net_raw+ep t; echo x >> u")
    checkpoint.commit(session, keep=True, allow_privileged=True, in_place=in_place(box, "t", "u"))
    assert "security.capability" in os.listxattr(f"{box.live}/t")
    assert os.listxattr(f"{box.live}/u") == []
    back_and_forth(box, session, before, harness.manifest(box.live), ["t", "u"])


def test_control_readers_are_no_reason(box):
    """Who only reads sees the whole old contents, and whoever opens it again the new ones: it is exchanged."""
    box.shell("echo 1 > log")
    kept = inodes(box, "log")
    with open(f"{box.live}/log") as log:
        session = box.run("echo 2 >> log")
        assert not inplace.expected(session, checkpoint.diff(session))
        assert checkpoint.commit(session).notes == ()
        assert inodes(box, "log") != kept
        assert log.read() == "1\n"


def test_what_a_loop_device_lies_on(box):
    """A disk in a file goes on showing what is in the file."""
    box.shell("truncate -s 1M disk")
    device = subprocess.run(
        ["losetup", "--find", "--show", f"{box.live}/disk"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    try:
        session = box.run("printf job | dd of=disk bs=1 seek=4096 conv=notrunc status=none")
        [note] = checkpoint.commit(session).notes
        assert note.startswith("disk was written in place")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert Path(box.live, "disk").read_bytes()[4096:4100] == b"job\0"


def test_what_is_mounted_elsewhere(box, own_mounts):
    """A mount of the single file shows the new contents; without the mount the file is exchanged."""
    box.shell("echo 1 > conf; echo 1 > other; touch ../there")
    there = f"{box.base}/there"
    subprocess.run(["mount", "--bind", f"{box.live}/conf", there], check=True)
    try:
        kept = inodes(box, "conf", "other")
        session = box.run("echo 2 > conf; echo 2 > other")
        assert checkpoint.commit(session).notes == (
            "conf was written in place: it is mounted as a single file elsewhere",
        )
        assert Path(there).read_text() == "2\n"
        assert [a == b for a, b in zip(inodes(box, "conf", "other"), kept, strict=True)] == [True, False]
    finally:
        subprocess.run(["umount", there], check=True)


SETUP = r"""
mkdir d; echo 1 > d/a; head -c 3000000 /dev/urandom > d/large; echo h > d/h; ln d/h d/h2; echo m > d/m; chmod 400 d/m
truncate -s 4M d/holes; printf mid | dd of=d/holes bs=1 seek=2M conv=notrunc status=none; : > d/none; echo x > d/x
find . -exec touch -d '2001-02-03 04:05:06.789' {} +
"""
WORK = r"""
echo 2 >> d/a; printf job | dd of=d/large bs=1 seek=1500000 conv=notrunc status=none; truncate -s 2000000 d/large
echo more >> d/h; chmod u+w d/m; echo 2 > d/m; chmod 444 d/m; truncate -s 6M d/holes; yes | head -c 5000 > d/none
printf e | dd of=d/holes bs=1 seek=1M conv=notrunc status=none; : > d/x; setfattr -n user.k -v v d/x; echo n > d/n
"""
NAMES = ["d/a", "d/large", "d/h", "d/m", "d/holes", "d/none", "d/x"]


@pytest.mark.parametrize("who", [harness.ROOT, harness.USER], ids=["root", "user"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for(mounted, kind, who):
    """Contents of all shapes, metadata and names stay with the inode: as natively, undone, and done again."""
    with harness.box(mounted(kind), who=who) as box:
        box.shell(SETUP + ("" if who.is_root else f"chown -R {who.uid}:{who.gid} ."))
        before, kept = harness.manifest(box.live), inodes(box, *NAMES)
        native = f"{box.base}/native"
        harness.copy_bytes(box.live, native)
        session = box.begin()
        began = session.clocks[0]
        assert box.inside(WORK) == 0
        result = checkpoint.commit(session, keep=True, in_place=in_place(box, "d"))
        assert (result.state, result.notes) == (State.COMMITTED, ())
        alone = ["setpriv", "--reuid", str(who.uid), "--regid", str(who.gid), "--clear-groups", "sh", "-c", WORK]
        subprocess.run(alone, cwd=native, check=True)
        assert harness.manifest(box.live, times_since=began) == harness.manifest(native, times_since=began)
        assert inodes(box, *NAMES) == kept
        back_and_forth(box, session, before, harness.manifest(box.live), NAMES)


def test_names_outside_are_not_written(box):
    """A file with another name outside of what is locked cannot be written in place: nothing is changed."""
    box.shell("echo 1 > a; ln a ../outside; echo b > b")
    session = box.run("echo 2 >> a; echo 2 >> b")
    before = harness.manifest(box.live)
    with pytest.raises(DeniedError, match="it has other names outside"):
        checkpoint.commit(session, in_place=in_place(box, ""))
    assert harness.manifest(box.live) == before
    assert checkpoint.commit(session).state is State.COMMITTED
    assert Path(box.base, "outside").read_text() == "1\n"


def test_somebody_else_has_no_right_to_it(mounted):
    """What the submitter may not write live is refused, also in a directory of his own; a control may be written."""
    with harness.box(mounted("tmpfs")) as box:
        box.shell(f"echo 1 > a; echo 1 > b; chmod 666 a; chmod 644 b; chown {harness.USER.uid} .")
        before = harness.manifest(box.live)
        for name, allowed in (("b", False), ("a", True)):
            session = box.run(f"echo 2 >> {name}")
            with (
                contextlib.nullcontext() if allowed else pytest.raises(DeniedError, match="cannot commit b: Permission")
            ):
                checkpoint.commit(session, rights=harness.USER, in_place=in_place(box, ""))
            assert (harness.manifest(box.live) == before) is not allowed


@pytest.mark.parametrize("who", [harness.ROOT, harness.USER], ids=["root", "user"])
@pytest.mark.parametrize("kind", ["ext4-root", "xfs", "btrfs"])
def test_append_only(mounted, kind, who):
    """What was appended is appended; only who may lift the mark can take it back."""
    with harness.box(mounted(kind), who=who) as box:
        box.shell(f"echo 1 > log; echo a > a; chown -R {who.uid}:{who.gid} .; touch -d 2001-02-03 a log; chattr +a log")
        try:
            before, kept = harness.manifest(box.live), inodes(box, "log")
            session = box.run("for i in $(seq 3); do echo $i >> log; done; echo b > a")
            assert checkpoint.commit(session, keep=True).state is State.COMMITTED
            assert Path(box.live, "log").read_text() == "1\n1\n2\n3\n"
            assert inodes(box, "log") == kept
            # Its time is that of the writing, whoever does it.
            since = session.clocks[0]
            after = harness.manifest(box.live, times_since=since)
            assert after[b"log"][-1] == before[b"log"][-1] != 0
            if who.is_root:
                back_and_forth(box, session, before, after, ["log"], since)
                return
            with pytest.raises(DeniedError, match="cannot change log"):
                undo(session)
            assert harness.manifest(box.live, times_since=since) == after
        finally:
            box.shell("chattr -a log")


def test_append_only_and_changed_otherwise(mounted):
    """Refused with the name, and nothing is changed."""
    with harness.box(mounted("ext4")) as box:
        box.shell("echo 1 > log; echo a > a; chattr +a log")
        try:
            before = harness.manifest(box.live)
            session = box.run("chattr -a log; echo 2 > log; chattr +a log; echo b > a")
            with pytest.raises(CbxError, match="cannot commit log: it is append-only"):
                checkpoint.commit(session)
            assert harness.manifest(box.live) == before
        finally:
            box.shell("chattr -a log")


@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
def test_a_full_disk(mounted, full):
    """Without room for the old contents, or for more of the new ones, nothing is changed; with room it is."""
    with harness.box(mounted("ext4")) as box:
        box.shell("head -c 3M /dev/urandom > a; echo b > b")
        before = harness.manifest(box.live)
        session = box.run("head -c 4M /dev/urandom > a; echo c > b")
        ballast = f"{box.base}/ballast"
        if full:
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while True:
                    file.write(b"b" * 65536)
        if not full:
            assert checkpoint.commit(session, in_place=in_place(box, "")).state is State.COMMITTED
            return
        with pytest.raises((CbxError, OSError)):
            checkpoint.commit(session, in_place=in_place(box, ""))
        assert harness.manifest(box.live) == before
        os.unlink(ballast)
        assert checkpoint.commit(session, in_place=in_place(box, "")).state is State.COMMITTED


def test_two_file_systems(mounted, monkeypatch):
    """Where the layer lies elsewhere, the contents are copied, and written in place all the same."""
    monkeypatch.setattr(homes, "claimed", lambda *_: None)
    state = f"{mounted('tmpfs')}/state-of-in-place"
    with harness.box(mounted("xfs"), state=state) as box:
        box.shell("echo 1 > a; echo 1 > b")
        kept = inodes(box, "a", "b")
        session = box.run("echo 2 >> a; echo 2 > b; echo n > n")
        assert not session.layers[0].same_filesystem
        # The files were made less than two seconds ago: for all that such a target's clock can tell, since then.
        ours = checkpoint.OnConflict.OURS
        result = checkpoint.commit(session, keep=True, on_conflict=ours, in_place=in_place(box, ""))
        assert result.state is State.COMMITTED
        assert inodes(box, "a", "b") == kept
        assert [Path(box.live, name).read_text() for name in "abn"] == ["1\n2\n", "2\n", "n\n"]
    harness.remove(state)


def test_what_is_swapped_in_the_last_moment(box, monkeypatch):
    """Another file at the name when it is opened is a conflict with its path, and is not written to."""
    box.shell("mkdir d; echo 1 > d/a; echo b > b")
    session = box.run("echo 2 >> d/a; echo 2 >> b")
    real = rewriting.forward

    def swapping(*arguments, **options):
        box.shell("echo theirs > d/new; mv d/new d/a")
        monkeypatch.undo()
        real(*arguments, **options)

    monkeypatch.setattr(rewriting, "forward", swapping)
    result = checkpoint.commit(session, in_place=in_place(box, "d/a"))
    assert (result.state, [conflict.path for conflict in result.conflicts]) == (State.CONFLICT, [b"d/a"])
    assert [Path(box.live, name).read_text() for name in ("d/a", "b")] == ["theirs\n", "b\n"]


@pytest.fixture
def box_of():
    """A box of somebody's."""
    return lambda who: harness.box(harness.SCRATCH, who=who)


def in_a_child(function):
    """Call it in a process of its own, which ends there or within."""
    child = os.fork()
    if not child:
        try:
            function()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 9 << 8


@pytest.mark.parametrize("who", [harness.ROOT, harness.USER], ids=["root", "user"])
def test_an_undo_of_what_is_being_executed(mounted, who):
    """It is refused with the name and changes nothing; once that has ended it is undone."""
    with harness.box(mounted("ext4"), who=who) as box:
        owner = f"{who.uid}:{who.gid}"
        box.shell(f"cp /bin/sleep tool; echo a > a; chown 0:{who.gid} tool; chmod 775 tool; chown {owner} a .")
        before = harness.manifest(box.live)
        session = box.run("printf more >> tool; echo b > a")
        result = checkpoint.commit(session, keep=True, in_place=in_place(box, "tool"))
        assert result.state is State.COMMITTED
        after = harness.manifest(box.live)
        with subprocess.Popen([f"{box.live}/tool", "600"]) as running:
            try:
                for _ in range(2):
                    with pytest.raises(CbxError, match="cannot change tool: Text file busy"):
                        undo(session)
                    assert harness.manifest(box.live) == after
            finally:
                running.kill()
        undo(session)
        assert harness.manifest(box.live) == before


@pytest.mark.parametrize(
    "work", ["printf 9 | dd of=log conv=notrunc status=none", "echo 9 > log"], ids=["same", "less"]
)
@pytest.mark.parametrize("when", ["is_between", "overwrite"])
def test_what_is_appended_meanwhile_is_kept(box, monkeypatch, work, when):
    """Before the first byte it is a conflict; later it is told, and nothing of what others wrote is cut off."""
    box.shell("printf '1\n2\n3\n' > log; echo b > b")
    with open(f"{box.live}/log", "a") as log:
        session = box.run(work + "; echo c > b")
        real = getattr(contents, when)

        def late(*arguments):
            found = real(*arguments)
            monkeypatch.undo()
            log.write("theirs\n")
            log.flush()
            return found

        monkeypatch.setattr(contents, when, late)
        if when == "is_between":
            result = checkpoint.commit(session)
            assert (result.state, [conflict.path for conflict in result.conflicts]) == (State.CONFLICT, [b"log"])
        else:
            with pytest.raises(CbxError, match="cannot take back log: somebody else"):
                checkpoint.commit(session)
    wanted = "1\n2\n3\ntheirs\n" if when == "is_between" else "9\n2\n3\ntheirs\n"
    assert Path(box.live, "log").read_text() == wanted
    assert Path(box.live, "b").read_text() == "b\n"


def test_a_change_time_is_no_proof(mounted, monkeypatch):
    """After a power cut new contents may have an old change time: they are taken back all the same."""
    with harness.box(mounted("tmpfs")) as box:
        box.shell("echo old > a; echo b > b")
        with open(f"{box.live}/a", "r+b") as file, mmap.mmap(file.fileno(), 0) as page:
            page[:1] = b"o"  # writable from now on: what is written later is not seen by any clock
            session = box.run("echo new > a; echo c > b")
            changed = os.fstat(file.fileno()).st_ctime_ns
            monkeypatch.setattr(transaction, "forward", lambda *_: os._exit(9))
            in_a_child(lambda: checkpoint.commit(session))
            monkeypatch.undo()
            page[:3] = b"new"
            assert os.fstat(file.fileno()).st_ctime_ns == changed
            box.shell("echo theirs > n; mv n b")
            assert recover(session) is Recovered.TAKEN_BACK
        assert Path(box.live, "a").read_text() == "old\n"


MODES = {
    "group": (harness.USER, "4775", "echo evil > f", 0o775),
    "own": (harness.ROOT, "4775", "echo new > f; chmod 4775 f", 0o775),
    "secret": (harness.USER, "664", "chmod 600 f; echo SECRET > f", 0o600),
}


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("case", MODES)
def test_the_mode_while_it_is_written(box_of, monkeypatch, case, cut):
    """Nobody can read or run what is in the making who may not before and after; also after a power cut."""
    who, mode, work, least = MODES[case]
    with box_of(who) as box:
        path = f"{box.live}/f"
        owner = who.uid if case == "secret" else 0
        box.shell(f"echo public > f; chown {owner}:{who.gid} f; chmod {mode} f; chown {who.uid}:{who.gid} .")
        before = harness.manifest(box.live)
        session = box.run(work)
        real, seen = contents.overwrite, []

        def looking(*arguments):
            seen.append(stat.S_IMODE(os.stat(path).st_mode))
            real(*arguments)
            if cut:
                os._exit(9)

        monkeypatch.setattr(contents, "overwrite", looking)
        options = {"rights": who, "keep": True, "allow_privileged": who.is_root, "in_place": in_place(box, "f")}
        if cut:
            in_a_child(lambda: checkpoint.commit(session, **options))
            seen.append(stat.S_IMODE(os.stat(path).st_mode))
            monkeypatch.undo()
            assert recover(session, keep=True) is Recovered.COMMITTED
        else:
            assert checkpoint.commit(session, **options).state is State.COMMITTED
        after = harness.manifest(box.live)
        assert stat.S_IMODE(os.stat(path).st_mode) == (0o4775 if case == "own" else least)
        back_and_forth(box, session, before, after, ["f"])
        assert set(seen) == {least}


@pytest.mark.parametrize("turn", ["commit", "undo"])
def test_the_room_that_a_shorter_file_gives_up(mounted, monkeypatch, turn):
    """Others who fill the disk meanwhile do not keep what was shortened from getting its old contents again."""
    with harness.box(mounted("ext4")) as box:
        # An undo goes the other way, the last step first: so what it makes longer first becomes shorter.
        grown, shrunk = "b", "a"
        box.shell(f"head -c 3M /dev/urandom > {shrunk}; echo {grown} > {grown}")
        before = harness.manifest(box.live)
        session = box.run(f"head -c 1k /dev/urandom > {shrunk}; head -c 2M /dev/urandom > {grown}")
        options = {"keep": True, "in_place": in_place(box, "")}
        if turn == "undo":
            assert checkpoint.commit(session, **options).state is State.COMMITTED
        kept = harness.manifest(box.live)
        longer = shrunk if turn == "undo" else grown
        name, ballast = "back" if turn == "undo" else "forward", f"{box.base}/ballast"
        real = getattr(rewriting, name)

        def full(*arguments, **how):
            if os.stat(f"{box.live}/{arguments[3].decode()}").st_size < 2000:
                with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                    while True:
                        file.write(b"b" * 65536)
            return real(*arguments, **how)

        monkeypatch.setattr(rewriting, name, full)
        with pytest.raises(CbxError, match=f"cannot .* {longer}: No space left"):
            undo(session) if turn == "undo" else checkpoint.commit(session, **options)
        assert harness.manifest(box.live) == kept
        monkeypatch.undo()
        os.unlink(ballast)
        if turn == "commit":
            assert harness.manifest(box.live) == before
            ours = checkpoint.OnConflict.OURS  # both have changed, and back
            assert checkpoint.commit(session, on_conflict=ours, **options).state is State.COMMITTED
        undo(session)
        assert harness.manifest(box.live) == before


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "readers"])
def test_who_opens_it_while_the_locks_are_waited_for(box, alone):
    """Beside readers it is exchanged, so they see the old or the new contents; what was asked for is not."""
    box.shell("echo 1 > log; echo 1 > asked")
    kept = inodes(box, "log", "asked")
    session = box.run("echo 2 >> log; echo 2 >> asked")
    changes = checkpoint.diff(session)
    assert not inplace.expected(session, changes)
    with open(f"{box.live}/log", "a"):
        result = checkpoint.commit(session, changes, unasked=alone, in_place=in_place(box, "asked"))
    assert result.state is State.COMMITTED
    assert [a == b for a, b in zip(inodes(box, "log", "asked"), kept, strict=True)] == [alone, True]
