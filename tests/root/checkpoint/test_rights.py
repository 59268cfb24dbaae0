"""A commit does for a user what that user could do live at that moment, and nothing more."""

import contextlib
import os
import stat
import subprocess
import threading

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import State, Submitter

from cbx_sandbox.checkpoint import render
from cbx_sandbox.errors import DeniedError
from cbx_sandbox.linux.credentials import ROOT, acting_as

pytestmark = pytest.mark.root

SETUP = """
mkdir -p own/sub closed theirs shared drop; echo a > a; echo x > own/x; echo y > own/sub/y
echo t > theirs/t; echo o > theirs/own
echo w > writable; echo g > grouped; echo r > readonly; echo c > closed/c; echo d > drop/d; echo s > shared/s
"""


def owned(box):
    """Mostly the user's, partly root's, as a real home directory may be."""
    box.shell(SETUP)
    user = f"{harness.USER.uid}:{harness.USER.gid}"
    box.shell(
        f"chown -R {user} .; chown -R 0:0 theirs writable grouped readonly; chown 0:{harness.USER.groups[0]} grouped"
    )
    box.shell(f"chown {user} theirs/own")
    box.shell("chmod 666 writable; chmod 664 grouped; chmod 500 closed; chmod 1777 drop; chown 0:0 drop drop/d")
    box.shell(f"chown 0:{harness.USER.groups[0]} shared shared/s; chmod 775 shared")


ALLOWED = {
    "own files": "echo 1 >> a; rm own/x; echo n > own/n; mkdir m; echo n > m/n; mv own/sub m/sub; chmod 600 a",
    "somebody's writable file": "echo 1 >> writable; echo 1 >> grouped",
    "own file in somebody's directory": "echo 1 >> theirs/own",
    "somebody's file away": "rm readonly",
    "somebody's file moved": "mv readonly own/readonly",
    "group's directory": "echo n > shared/n; rm shared/s",
    "closed directory opened": "chmod 700 closed; echo n > closed/n; rm closed/c; chmod 500 closed",
    "closed directory removed": "chmod 700 closed; rm -r closed",
    "closed directory made": "mkdir c2; echo n > c2/n; chmod 500 c2; mkdir c3; chmod 0 c3",
    "closed directory moved": "chmod 700 closed; mv closed c2; chmod 500 c2",
    "own group": f"chgrp {harness.USER.groups[0]} a",
    "sticky directory": "echo n > drop/n",
    "times": "touch -d 2001-01-01 a own; touch writable",
}


@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "plain"])
@pytest.mark.parametrize("job", ALLOWED.values(), ids=ALLOWED)
def test_what_the_user_may(job, redirect):
    """What the user could do natively lands, with the same result."""
    with harness.box(harness.SCRATCH, who=harness.USER, redirect=redirect) as box:
        owned(box)
        native = f"{box.base}/native"
        harness.copy_bytes(box.live, native)
        session = box.run(job)
        assert checkpoint.commit(session).state is State.COMMITTED
        subprocess.run(["sh", "-c", f"exec {box._as()} sh -c '{job}'"], cwd=native, check=True)
        clock = session.clocks[0] - 10**9
        wanted, got = harness.manifest(native, times_since=clock), harness.manifest(box.live, times_since=clock)
        assert {path: value[:7] for path, value in got.items()} == {path: value[:7] for path, value in wanted.items()}


# What happens to the tree while the job runs, so that its user may no longer do what the job did.
TIGHTENED = {
    "directory taken away": ("echo n > own/n", "chown 0 own; chmod 755 own"),
    "file taken away": ("echo n >> writable", "chmod 644 writable"),
    "path closed": ("echo n > own/sub/n", "chown 0:0 own; chmod 700 own"),
    "directory made sticky": ("rm shared/s", "chmod 1775 shared"),
    "tree closed": ("echo n >> a", "chmod 700 .; chown 0:0 ."),
    "file in somebody's directory taken away": ("echo n >> theirs/own", "chown 0:0 theirs/own"),
}


@pytest.mark.parametrize("name", TIGHTENED)
@pytest.mark.parametrize("resolution", ["abort", "ours"])
def test_what_the_user_may_no_longer(user_box, name, resolution):
    """The kernel refuses, the live tree is untouched, the layer is whole: root may still commit it (the control)."""
    job, tighten = TIGHTENED[name]
    owned(user_box)
    session = user_box.run(job)
    user_box.shell(tighten)
    before = harness.manifest(user_box.live)
    options = {"on_conflict": checkpoint.OnConflict(resolution)}
    with contextlib.suppress(DeniedError):
        assert checkpoint.commit(session, **options).state is State.CONFLICT
    assert harness.manifest(user_box.live) == before
    result = checkpoint.commit(session, rights=ROOT, on_conflict=checkpoint.OnConflict.OURS)
    assert result.state is State.COMMITTED


PRIVILEGED = {
    "setuid": ("cp /bin/true s; chmod 4755 s", {"setuid"}),
    "setgid": ("cp /bin/true s; chmod 2755 s", {"setgid"}),
    "setuid in a new tree": ("mkdir -p n/m; cp /bin/true n/m/s; chmod 4755 n/m/s", {"setuid"}),
    "setuid on what was there": ("chmod u+s a", {"setuid"}),
}


@pytest.mark.parametrize("name", PRIVILEGED)
def test_new_privileges_are_reviewed(user_box, name):
    """New setuid and setgid files are refused by name; allowed, they land."""
    job, flags = PRIVILEGED[name]
    owned(user_box)
    session = user_box.run(job)
    before = harness.manifest(user_box.live)
    with pytest.raises(DeniedError) as caught:
        checkpoint.commit(session)
    assert all(flag in caught.value.details for flag in flags)
    assert harness.manifest(user_box.live) == before
    assert checkpoint.commit(session, allow_privileged=True).state is State.COMMITTED
    assert any(
        os.stat(f"{top}/{name}").st_mode & (stat.S_ISUID | stat.S_ISGID)
        for top, _, names in os.walk(user_box.live)
        for name in names
    )


@pytest.mark.parametrize(
    ("job", "flag"),
    [
        ("cp /bin/true t; setcap cap_net_raw+ep t", "file-capability"),
        ("mknod null c 1 3", "device"),
        ("mkdir n; mknod n/disk b 7 0", "device"),
        ("cp /bin/true s; chmod 4755 s", "setuid"),
    ],
)
def test_root_is_reviewed_too(box, job, flag):
    """Root's jobs may make such objects, and commit asks all the same."""
    session = box.run(job)
    with pytest.raises(DeniedError, match="privileges") as caught:
        checkpoint.commit(session)
    assert flag in caught.value.details
    assert os.listdir(box.live) == []
    assert checkpoint.commit(session, allow_privileged=True).state is State.COMMITTED


def test_foreign_objects_in_a_users_layer(user_box):
    """What belongs to others in a user's layer, where no job of the user's can have made it, is refused."""
    owned(user_box)
    session = user_box.run("echo n > n; mkdir t; echo o > t/o")
    upper = session.layers[0].upper
    os.chown(f"{upper}/n", 0, 0)
    os.chown(f"{upper}/t/o", 4242, 4242)
    with pytest.raises(DeniedError) as caught:
        checkpoint.commit(session)
    assert caught.value.details.count("foreign-owner") == 2
    # Control: with their owners right, they land.
    for path in ("n", "t/o"):
        os.chown(f"{upper}/{path}", harness.USER.uid, harness.USER.gid)
    assert checkpoint.commit(session).state is State.COMMITTED


FOREIGN = {
    "a file given away": "chown 33 a",
    "a group given": "chgrp 34 a",
    "a new file": "echo n > n; chown 33:33 n",
    "in a new tree": "mkdir -p n/m; echo n > n/m/f; chown 33 n/m/f",
    "a directory": "mkdir n; chown 33 n",
    "a symlink": "ln -s a n; chown -h 33 n",
    "a copy of somebody's": "cp -p theirs copy",
    "somebody's, to another": "chown 34 theirs",
    "moved and given away": "mv a n; echo 1 >> n; chown 33 n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_root_gives_away_is_reviewed(box, name):
    """New objects of other users in a change set of root's are refused by name; allowed, they land."""
    box.shell("echo a > a; echo t > theirs; chown 33:33 theirs")
    session = box.run(FOREIGN[name])
    before = harness.manifest(box.live)
    with pytest.raises(DeniedError) as caught:
        checkpoint.commit(session)
    assert "foreign-owner" in caught.value.details
    assert harness.manifest(box.live) == before
    assert checkpoint.commit(session, allow_privileged=True).state is State.COMMITTED
    assert harness.manifest(box.live) != before


KEPT = {
    "root's own": "echo n > n; mkdir -p m/o; echo n > m/o/p; ln -s n l; chown 0:0 n",
    "changed": "echo 1 >> theirs; chmod 600 theirs; touch -d 2001-01-01 tree",
    "moved": "mv theirs elsewhere; mv tree/f tree/g",
    "moved and changed": "mv theirs elsewhere; echo 1 >> elsewhere; mv tree/f tree/g; echo 1 >> tree/g",
    "another name": "ln theirs n; echo 1 >> n",
    "written anew": "sed -i s/t/u/ theirs; chown 33:33 theirs",
    "taken": "chown 0:0 theirs; rm -r tree",
    "inherited": "echo n > sgid/n; mkdir sgid/m; echo n > sgid/m/n",
}


def test_a_directory_that_moved_is_nothing_new(box):
    """Where the overlay knows of the move; elsewhere mv makes a copy, and copies are new."""
    box.shell("mkdir tree; echo f > tree/f; chown -R 33:33 tree")
    assert checkpoint.commit(box.run("mv tree moved; echo 1 >> moved/f")).state is State.COMMITTED


@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "plain"])
@pytest.mark.parametrize("name", KEPT)
def test_what_was_somebody_s_before_is_nothing_new(name, redirect):
    """Nor is what belongs to root, or to the group that a directory gives to all that is made in it."""
    with harness.box(harness.SCRATCH, redirect=redirect) as box:
        box.shell("echo t > theirs; mkdir tree; echo f > tree/f; chown -R 33:33 theirs tree; mkdir sgid")
        box.shell("chgrp 34 sgid; chmod 2775 sgid")
        session = box.run(KEPT[name])
        assert checkpoint.commit(session).state is State.COMMITTED


def test_a_later_failure_takes_back_everything(user_box):
    """A step that the kernel refuses in the middle leaves nothing of those before, in times, modes and links, too."""
    owned(user_box)
    session = user_box.run(
        "echo 1 >> a; chmod 700 closed; echo n > closed/n; chmod 500 closed; rm -r own; mkdir own; mkdir n;"
        "echo n > n/n; echo 1 >> writable; rm readonly; echo n > shared/n; touch -d 2001-01-01 shared"
    )
    user_box.shell("chmod 555 shared")
    before = harness.manifest(user_box.live)
    with pytest.raises(DeniedError, match="shared"):
        checkpoint.commit(session, on_conflict=checkpoint.OnConflict.OURS)
    assert harness.manifest(user_box.live) == before
    user_box.shell("chmod 775 shared")
    assert checkpoint.commit(session, on_conflict=checkpoint.OnConflict.OURS).state is State.COMMITTED


def test_text_diff_shows_only_what_the_reader_may_read(user_box):
    """A user can remove a file that he may not read; the diff does not show it to him."""
    owned(user_box)
    user_box.shell("echo secret-of-root > own/secret; chmod 600 own/secret; echo open > own/open")
    session = user_box.run("rm -f own/secret own/open; echo new > own/new")
    changes = checkpoint.diff(session)
    shown = render.as_text(session, changes, harness.USER)
    assert "secret-of-root" not in shown
    assert "Permission denied" in shown
    assert "-open" in shown
    assert "+new" in shown
    assert "secret-of-root" in render.as_text(session, changes, ROOT)


def test_acting_as_is_of_one_thread():
    """Rights change in the calling thread alone, and come back, also after an error and when nested."""

    def ids():
        with open("/proc/thread-self/status") as file:
            return [line for line in file if line.startswith(("Uid", "Gid", "Groups", "CapEff"))]

    before = ids()
    seen = []
    ready, done = threading.Event(), threading.Event()

    def other():
        ready.wait()
        seen.append(ids())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with contextlib.suppress(ValueError), acting_as(Submitter(12345, 12346, (7, 8))):
        ready.set()
        done.wait()
        inside = ids()
        with acting_as(ROOT):
            assert "0000000000000000" not in ids()[-1]
        assert ids() == inside
        assert inside[0].split()[4] == "12345"
        assert inside[-1].split()[1] == "0" * 16
        with pytest.raises(PermissionError):
            os.listdir("/root")
        with pytest.raises(PermissionError):
            os.setxattr("/", "trusted.cbx", b"1")
        raise ValueError
    thread.join()
    assert seen == [before]
    assert ids() == before
