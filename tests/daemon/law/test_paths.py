"""One directory is one lock and one place, whatever it is called, linked, mounted or swapped for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.law.conftest import NOBODY, at_stake, mounted, outside, script

pytestmark = [pytest.mark.root, pytest.mark.vm]

RW = {"conditional": "X", "sequential": "U"}


def hold(shell, path, tier="conditional", *words):
    """A job that holds the lock on ``path`` until it is ended."""
    process = shell.start("run", "-q", "--tier", tier, "--rw", path, "--", *(words or ("sleep", "600")), cwd=path)
    until(lambda: any(job["state"] == "running" and str(path) in job["workdir"] for job in listed(shell)))
    return process


def listed(shell):
    return shell.supervisor.get("/v1/jobs?limit=50")["jobs"]


def blocked(shell, path, tier="conditional"):
    ran = shell.run("--lock-timeout", "0.3", "--rw", path, "true", tier=tier)
    assert ran.returncode in {0, 75}, ran.stderr
    return ran.returncode == 75


@pytest.mark.parametrize(
    "name", ["plain", "a b", "new\nline", "form\ffeed", "line\u2028end", "re\rturn", "back\\slash", "#x"]
)
def test_two_mounts_of_one_directory_are_one_lock(shell, place, name):
    """Whatever they are called; a directory beside is another."""
    for directory in ("source/below", name, "beside"):
        (place / directory).mkdir(parents=True)
    with mounted("--bind", place / "source", place / name):
        holder = hold(shell, place / "source")
        assert blocked(shell, place / name)
        assert blocked(shell, place / name / "below", "sequential")
        assert not blocked(shell, place / "beside")
        holder.kill()
        until(lambda: not blocked(shell, place / name))


def test_a_mount_of_a_parent_is_the_same_lock(shell, place):
    """The directory within it is found under the other mount's path, too."""
    (place / "a/b/c").mkdir(parents=True)
    (place / "m").mkdir()
    with mounted("--bind", place / "a", place / "m"):
        hold(shell, place / "m/b")
        assert blocked(shell, place / "a/b/c")
        assert blocked(shell, place / "a")


def test_a_mount_of_a_single_file_is_read_only_beside_the_overlays(shell, place):
    """Containers have /etc/hosts so: no overlay can be put over it. All else is in layers, and held."""
    for name in ("source", "file"):
        (place / name).write_text("precious")
    with mounted("--bind", place / "source", place / "file"):
        line = "cat file; echo x >file; rm -f source; echo new >other"
        ran = shell.run("--commit", "hold", "sh", "-c", 'eval "$0"; test -e other', line, tier="dangerous", cwd=place)
        assert ran.returncode == 0, ran.stderr
        assert b"precious" in ran.stdout
        assert b"Read-only file system" in ran.stderr
        assert b"held as checkpoint" in ran.stderr
        assert (place / "file").read_text() == (place / "source").read_text() == "precious"
        assert not (place / "other").exists()
        (place / "file").write_text("x")  # the control: outside it can be written


@pytest.mark.parametrize("write", ["conditional", "sequential", "dangerous"])
def test_state_and_layers_are_hidden_under_every_name(shell, place, write):
    """Neither readable nor writable through another mount of their file system; there is something to see."""
    state = shell.supervisor.paths.state
    (place / "again").mkdir()
    with mounted("--bind", state, place / "again"):
        attack = ["sh", "-c", f"ls -A {place}/again; echo x > {place}/again/planted"]
        ran = shell.run("-q", *attack)
        assert b"cbx.db" not in ran.stdout
        shell.run("-q", "--rw", place / "again", *attack, tier=write)
        assert not (place / "again/planted").exists()
        assert b"cbx.db" in outside(["ls", place / "again"]).stdout


def test_another_jobs_layers_cannot_be_forged(shell, place):
    """Held changes lie at the root of a bind mount, which is a plain directory by its other name."""
    for name in ("whole", "part"):
        (place / name).mkdir()
    with mounted("-t", "tmpfs", "none", place / "whole"):
        (place / "whole/project/sub").mkdir(parents=True)
        (place / "whole/project/sub/file").write_text("old")
        with mounted("--bind", place / "whole/project/sub", place / "part"):
            edit = ["sh", "-c", f"echo new > {place}/part/file"]
            held = shell.run("--commit", "hold", "--rw", place / "part", *edit, tier="sequential")
            assert b"checkpoint" in held.stderr
            number = shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"]
            layer = next((place / "whole/project/sub/.cbx/layers").glob(f"{number}/*/upper/file"))
            (place / "whole/project/attack").write_text(f"echo forged > {layer}; find {place}/whole")
            attack = ["sh", place / "whole/project/attack"]
            ran = shell.run("--rw", place / "whole/project", *attack, tier="conditional", cwd=place / "whole/project")
            assert b"whole/project/sub" in ran.stdout, ran.stderr
            assert b"upper" not in ran.stdout
            assert layer.read_text() == "new\n"
            outside(attack)
            assert layer.read_text() == "forged\n"
            shell.call("checkpoint", "rollback", str(number))


def edited(shell, project):
    """A held change of a DANGEROUS job's in ``project``: its checkpoint's number, and where its layer is."""
    # Not a line that the analysis reads: it would ask for a lock on the directory.
    edit = project.parent / "edit"
    edit.write_text(f"echo new > {project}/file")
    ran = shell.run(
        "--commit", "hold", "--lock-timeout", "5", "-c", f'eval "$(sed "" {edit})"', tier="dangerous", cwd="/var/tmp"
    )
    assert b"held" in ran.stderr, ran.stderr
    number = shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"]
    roots = [Path(shell.supervisor.paths.layers), *(path / ".cbx/layers" for path in (project, *project.parents))]
    found = [root for root in roots for layer in root.glob(f"{number}/*/upper") if list(layer.rglob("file"))]
    assert len(found) == 1
    return str(number), found[0]


PREPARED = {
    "nothing": ":",
    "a directory": "mkdir -m 700 .cbx .cbx/layers .cbx/layers/mine",
    "a link": "mkdir -m 700 .cbx; ln -s /var/tmp .cbx/layers",
    "another name": "mkdir .cbx; mv .cbx cbx",
}


@pytest.mark.parametrize("what", PREPARED)
def test_no_layers_where_a_running_job_can_reach_them(shell, place, what):
    """The first layer on a file system, whose root a job of root's writes directly: nothing could hide it from that.

    It goes elsewhere then, also if the job prepared a place; and later only to a place that nobody prepared.
    """
    (place / "mount").mkdir()
    with mounted("-t", "tmpfs", "none", place / "mount"):
        (place / "mount/project").mkdir()
        words = ["sh", "-c", f"cd {place}/mount; {PREPARED[what]}; touch ready; sleep 600"]
        holder = hold(shell, place / "mount", "conditional", *words)
        until((place / "mount/ready").exists)
        number, where = edited(shell, place / "mount/project")
        assert where == Path(shell.supervisor.paths.layers)
        holder.kill()
        until(lambda: not blocked(shell, place / "mount"))
        assert shell.call("checkpoint", "commit", number).returncode == 0
        assert (place / "mount/project/file").read_text() == "new\n"
        number, where = edited(shell, place / "mount/project")
        prepared = what in {"a directory", "a link"}
        assert (where == place / "mount/.cbx/layers") is not prepared
        shell.call("checkpoint", "rollback", number)
        # Control: a job that starts now may write there too, and does not see it.
        seen = shell.run("--rw", place / "mount", "sh", "-c", f"ls -A {place}/mount/.cbx", tier="conditional")
        assert (seen.stdout == b"") is not prepared, seen.stderr
        assert list((place / "mount/.cbx").iterdir())


def test_a_commit_does_not_take_the_place_of_layers(shell, place):
    """A job made a directory of that name before there was one: even by force it is not committed over it."""
    for name in ("project/sub", "again"):
        (place / name).mkdir(parents=True)
    line = f"mkdir {place}/project/sub/.cbx; echo x > {place}/project/sub/.cbx/mine"
    words = ["--commit", "hold", "--rw", place / "project", "-c", line]
    assert shell.run(*words, tier="sequential", cwd=place).returncode == 0
    first = str(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"])
    with mounted("--bind", place / "project/sub", place / "again"):
        second, where = edited(shell, place / "again")
        assert where == place / "again/.cbx/layers"
        for force in ("abort", "ours"):
            assert shell.call("checkpoint", "commit", first, "--on-conflict", force).returncode != 0
        assert not (place / "project/sub/.cbx/mine").exists()
        assert shell.call("checkpoint", "commit", second).returncode == 0
        assert (place / "project/sub/file").read_text() == "new\n"
    # Control: when cbx keeps nothing there, it is a name like any other.
    shutil.rmtree(place / "project/sub/.cbx")
    ran = shell.call("checkpoint", "commit", first, "--on-conflict", "ours")
    assert ran.returncode == 0, ran.stderr
    assert (place / "project/sub/.cbx/mine").exists()


def test_a_user_cannot_put_a_link_in_the_place_of_layers(shell, place):
    """At the root of a mount that a user owns, root's own directory could be moved away: layers are kept elsewhere."""
    (place / "home").mkdir()
    (place / "victim/layers").mkdir(parents=True)
    with mounted("-t", "tmpfs", "-o", f"mode=755,uid={NOBODY}", "none", place / "home"):
        (place / "home/project").mkdir()
        shutil.chown(place / "home/project", NOBODY, NOBODY)
        edit = ["sh", "-c", f"echo new > {place}/home/project/file"]
        ran = shell.run("--commit", "hold", "--rw", place / "home/project", *edit, tier="sequential", uid=NOBODY)
        assert b"held" in ran.stderr, ran.stderr
        number = shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"]
        precious = place / f"victim/layers/{number}/0/precious"
        precious.parent.mkdir(parents=True)
        precious.write_text("x")
        swap = f"mv {place}/home/.cbx {place}/home/gone; ln -s {place}/victim {place}/home/.cbx"
        outside(["sh", "-c", swap], uid=NOBODY)
        assert os.path.islink(place / "home/.cbx")
        rolled = shell.call("checkpoint", "rollback", str(number), uid=NOBODY)
        assert rolled.returncode == 0, rolled.stderr
        assert precious.exists()


def test_a_users_link_of_that_name_stops_nobody(shell, place):
    """Not the user's own jobs and not those of others: it is not what cbx keeps for layers."""
    (place / "home").mkdir()
    with mounted("-t", "tmpfs", "-o", f"mode=755,uid={NOBODY}", "none", place / "home"):
        outside(["ln", "-s", "/", place / "home/.cbx"], uid=NOBODY)
        assert os.path.islink(place / "home/.cbx")
        assert shell.run("true").returncode == 0
        assert shell.run("true", tier="dangerous").returncode == 0


def test_a_user_mounts_root_still_commits(shell, place):
    """By copying, where nothing can be renamed in."""
    (place / "home").mkdir()
    with mounted("-t", "tmpfs", "-o", f"mode=755,uid={NOBODY}", "none", place / "home"):
        edit = ["sh", "-c", f"echo new > {place}/home/file"]
        ran = shell.run("--rw", place / "home", *edit, tier="sequential", uid=NOBODY)
        assert b"committed" in ran.stderr, ran.stderr
        assert os.listdir(place / "home") == ["file"]
        assert (place / "home/file").stat().st_uid == NOBODY


@pytest.mark.parametrize("tier", RW)
@pytest.mark.parametrize("what", ["link", "parent", "directory", "gone"])
def test_a_directory_swapped_while_its_job_waits(shell, place, tier, what):
    """It is planned again: nothing lands in what somebody put in its place without a lock on that."""
    project, victim = place / "parent/project", place / "victim"
    project.mkdir(parents=True)
    (victim / "project").mkdir(parents=True)
    holder = hold(shell, project)
    line = f"echo attack > {project}/written; sleep 1"
    waiting = shell.start("run", "--tier", tier, "--rw", project, "-c", line)
    until(lambda: any(job["state"] == "queued" for job in listed(shell)))
    # Whoever wants what is behind the new name must wait for that, too.
    guard = hold(shell, victim)
    if what == "parent":
        (place / "parent").rename(place / "moved")
        (place / "parent").symlink_to(victim)
    else:
        project.rename(place / "moved")
        if what == "link":
            project.symlink_to(victim)
        elif what == "directory":
            project.mkdir()
    holder.kill()
    if what in {"link", "parent"}:
        until(lambda: any(job["state"] == "queued" and job["command"] == line for job in listed(shell)))
        assert not list(victim.rglob("written"))
        guard.kill()
    _, said = waiting.communicate(timeout=60)
    assert not list((place / "moved").rglob("written"))
    if what == "directory":
        assert os.listdir(project) == ["written"], said


def exchange(one, other):
    assert ctypes.CDLL(None).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0


def test_two_directories_that_change_places_all_the_time(shell, place):
    """What a job saw of one is never committed into the other."""
    for name in ("one", "two"):
        (place / name).mkdir()
        (place / name / "who").write_text(name)
    done = threading.Event()

    def swap():
        while not done.is_set():
            exchange(place / "one", place / "two")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(12):
            shell.run(
                "-q",
                "--lock-timeout",
                "5",
                "--rw",
                place / "one",
                "-c",
                # One look-up: a command that asks twice for a name may be led to both, here as anywhere.
                f"cd {place}/one && cp who copy",
                tier="sequential",
            )
    finally:
        done.set()
        thread.join()
    for name in ("one", "two"):
        if (place / name / "copy").exists():
            assert (place / name / "copy").read_text() == (place / name / "who").read_text()


def test_a_link_inside_the_lock_set_to_a_file_outside(shell, place):
    """It is not written in place: the job is given an overlay, and its commit breaks the link."""
    for name in ("project", "outside"):
        (place / name).mkdir()
    victim = place / "outside/victim"
    victim.write_text("precious")
    os.link(victim, place / "project/link")
    before = at_stake(victim)
    attack = ["sh", "-c", f"echo attack >> {place}/project/link"]
    ran = shell.run("--json", "--rw", place / "project", *attack, tier=None)
    assert ran.returncode == 0, ran.stderr
    assert at_stake(victim)[5] == before[5]
    assert (place / "project/link").read_text() == "preciousattack\n"
    os.unlink(place / "project/link")
    os.link(victim, place / "project/link")
    outside(attack)
    assert at_stake(victim)[5] != before[5]


def test_a_job_cannot_link_a_file_into_its_directory(shell, place):
    """Neither from outside nor from another directory of its lock set: a link would be a name outside both."""
    for name in ("one", "two", "outside"):
        (place / name).mkdir()
    (place / "outside/victim").write_text("precious")
    (place / "two/file").write_text("x")
    attack = script(f"""
    import os
    for old in ("{place}/outside/victim", "{place}/two/file"):
        try:
            os.link(old, "{place}/one/" + old.replace("/", "-"))
        except OSError:
            pass
    """)
    ran = shell.run("--rw", place / "one", "--rw", place / "two", *attack, tier="conditional", cwd=place / "one")
    assert (ran.returncode, os.listdir(place / "one")) == (0, [])
    outside(attack)
    assert len(os.listdir(place / "one")) == 2


def test_restrictions_hold_against_tricks(shell, place):
    """--ro and --hide within what may be written: no rename, remount, link or other name gets around them."""
    project = place / "project"
    (project / "kept/in").mkdir(parents=True)
    (project / "secret").mkdir()
    (project / "kept/file").write_text("precious")
    (project / "secret/file").write_text("secret")
    attack = f"""
    cd {project}; mv kept away; mkdir -p kept; echo x > kept/file; rm -rf kept; ln kept/file link; echo x >> link
    mount -o remount,rw,bind kept; umount kept; umount secret; mv secret away; cat secret/file away/file
    cat /proc/self/root{project}/secret/file; echo x > /proc/self/root{project}/kept/file; true
    """
    (project / "attack").write_text(attack)
    for tier in ("conditional", "sequential", "dangerous"):
        options = ["--rw", project, "--ro", project / "kept", "--hide", project / "secret", "--commit", "never"]
        # By a way that the analysis does not see: it would refuse to change mounts.
        ran = shell.run(*options, "sh", "-c", 'eval "$(sed "" attack)"', tier=tier, cwd=project)
        assert ran.returncode == 0, ran.stderr
        assert b"secret\n" not in ran.stdout.replace(b"secret/", b"")
        assert (project / "kept/file").read_text() == "precious"
        assert (project / "secret/file").read_text() == "secret"
    with contextlib.suppress(FileNotFoundError):
        outside(["sh", "-c", f"cd {project}; mv kept away; mkdir kept; echo x > kept/file"])
    assert (project / "kept/file").read_text() == "x\n"


def test_the_live_tree_is_not_reached_through_the_mount_table(shell, place):
    """A mount made on the host meanwhile does not appear inside, nor can the job make one."""
    (place / "project/below").mkdir(parents=True)
    (place / "victim").mkdir()
    attack = f"""
    import ctypes
    print("ready", flush=True)
    input()
    below = b"{place}/project/below"
    for _ in range(2):
        try:
            open(below + b"/planted", "w").write("attack")
        except OSError:
            pass
        ctypes.CDLL(None).mount(b"{place}/victim", below, None, 4096, None)
    """
    job = shell.start(
        "run",
        "-q",
        "--tier",
        "conditional",
        "--rw",
        place / "project",
        "--",
        *script(attack),
        stdin=subprocess.PIPE,
        cwd=place / "project",
    )
    assert (job.stdout.readline() or job.stderr.read()) == b"ready\n"
    with mounted("--bind", place / "victim", place / "project/below"):
        job.communicate(b"go\n", timeout=60)
    assert os.listdir(place / "victim") == []


@pytest.mark.parametrize("gone", [True, False])
def test_what_is_to_be_hidden_may_be_gone_by_then(shell, place, gone):
    """A path that vanishes while its job waits is hidden well enough; one that is there is hidden (the control)."""
    for name in ("project", "secret"):
        (place / name).mkdir()
    (place / "secret/file").write_text("secret")
    holder = hold(shell, place / "project")
    words = ["--rw", place / "project", "--hide", place / "secret", "ls", place]
    waiting = shell.start("run", "--tier", "conditional", *words, cwd=place / "project")
    until(lambda: any(job["state"] == "queued" for job in listed(shell)))
    if gone:
        shutil.rmtree(place / "secret")
    holder.kill()
    out, error = waiting.communicate(timeout=60)
    assert (waiting.returncode, b"secret" in out) == (0, not gone), error
    ran = shell.run("--hide", place / "secret", "ls", place / "secret")
    assert (ran.returncode, ran.stdout) == (125 if gone else 0, b""), ran.stderr
