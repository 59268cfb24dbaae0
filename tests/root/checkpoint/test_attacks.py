"""What a hostile job, or a hostile user of the live tree, may try. Each attack has a control in which it works."""

import contextlib
import importlib
import os
import stat
import subprocess
import threading
import time

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import Kind, State

from cbx_sandbox.checkpoint import apply, conflicts, homes, layers, transaction
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files

pytestmark = pytest.mark.root

RESOLVE = importlib.import_module("cbx_sandbox.checkpoint.resolve")


@pytest.fixture
def victim(box):
    """A directory outside the target that nothing may reach."""
    path = f"{box.base}/victim"
    os.mkdir(path)
    harness.write(f"{path}/x", "precious")
    return path


def naive(session, relative):
    """What a commit by path would do."""
    os.replace(f"{session.layers[0].upper}/{relative}", f"{session.layers[0].target}/{relative}")


@pytest.mark.parametrize("job", ["echo evil > d/x", "echo evil > d/new", "rm d/x", "chmod 777 d/x", "rm -r d/sub"])
def test_parent_swapped_for_a_symlink(box, victim, job):
    """A parent that became a symlink leads nowhere: neither before the commit nor between check and step."""
    box.shell("mkdir -p d/sub; echo x > d/x; echo y > d/sub/y")
    os.mkdir(f"{victim}/sub")
    before = harness.manifest(victim)
    session = box.run(job)
    changes = checkpoint.diff(session)
    box.shell(f"mv d away; ln -s {victim} d")
    for given in (None, changes):
        assert checkpoint.commit(session, given).state is State.CONFLICT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RESOLVE, "check", lambda *_: [])
        result = checkpoint.commit(session, changes)
    assert [conflict.reason for conflict in result.conflicts] == [conflicts.PARENT]
    assert harness.manifest(victim) == before
    # Control: by path, the symlink is followed.
    if job.startswith("echo"):
        naive(session, job.split()[-1])
        assert harness.manifest(victim) != before


def test_parent_flipping_during_commits(box, victim):
    """However the parent flips between a directory and a symlink, nothing lands in the symlink's target."""
    box.shell(f"mkdir d; echo x > d/x; ln -s {victim} s")
    before = harness.manifest(victim)
    live = os.open(box.live, os.O_PATH)
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            files.renameat2(live, b"d", live, b"s", files.RENAME_EXCHANGE)

    thread = threading.Thread(target=flip)
    hits = 0
    try:
        session = box.run("echo evil > d/new; echo evil > d/x")
        changes = checkpoint.diff(session)
        thread.start()
        deadline = time.monotonic() + 3
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RESOLVE, "check", lambda *_: [])
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    if checkpoint.commit(session, changes).state is State.COMMITTED:
                        break
        assert harness.manifest(victim) == before
        # Control: opening by path hits the victim within the same time.
        deadline = time.monotonic() + 3
        while not hits and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                harness.write(f"{box.live}/d/control")
            hits += os.path.exists(f"{victim}/control")
    finally:
        stop.set()
        thread.join()
        os.close(live)
    assert hits


def test_redirect_that_leads_out(box, victim):
    """A redirect is followed beneath the target only, even if somebody could write one."""
    box.shell("mkdir -p d/in; echo x > d/in/x; echo a > a")
    session = box.run("mkdir n; echo 1 > n/1")
    for redirect in (b"/../victim", b"../victim", b"/d/../../victim", b"/" + victim.encode(), b"//d", b"/", b"/d/in/x"):
        os.setxattr(f"{session.layers[0].upper}/n", "trusted.overlay.redirect", redirect)
        changes = [change for change in checkpoint.diff(session) if change.path == b"n"]
        assert [(change.kind, change.old) for change in changes] == [(Kind.RENAMED, None)]
        before = harness.manifest(box.base)
        assert checkpoint.commit(session).state is State.CONFLICT
        assert harness.manifest(victim)[b"x"]
        assert harness.manifest(box.live) == {
            path[5:] or b".": value for path, value in before.items() if path == b"live" or path.startswith(b"live/")
        }
    # Control: the attribute has its meaning where it is true.
    fd = os.open(f"{box.live}/d", os.O_PATH)
    handle = files.file_handle(fd)
    os.close(fd)
    origin = b"\0\xfb\x1d\0" + handle[:1] + b"\0" * 16 + handle[1:]
    os.setxattr(f"{session.layers[0].upper}/n", "trusted.overlay.redirect", b"/d")
    os.setxattr(f"{session.layers[0].upper}/n", "trusted.overlay.origin", origin)
    assert (b"n", b"d") in [(change.path, change.source) for change in checkpoint.diff(session)]


def test_forged_marks_are_data(box):
    """What a job sets as overlayfs' attributes, and names as other tools' whiteouts, is its own data."""
    box.shell("mkdir d e; echo x > d/x; echo a > a")
    job = (
        "setfattr -n trusted.overlay.opaque -v y d; setfattr -n user.overlay.opaque -v y d;"
        "setfattr -n trusted.overlay.redirect -v /e d; setfattr -n user.overlay.redirect -v /etc/passwd a;"
        "touch .wh.a .wh..wh..opq d/.wh.x; setfattr -n trusted.overlay.whiteout -v y a; mknod w c 0 0; :"
    )
    session = box.run(job)
    kinds = {change.path: change.kind for change in checkpoint.diff(session) if not change.implied}
    assert kinds == {
        b"a": Kind.META,
        b"d": Kind.META,
        b".wh.a": Kind.ADDED,
        b".wh..wh..opq": Kind.ADDED,
        b"d/.wh.x": Kind.ADDED,
    }
    assert checkpoint.commit(session).state is State.COMMITTED
    assert os.getxattr(f"{box.live}/d", "trusted.overlay.redirect") == b"/e"
    assert os.getxattr(f"{box.live}/a", "user.overlay.redirect") == b"/etc/passwd"
    assert os.path.exists(f"{box.live}/d/x")
    # Control: set by who may (the kernel, or we), the same marks mean something.
    session = box.run("touch d/y")
    os.setxattr(f"{session.layers[0].upper}/d", "trusted.overlay.opaque", b"y")
    assert (b"d", Kind.REPLACED) in [(change.path, change.kind) for change in checkpoint.diff(session)]


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_mount_in_a_deleted_tree(box, victim, kind):
    """What is mounted in a directory that the job deleted is not deleted with it, nor moved away."""
    box.shell("mkdir -p d/sub/m; echo f > d/sub/f")
    session = box.run("rm -r d")
    place = f"{box.live}/d/sub/{'m' if kind == 'directory' else 'f'}"
    subprocess.run(["mount", "--bind", victim if kind == "directory" else f"{victim}/x", place], check=True)
    try:
        before = harness.manifest(victim)
        result = checkpoint.commit(session)
        assert conflicts.MOUNT in [conflict.reason for conflict in result.conflicts]
        assert harness.manifest(victim) == before
        # Control: the kernel itself would let the directory around the mount be renamed away.
        os.rename(f"{box.live}/d", f"{box.live}/moved")
        os.rename(f"{box.live}/moved", f"{box.live}/d")
    finally:
        subprocess.run(["umount", place], check=True)
    # Moving it there and back counts as a change, so it takes a word to delete it now.
    assert checkpoint.commit(session, on_conflict=checkpoint.OnConflict.OURS).state is State.COMMITTED


def test_fifo_in_the_way_blocks_nobody(box):
    """Special files are never opened: a fifo that took a file's place holds up neither diff nor commit."""
    box.shell("echo a > a; echo b > b")
    session = box.run("echo more >> a; chmod 600 b; mkfifo f")
    box.shell("rm a b; mkfifo a b")
    done = []
    thread = threading.Thread(target=lambda: done.append(checkpoint.commit(session)), daemon=True)
    thread.start()
    thread.join(10)
    assert done[0].state is State.CONFLICT
    # Control: opening it does block.
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["cat", f"{box.live}/a"], timeout=0.3, check=False)


def test_own_directory_taken_by_somebody(mounted):
    """Where a user owns the root of a mount, a prepared ``.cbx`` is not used."""
    where = mounted("ext4")
    target = f"{where}/target"
    os.makedirs(target, exist_ok=True)
    with harness.box(harness.SCRATCH) as box:

        def placed():
            return harness.placed([target], box.state, 1)[0]

        for setup in (
            lambda: os.symlink(box.live, f"{where}/.cbx"),
            lambda: (os.mkdir(f"{where}/.cbx"), os.chown(f"{where}/.cbx", 12345, 12345)),
            lambda: (os.mkdir(f"{where}/.cbx"), os.chmod(f"{where}/.cbx", 0o777)),
            lambda: harness.write(f"{where}/.cbx"),
            lambda: os.makedirs(f"{where}/.cbx/layers/1", 0o700),
            lambda: os.makedirs(f"{where}/.cbx/other", 0o700),
            lambda: (os.mkdir(f"{where}/.cbx", 0o700), os.symlink(box.live, f"{where}/.cbx/layers")),
        ):
            with contextlib.suppress(FileNotFoundError):
                harness.remove(f"{where}/.cbx")
            setup()
            layer = placed()
            assert (layer.root, layer.same_filesystem) == (f"{box.state}/layers/1/0", False)
        harness.remove(f"{where}/.cbx")
        # Control: a free name is taken, and shut.
        assert placed().root == f"{where}/.cbx/layers/1/0"
        assert stat.S_IMODE(os.stat(f"{where}/.cbx").st_mode) == 0o700
        harness.remove(f"{where}/.cbx")
        harness.remove(target)


def test_probe_tells_file_systems_apart(mounted, box):
    """A file system that overlayfs cannot write to is found by trying."""
    assert layers.can_hold_layers(mounted("tmpfs"))
    box.shell(f"mkdir {box.base}/m; mount -t ramfs ramfs {box.base}/m")
    try:
        assert not layers.can_hold_layers(f"{box.base}/m")
        assert os.listdir(f"{box.base}/m") == []
    finally:
        box.shell(f"umount {box.base}/m")


def test_live_file_swapped_before_the_exchange(box, monkeypatch):
    """If another inode comes out of an exchange than the one that was checked, it goes back in."""
    box.shell("echo a > a")
    session = box.run("echo job >> a")
    real = files.renameat2

    def swapping(*arguments):
        if arguments[-1] == files.RENAME_EXCHANGE and not os.path.exists(f"{box.live}/other"):
            box.shell("mv a other; echo precious > a")
        real(*arguments)

    monkeypatch.setattr(files, "renameat2", swapping)
    result = checkpoint.commit(session)
    monkeypatch.undo()
    assert [conflict.reason for conflict in result.conflicts] == [conflicts.REPLACED]
    with open(f"{box.live}/a") as file:
        assert file.read() == "precious\n"
    # Control: nobody in between, it lands.
    box.shell("mv other a")
    assert checkpoint.commit(session, on_conflict=checkpoint.OnConflict.OURS).state is State.COMMITTED


def test_stage_beside_the_targets_entries_is_swapped(mounted, monkeypatch):
    """In copy mode the stage lies in the target: who owns that and swaps it gets nothing removed but his own."""
    monkeypatch.setattr(homes, "claimed", lambda *_: None)
    monkeypatch.setattr(importlib.import_module("cbx_sandbox.checkpoint.session"), "_COARSE_NS", 0)
    with harness.box(harness.SCRATCH) as state, harness.box(mounted("ext4"), state=state.state) as box:
        box.shell("echo a > a; mkdir precious; echo p > precious/p")
        session = box.run("echo job >> a")
        assert not session.layers[0].same_filesystem
        real = transaction.forward

        def swapping(*arguments, **options):
            real(*arguments, **options)
            home = next(name for name in seen if name.startswith(".cbx-"))
            box.shell(f"mv {home} away; mv precious {home}")

        seen = []
        make = os.mkdir

        def watching(path, *arguments, **options):
            if isinstance(path, bytes):
                seen.append(os.fsdecode(path))
            make(path, *arguments, **options)

        monkeypatch.setattr(os, "mkdir", watching)
        monkeypatch.setattr(transaction, "forward", swapping)
        assert checkpoint.commit(session).state is State.COMMITTED
        home = next(name for name in seen if name.startswith(".cbx-"))
        assert os.listdir(f"{box.live}/{home}") == ["p"]
        assert os.listdir(f"{box.live}/away") == []
        # Control: by name, it would have gone.
        harness.remove(f"{box.live}/{home}")
        assert not os.path.exists(f"{box.live}/{home}")


@pytest.mark.parametrize("change", ["chmod 666 a", "chown 33 a", "setfattr -n user.k -v v a", "touch -d 2001-01-01 a"])
@pytest.mark.parametrize("other", ["file", "symlink", "directory"])
def test_a_file_swapped_before_its_metadata_is_set(box, monkeypatch, change, other):
    """Between the last look and the change: what has the name then is not touched, and the commit is a conflict."""
    box.shell("echo a > a")
    session = box.run(change)
    make = {"file": "echo precious > a", "symlink": "echo precious > target; ln -s target a", "directory": "mkdir a"}
    real, before = apply.rights_to_write, {}

    def swapping(*arguments):
        box.shell(f"mv a away; {make[other]}")
        before.update(harness.manifest(box.live))
        return real(*arguments)

    monkeypatch.setattr(apply, "rights_to_write", swapping)
    result = checkpoint.commit(session, allow_privileged=True)
    assert [conflict.reason for conflict in result.conflicts] == [conflicts.REPLACED]
    monkeypatch.undo()
    after = harness.manifest(box.live)
    assert {name: after[name] for name in (b"a", b"away")} == {name: before[name] for name in (b"a", b"away")}
    # Control: nobody in between, it lands.
    box.shell("rm -r a; mv away a")
    forced = checkpoint.commit(session, allow_privileged=True, on_conflict=checkpoint.OnConflict.OURS)
    assert forced.state is State.COMMITTED


def test_a_mark_is_not_taken_from_other_names(box):
    """An immutable file with several names, one of them outside: the job's copy has one, and takes the mark from it."""
    box.shell("echo f > f; ln f g")
    box.shell(f"ln {box.live}/f {box.base}/elsewhere; chattr +i f")
    try:
        session = box.run("chattr -i f; echo 2 >> f; chattr +i f")
        with pytest.raises(CbxError, match="cannot commit f"):
            checkpoint.commit(session)
        for path in (f"{box.live}/f", f"{box.live}/g", f"{box.base}/elsewhere"):
            with pytest.raises(PermissionError):
                os.unlink(path)
    finally:
        box.shell("chattr -i f")
