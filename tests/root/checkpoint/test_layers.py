"""Where layers go, several of them in one checkpoint, and what they cost."""

import dataclasses
import os
import resource
import stat
import subprocess
import sys

import pytest
from tests.root.checkpoint import checkpoint, harness
from tests.root.checkpoint.checkpoint import Kind, OnConflict, State

from cbx_sandbox.checkpoint import leftovers
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import contents

pytestmark = pytest.mark.root


def test_upper_looks_like_the_target(box):
    """The root of the overlay has the target's mode, owner, attributes and times; an untouched one is no change."""
    box.shell("chmod 3751 .; chown 7:8 .; setfattr -n user.k -v v .; setfacl -m u:9:rwx .; touch -d 2001-01-01 .")
    session = box.begin()
    live, upper = os.stat(box.live), os.stat(session.layers[0].upper)
    for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        assert getattr(live, field) == getattr(upper, field)
    assert stat.S_IMODE(os.stat(session.layers[0].root).st_mode) == 0o700
    box.inside("true")
    assert checkpoint.diff(session) == []
    assert checkpoint.commit(session).state is State.EMPTY


def test_directories_belong_to_somebody_from_their_first_moment(box, tmp_path, monkeypatch):
    """A crash between the directory, its mark and its name leaves what the next start removes, and nothing else."""
    home, owner = tmp_path / "layers", b"this database"
    home.mkdir()
    (home / "5").mkdir()  # somebody else's
    session = box.begin()
    layer = dataclasses.replace(session.layers[0], root=f"{home}/7/0")
    leftovers.make([layer], owner)
    assert leftovers.find(str(home), owner) == [7]

    def crash(*_arguments):
        raise KeyboardInterrupt

    for name in ("mkdir", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(leftovers.os, name, crash)
            with pytest.raises(KeyboardInterrupt):
                leftovers.make([dataclasses.replace(layer, root=f"{home}/8/0")], owner)
        assert leftovers.find(str(home), owner) == [7]
    assert ".new-8" in os.listdir(home)
    leftovers.sweep(str(home))
    assert sorted(os.listdir(home)) == ["5", "7"]
    leftovers.sweep(f"{home}/none")
    with pytest.raises(OSError, match="too"):  # no mark is that long: as on a disk that has no room for one
        leftovers.make([dataclasses.replace(layer, root=f"{home}/9/0")], b"x" * 70_000)
    assert sorted(os.listdir(home)) == ["5", "7"]
    (home / ".new-6" / "inside").mkdir(parents=True)
    leftovers.sweep(str(home))  # it cannot be removed, which keeps nobody from starting
    assert sorted(os.listdir(home)) == [".new-6", "5", "7"]


def test_target_itself_changes(box):
    """Mode and times of the overlaid directory itself are a change like any other."""
    session = box.run("chmod 711 .; setfattr -n user.k -v v .; touch -d 2001-01-01 .")
    [change] = checkpoint.diff(session)
    assert (change.path, change.kind, set(change.aspects)) == (b"", Kind.META, {"mode", "xattrs", "mtime"})
    assert checkpoint.commit(session).state is State.COMMITTED
    assert stat.S_IMODE(os.stat(box.live).st_mode) == 0o711
    assert os.stat(box.live).st_mtime == 978307200
    assert os.getxattr(box.live, "user.k") == b"v"


def run_in_all(session, base, line):
    """Mount each layer's overlay over its own target, as a box does, and run ``line`` at the first."""
    script = []
    for layer in session.layers:
        options = f"lowerdir={layer.target},upperdir={layer.upper},workdir={layer.work},redirect_dir=off,volatile"
        script.append(f'mount -t overlay -o "{options}" overlay "{base}/m{layer.index}"')
        os.makedirs(f"{base}/m{layer.index}", exist_ok=True)
    subprocess.run(["unshare", "-m", "sh", "-ec", "\n".join([*script, f"cd {base}", line])], check=True)


def test_two_file_systems_in_one_commit(mounted, box):
    """All layers or none: a conflict or a failure on one file system leaves the other untouched."""
    other = f"{mounted('xfs')}/other"
    os.mkdir(other)
    try:
        box.shell("echo a > a")
        harness.write(f"{other}/b", "b\n")
        session = begin(box, [box.live, other])
        assert [layer.same_filesystem for layer in session.layers] == [True, True]
        run_in_all(session, box.base, "echo job >> m0/a; echo job >> m1/b; echo n > m1/n")
        before = harness.manifest(box.live), harness.manifest(other)
        os.chmod(f"{other}/b", 0o600)
        assert {(c.layer, c.path) for c in checkpoint.commit(session).conflicts} == {(1, b"b")}
        assert harness.manifest(box.live) == before[0]
        # The second layer fails when the first has been applied.
        subprocess.run(["chattr", "+i", other], check=True)
        with pytest.raises(CbxError):
            checkpoint.commit(session, on_conflict=OnConflict.OURS)
        subprocess.run(["chattr", "-i", other], check=True)
        assert harness.manifest(box.live) == before[0]
        assert checkpoint.commit(session, on_conflict=OnConflict.OURS).state is State.COMMITTED
        assert sorted(os.listdir(other)) == ["b", "n"]
        with open(f"{box.live}/a") as file:
            assert file.read() == "a\njob\n"
    finally:
        harness.remove(other)


def begin(box, targets):
    layers = harness.placed(targets, box.state, 77)
    for layer in layers:
        checkpoint.create(layer)
    box.session = checkpoint.begin(layers, box.who, checkpoint=77)
    return box.session


def test_whole_mount(mounted, box):
    """A layer over a whole mount lies on that mount; even a forced commit cannot remove the layers with the rest."""
    where = mounted("btrfs")
    os.makedirs(f"{where}/d/e")
    harness.write(f"{where}/d/f")
    os.link(f"{where}/d/f", f"{where}/d/g")
    session = begin(box, [where])
    [layer] = session.layers
    assert (layer.whole_mount, layer.root) == (True, f"{where}/.cbx/layers/77/0")
    # A box hides .cbx, and the kernel keeps the directories of a mounted overlay: say the job had got round both.
    run_in_all(session, box.base, "rm -rf m0/d")
    os.mknod(f"{layer.upper}/.cbx", stat.S_IFCHR, 0)
    assert [change.path for change in checkpoint.diff(session) if not change.implied] == [b".cbx", b"d"]
    assert checkpoint.commit(session).state is State.CONFLICT
    with pytest.raises(CbxError):
        checkpoint.commit(session, on_conflict=OnConflict.OURS)
    assert sorted(os.listdir(f"{where}/d")) == ["e", "f", "g"]
    checkpoint.discard(session)
    # Control: without the layers among the deleted, it goes.
    session = begin(box, [where])
    run_in_all(session, box.base, "rm -rf m0/d")
    assert checkpoint.commit(session).state is State.COMMITTED
    assert not os.path.exists(f"{where}/d")


def test_broken_links_are_told(box):
    """One of two names that gets new content is no longer a link of the other, and the result says so."""
    box.shell("echo b > b; ln b b2; echo c > c; mkdir ../outside; ln c ../outside/c2")
    session = box.run("echo job >> b; chmod 600 c")
    result = checkpoint.commit(session)
    assert sorted(result.notes) == [f"{name} is no longer a hard link of its other names" for name in "bc"]
    with open(f"{box.live}/b2") as file:
        assert file.read() == "b\n"
    # The link of c leads out of the target: nothing outside changes.
    assert stat.S_IMODE(os.stat(f"{box.base}/outside/c2").st_mode) == 0o644
    # Control: with all links inside, metadata is changed in place and the link stays.
    box.shell("echo d > d; ln d d2")
    session = box.run("chmod 600 d")
    assert checkpoint.commit(session).notes == ()
    assert os.stat(f"{box.live}/d").st_ino == os.stat(f"{box.live}/d2").st_ino


def test_data_is_moved_not_copied(box):
    """A commit on one file system renames: what the job wrote is the very inode that ends up in the live tree."""
    box.shell("echo a > a; echo b > b")
    session = box.run("head -c 3000000 /dev/urandom > big; echo more >> a; chmod 600 b")
    upper = session.layers[0].upper
    inodes = {name: os.stat(f"{upper}/{name}").st_ino for name in ("big", "a")}
    kept = os.stat(f"{box.live}/b").st_ino
    assert checkpoint.commit(session).state is State.COMMITTED
    assert {name: os.stat(f"{box.live}/{name}").st_ino for name in inodes} == inodes
    assert os.stat(f"{box.live}/b").st_ino == kept


def test_readers_see_old_or_new(box):
    """While commits exchange a file, every reader finds the whole old or the whole new content, never nothing."""
    box.shell("echo 0000 > f")
    reader = (
        "import os, sys, time\nend = time.monotonic() + 3\nseen = set()\n"
        "while time.monotonic() < end:\n    seen.add(open(sys.argv[1]).read())\n"
        "print(sorted(seen))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", reader, f"{box.live}/f"], stdout=subprocess.PIPE, text=True)
    number = 0
    while process.poll() is None:
        number += 1
        assert checkpoint.commit(box.run(f"echo {number:04} > f")).state is State.COMMITTED
    seen = eval(process.communicate()[0])  # the list that it printed
    assert process.returncode == 0
    assert len(seen) > 3
    assert all(len(text) == 5 for text in seen)


def test_cost_follows_the_changes_not_the_tree(mounted):
    """Placing, beginning and listing cost the same over twenty thousand files as over twenty."""
    where = mounted("tmpfs")
    costs = []
    for files_below in (20, 20_000):
        with harness.box(where) as box:
            for number in range(files_below):
                harness.write(f"{box.live}/{number}")
            calls = CallCount()
            with calls:
                session = box.begin()
            box.inside("echo n >> 7; rm 8; echo n > new")
            with calls:
                changes = checkpoint.diff(session)
            assert len([change for change in changes if not change.implied]) == 3
            checkpoint.discard(session)
            costs.append(calls.number)
    # Counted in calls, not in seconds: Python's and the kernel's alike.
    assert abs(costs[1] - costs[0]) < costs[0] / 10


class CallCount:
    """How many calls were made inside its with-blocks."""

    number = 0

    def __enter__(self):
        sys.setprofile(self._count)

    def __exit__(self, *_):
        sys.setprofile(None)

    def _count(self, frame, event, argument):
        self.number += event in {"call", "c_call"}


def test_many_changes_need_no_more_descriptors(mounted):
    """Thousands of changes are found and committed with the descriptors that a few need, and all are given back."""
    where = mounted("tmpfs")
    before = len(os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 3000
    with harness.box(where) as box:
        box.shell(f"mkdir m; for i in $(seq {count}); do echo $i > m/$i; done")
        session = box.run(f"cd m; for i in $(seq 1 {count}); do echo n >> $i; done; mkdir ../n; cp * ../n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 40, limits[1]))
        try:
            changes = checkpoint.diff(session)
            assert len([change for change in changes if not change.implied]) == 2 * count + 1
            assert checkpoint.commit(session, changes).state is State.COMMITTED
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_git_repository_is_sound(box):
    """What git makes in a layer is sound after the commit, and after a rollback the old state is."""
    git = "git -c user.name=n -c user.email=e"
    box.shell(f"git init -q .; echo 1 > f; git add f; {git} commit -qm one")
    session = box.run(f"echo 2 >> f; {git} commit -qam two; git branch b; git gc -q; git checkout -q b; echo 3 > g")
    assert checkpoint.commit(session).state is State.COMMITTED
    check = "git fsck --strict 2>&1 && git log --oneline | wc -l && git status --short"
    done = subprocess.run(["sh", "-c", check], cwd=box.live, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "??", "g"]
    checkpoint.discard(box.run(f"git add g; {git} commit -qm three; git gc -q --prune=now; rm -rf .git/objects"))
    done = subprocess.run(["sh", "-c", check], cwd=box.live, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "??", "g"]


def test_sparse_files_stay_sparse(mounted):
    """Holes are kept by a rename and by a copy."""
    source, target = mounted("xfs"), mounted("btrfs")
    with open(f"{source}/sparse", "wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"x")
    with open(f"{source}/sparse", "rb") as one, open(f"{target}/sparse", "wb+") as two:
        contents.copy_data(one.fileno(), two.fileno())
        assert contents.same_data(one.fileno(), two.fileno()) if os.environ.get("CBX_SLOW") else True
        two.flush()
        status = os.fstat(two.fileno())
    assert status.st_size == 1 << 30
    assert status.st_blocks * 512 < 1 << 20
    os.unlink(f"{source}/sparse")
    os.unlink(f"{target}/sparse")
