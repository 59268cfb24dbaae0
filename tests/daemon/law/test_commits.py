"""Whatever moves in the live tree: a commit writes what was reviewed where it was reviewed, or nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from tests.daemon.law.conftest import NOBODY, at_stake, mounted, opened, outside, script

pytestmark = pytest.mark.root


@pytest.fixture
def project(place):
    (place / "project/sub").mkdir(parents=True)
    (place / "victim").mkdir()
    (place / "victim/file").write_text("precious")
    return place / "project"


def held(shell, project, line, **options):
    """A held checkpoint's number."""
    ran = shell.run("--commit", "hold", "--rw", project, "-c", line, tier="sequential", cwd=project, **options)
    assert b"held" in ran.stderr, ran.stderr
    return str(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"])


def tree(directory):
    """Names, kinds and contents."""
    found = {}
    for where, directories, names in os.walk(os.fsencode(directory)):
        for name in directories + names:
            path = os.path.join(where, name)
            status = os.lstat(path)
            content = Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(status.st_mode) else None
            found[path] = status.st_mode, status.st_uid, status.st_mtime_ns if content is not None else 0, content
    return found


SWAPS = ["link to a directory", "link to a file", "directory", "gone"]


@pytest.mark.parametrize("policy", ["abort", "ours", "theirs"])
@pytest.mark.parametrize("what", SWAPS)
def test_a_swap_before_the_commit(shell, place, project, what, policy):
    """What somebody put in the place of a directory or file is not followed, whatever is asked for."""
    (project / "sub/file").write_text("old")
    number = held(shell, project, f"echo new > {project}/sub/file; echo more > {project}/sub/added")
    before = tree(place / "victim")
    (project / "sub").rename(place / "moved")
    if what == "link to a directory":
        (project / "sub").symlink_to(place / "victim")
    elif what == "link to a file":
        (project / "sub").mkdir()
        (project / "sub/file").symlink_to(place / "victim/file")
        (project / "sub/added").symlink_to(place / "victim/planted")
    elif what == "directory":
        (project / "sub").mkdir()
    ran = shell.call("checkpoint", "commit", number, "--on-conflict", policy)
    assert policy != "abort" or ran.returncode != 0
    assert tree(place / "victim") == before
    assert (place / "moved/file").read_text() == "old"
    shell.call("checkpoint", "rollback", number)
    assert tree(place / "victim") == before


def test_swaps_while_commits_run(shell, place, project):
    """Again and again, by the user who owns the directory, under a commit of root's job."""
    shutil.chown(project, NOBODY, NOBODY)
    before = tree(place / "victim")
    code = f"""
    import os
    os.chdir("{project}")
    while True:
        for old, new in (("sub", "away"), ("{place}/victim", None), ("sub", None), ("away", "sub")):
            try:
                if new: os.rename(old, new)
                elif old == "sub": os.unlink("sub")
                else: os.symlink(old, "sub")
            except OSError:
                pass
    """
    attack = f"mkdir -p {project}/sub; echo attack > {project}/sub/file; echo attack > {project}/sub/planted"
    (place / "attack").write_text(attack)
    shutil.copy("/bin/sh", place / "tool")
    swapper = subprocess.Popen(script(code), user=NOBODY, group=NOBODY, extra_groups=[])
    try:
        for _ in range(12):
            # Not a script that the analysis reads: it would find the link, and ask for the lock on what it leads to.
            words = ["--lock-timeout", "5", "--rw", project, place / "tool", place / "attack"]
            ran = shell.run("-q", *words, tier="sequential", cwd=project)
            assert ran.returncode != 126
    finally:
        swapper.kill()
        swapper.wait()
    assert tree(place / "victim") == before
    outside(["sh", "-c", f"rm -rf {project}/sub; ln -s {place}/victim {project}/sub; sh {place}/attack"])
    assert tree(place / "victim") != before


def test_a_live_editor(shell, project):
    """It saves while jobs commit: no version that it wrote is lost without a conflict being told."""
    file = project / "sub/file"
    file.write_text("0")
    done, lost = threading.Event(), []

    def edit():
        version = 0
        while not done.is_set():
            version += 1
            beside = project / "sub/.file.swp"
            beside.write_text(f"editor {version}")
            os.replace(beside, file)
            if file.read_text() not in {f"editor {version}", "job"}:
                lost.append(file.read_text())
            done.wait(0.002)

    thread = threading.Thread(target=edit)
    thread.start()
    try:
        states = set()
        for _ in range(6):
            line = f"echo -n job > {file}"
            shell.run("-q", "--rw", project, "-c", line, tier="sequential", cwd=project)
            states.add(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["state"])
    finally:
        done.set()
        thread.join()
    assert lost == []
    assert states <= {"conflict", "held"}, states


@pytest.mark.parametrize("change", ["content", "mode", "replaced", "removed", "added"])
def test_what_changed_meanwhile_is_a_conflict(shell, project, change):
    """Nothing is changed then, and the checkpoint stays; control: without it the commit goes through."""
    file = project / "sub/file"
    for conflict in (True, False):
        (project / "sub/file").write_text("old")
        number = held(shell, project, f"echo new > {project}/sub/file; echo new > {project}/sub/new")
        if conflict:
            {
                "content": lambda: file.write_text("live"),
                "mode": lambda: file.chmod(0o600),
                "replaced": lambda: (project / "other").write_text("live") and os.replace(project / "other", file),
                "removed": file.unlink,
                "added": lambda: (project / "sub/new").write_text("live"),
            }[change]()
        before = tree(project)
        ran = shell.call("checkpoint", "commit", number)
        assert (ran.returncode != 0) is conflict, ran.stderr
        assert (tree(project) == before) is conflict
        if conflict:
            assert shell.call("checkpoint", "rollback", number).returncode == 0
            assert tree(project) == before


def test_two_decisions_at_once(shell, project):
    """One of commit and rollback wins, and the tree is as the winner says."""
    number = held(shell, project, f"for n in $(seq 300); do echo $n > {project}/sub/$n; done")
    both = [shell.start("checkpoint", what, number) for what in ("commit", "rollback", "commit", "rollback")]
    won = [process.wait(60) == 0 for process in both]
    committed = len(os.listdir(project / "sub")) == 300
    assert committed or os.listdir(project / "sub") == []
    state = shell.supervisor.get(f"/v1/checkpoints/{number}")["state"]
    assert state == ("committed" if committed else "rolled-back")
    assert any(won)


@pytest.mark.parametrize("how", ["fails", "is killed", "runs out of time", "fills up"])
def test_a_sequential_job_that_does_not_succeed_leaves_no_trace(shell, place, project, how):
    """Not one byte, time or name; control: the same succeeds outside."""
    (project / "sub/file").write_text("old")
    before = tree(project)
    end = {
        "fails": "exit 3",
        "is killed": "kill -9 $$",
        "runs out of time": "sleep 600",
        "fills up": "head -c 2M /dev/zero > /dev/shm/x; exit 1",
    }[how]
    line = (
        f"cd {project}; echo new > sub/file; rm -rf sub; mkdir -p a/b; ln -s / l; mkfifo p; chmod 0 a; touch .; {end}"
    )
    options = ["--timeout", "1", "--kill-after", "0.2"] if how == "runs out of time" else []
    (place / "attack").write_text(line)
    ran = shell.run(*options, "--rw", project, "sh", place / "attack", tier="sequential", cwd=project)
    assert ran.returncode not in {0, 125, 126}, ran.stderr
    assert tree(project) == before
    outside(["sh", "-c", line.replace(end, "exit 0")])
    assert tree(project) != before


HOSTILE_TREE = r"""
import os
os.chdir("sub")
odd = [b"new\nline", b"\x1b]0;owned\x07\x1b[2J", b"\xff\xfe", b"-rf", b"$(id)", b" ", b"a\\b", b"\xe2\x80\xae"]
for name in (*odd, b"x" * 255):
    open(name, "w").write("\x1b]0;owned\x07\n")
os.mkfifo("fifo")
os.symlink("/", "root")
os.symlink("x" * 4000, "long")
os.mkdir("closed", 0)
here = os.getcwd()
for _ in range(300):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
with open("sparse", "w") as file:
    file.truncate(1 << 40)
"""


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_hostile_trees_are_shown_and_rolled_back(shell, project, uid):
    """Names with newlines and escape sequences, depth, holes, FIFOs: nothing of it reaches a terminal or stays."""
    if uid:
        for directory in (project, project / "sub"):
            shutil.chown(directory, uid, uid)
    (project / "attack").write_text(HOSTILE_TREE)
    before = tree(project)
    ran = shell.run(
        "--commit", "hold", "--rw", project, "python3", "-I", project / "attack", tier="dangerous", cwd=project, uid=uid
    )
    assert b"held" in ran.stderr, ran.stderr
    number = str(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"])
    for words in ([], ["--stat"], ["--name-status"], ["--tree"], ["--json"]):
        shown = on_terminal(shell, "checkpoint", "diff", *words, number)
        assert b"\x1b]" not in shown
        assert b"\x1b[2J" not in shown
        assert b"owned" in shown or words == ["--stat"]
    assert shell.call("checkpoint", "rollback", number, uid=uid).returncode == 0
    assert tree(project) == before
    state = shell.supervisor.paths.state
    assert not [name for where, _, names in os.walk(f"{state}/layers") for name in names if f"layers/{number}" in where]


def on_terminal(shell, *words):
    """What a terminal would be sent."""
    master, slave = pty.openpty()
    process = shell.start(*words, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    try:
        while part := os.read(master, 65536):
            said += part
    except OSError:  # the end, on a terminal
        pass
    process.wait(60)
    os.close(master)
    return said


def test_names_of_jobs_do_not_reach_the_terminal(shell, place):
    """Commands, directories and errors with escape sequences in list, show and messages."""
    odd = place / "\x1b]0;owned\x07\x1b[31m\nroot"
    odd.mkdir()
    said = on_terminal(shell, "run", "--tier", "safe", "--", "\x1b]0;owned\x07\nfake: line", "x")
    said += on_terminal(shell, "run", "--tier", "safe", "-w", odd, "--", "true", "\x1b]0;owned\x07")
    said += on_terminal(shell, "run", "--rw", odd / "missing", "--", "true")
    said += on_terminal(shell, "list")
    said += on_terminal(shell, "show", str(shell.supervisor.get("/v1/jobs?limit=1")["jobs"][0]["job"]))
    assert b"owned" in said
    assert b"\x1b]" not in said
    assert b"\nfake: line" not in said


def fill_up(path):
    """Take all the space that is left."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    for size in (65536, 1):
        with contextlib.suppress(OSError):
            while True:
                os.write(fd, b"x" * size)
    os.close(fd)


def test_a_full_state_directory(made, place):
    """A job that cannot be put on record is refused and changes nothing; with space again all is as before."""
    os.makedirs(made.paths.state)
    (place / "project").mkdir()
    with mounted("-t", "tmpfs", "-o", "size=4m,mode=700", "none", made.paths.state):
        shell = opened(made.start("--idle-exit", "120"))
        assert shell.run("true").returncode == 0
        fill_up(f"{made.paths.state}/fill")
        words = ["--rw", place / "project", "-c", f"head -c 100k /dev/zero > {place}/project/file"]
        for tier in ("safe", "sequential", "dangerous"):
            shell.run(*words, tier=tier, cwd=place / "project")
        assert made.process.poll() is None
        assert os.listdir(place / "project") in ([], ["file"])
        for name in os.listdir(place / "project"):
            assert (place / "project" / name).stat().st_size == 100 << 10
        os.unlink(f"{made.paths.state}/fill")
        ran = shell.run(*words, tier="sequential", cwd=place / "project")
        assert ran.returncode == 0, ran.stderr
        assert (place / "project/file").stat().st_size == 100 << 10
        made.stop()
        shell.close()


def test_a_full_disk(shell, place):
    """A job's changes are committed whole or not at all, and the supervisor goes on."""
    where = place / "small"
    where.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=3m", "none", where):
        (where / "project").mkdir()
        (where / "project/file").write_text("old")
        before = tree(where / "project")
        line = f"cd {where}/project; echo new > file; head -c 2M /dev/zero > big && head -c 2M /dev/zero > bigger"
        ran = shell.run("--rw", where / "project", "-c", line, tier="sequential", cwd=where / "project")
        assert ran.returncode not in {0, 125}, ran.stderr
        assert tree(where / "project") == before
        fill_up(where / "fill")
        shell.run("--rw", where / "project", "-c", f"echo new > {where}/project/file", tier="sequential")
        assert (where / "project/file").read_text() in {"old", "new\n"}
        (where / "fill").unlink()
        ran = shell.run("--rw", where / "project", "-c", f"echo new > {where}/project/file", tier="sequential")
        assert ran.returncode == 0, ran.stderr
        assert (where / "project/file").read_text() == "new\n"


def test_a_small_disk_that_is_nearly_full(shell, place):
    """A tenth of a small file system has to be free where layers go: refused with the numbers; with room it runs."""
    where, disk = place / "small", place / "disk"
    where.mkdir()
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
    with mounted("-o", "loop", disk, where):
        (where / "project").mkdir()
        words = ("--rw", where / "project", "-c", f"echo new > {where}/project/file")
        ran = shell.run(*words, tier="sequential", cwd=where / "project")
        assert ran.returncode == 0, ran.stderr
        room = os.statvfs(where)
        with open(where / "fill", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (2 << 20))
        ran = shell.run(*words, tier="sequential", cwd=where / "project")
        assert ran.returncode == 75, ran.stderr
        told = rb"\d+ MiB are free where its changes would be kept, .*; \d+ MiB have to be"
        assert re.search(told, ran.stderr), ran.stderr
        (where / "fill").unlink()
        ran = shell.run(*words, tier="sequential", cwd=where / "project")
        assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("tier", ["sequential", "dangerous"])
def test_what_a_job_marks_is_data(shell, place, project, tier):
    """Attributes and devices that look like overlayfs' own neither delete nor move anything of the live tree."""
    (project / "sub/file").write_text("precious")
    code = f"""
    import os
    os.chdir("{project}")
    marks = ("opaque", "redirect", "whiteout", "metacopy")
    for key in [space + ".overlay." + mark for space in ("user", "trusted") for mark in marks]:
        for name in ("sub", "new"):
            try:
                os.makedirs(name, exist_ok=True)
                os.setxattr(name, key, b"y" if "redirect" not in key else b"/../../victim")
            except OSError:
                pass
    for name in ("sub/gone", "sub/file2"):
        try:
            os.mknod(name, 0o20000, 0)
        except OSError:
            pass
    open("sub/made", "w").write("x")
    """
    victim = tree(place / "victim")
    ran = shell.run("--rw", project, "--commit", "auto", *script(code), tier=tier, cwd=project)
    assert (ran.returncode, b"committed" in ran.stderr) == (0, True), ran.stderr
    assert (project / "sub/file").read_text() == "precious"
    assert (project / "sub/made").exists()
    assert not os.path.lexists(project / "sub/gone")
    assert tree(place / "victim") == victim


def test_files_that_root_owns_in_a_users_tree(shell, project):
    """A user's commit neither changes nor removes them, though the job saw itself do so."""
    for directory in (project, project / "sub"):
        shutil.chown(directory, NOBODY, NOBODY)
    (project / "sub/roots").write_text("precious")
    before = at_stake(project / "sub/roots")
    line = f"echo x >> {project}/sub/roots; chmod 777 {project}/sub/roots; touch {project}/sub/own"
    shell.run("--rw", project, "-c", line, uid=NOBODY, tier="sequential", cwd=project)
    assert at_stake(project / "sub/roots") == before
    assert (project / "sub/own").stat().st_uid == NOBODY


def test_what_root_gives_to_others_waits_for_a_word(shell, place, project):
    """In the tier where root's jobs can give: the layer has the real owner, and a commit asks. Root's own lands."""
    (project / "theirs").write_text("old")
    shutil.chown(project / "theirs", NOBODY, NOBODY)
    line = f"echo new >> {project}/theirs; echo mine > {project}/mine"
    ran = shell.run("--commit", "auto", "-c", line, tier="dangerous", cwd=project)
    assert b"committed" in ran.stderr, ran.stderr
    assert (project / "theirs").stat().st_uid == NOBODY
    assert (project / "mine").stat().st_uid == 0
    gift = f"echo gift > {project}/gift; chown 33:33 {project}/gift"
    ran = shell.run("--commit", "auto", "-c", gift, tier="dangerous", cwd=project)
    assert b"held" in ran.stderr, ran.stderr
    number = str(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"])
    assert b"foreign-owner" in shell.call("checkpoint", "commit", number).stderr
    assert not (project / "gift").exists()
    ran = shell.call("checkpoint", "commit", number, "--allow-privileged")
    assert ran.returncode == 0, ran.stderr
    assert ((project / "gift").stat().st_uid, (project / "gift").stat().st_gid) == (33, 33)


@pytest.mark.parametrize("vanishes", [True, False])
def test_a_mount_that_vanishes_takes_only_its_own_changes(shell, place, project, vanishes):
    """While a DANGEROUS job writes to it and elsewhere: the rest is shown and committed, what is lost is named."""
    (place / "mount").mkdir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mounted("-t", "tmpfs", "none", place / "mount"))
        (place / "mount/dir").mkdir()
        (place / "edit").write_text(f"echo new > {place}/mount/dir/file; echo new > {project}/file; echo on; read line")
        read, write = os.pipe()
        words = ["--tier", "dangerous", "--commit", "hold", "--", "sh", place / "edit"]
        job = shell.start("run", *words, stdin=read, cwd=place)
        os.close(read)
        assert job.stdout.readline() == b"on\n"
        if vanishes:
            subprocess.run(["umount", "-l", place / "mount"], check=True)
        os.close(write)
        error = job.communicate(timeout=60)[1]
        lost = f"{place}/mount went with its file system".encode()
        assert (b"held" in error, lost in error) == (True, vanishes), error
        number = str(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"])
        shown = shell.call("checkpoint", "diff", number).stdout
        assert f"{project}/file".encode() in shown
        assert (f"{place}/mount: its changes went".encode() in shown) is vanishes
        ran = shell.call("checkpoint", "commit", number)
        assert ran.returncode == 0, ran.stderr
        assert (project / "file").read_text() == "new\n"
        assert (place / "mount/dir/file").exists() is not vanishes
        if vanishes:
            # For the end of the block, which takes it away again.
            subprocess.run(["mount", "-t", "tmpfs", "none", place / "mount"], check=True)
