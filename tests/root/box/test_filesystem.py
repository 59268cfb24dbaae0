"""Containment cases, section 1: what a job can do to files. Attacks aim at sacrificial files, with their controls."""

import os
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from tests.root.box.harness import (
    CONDITIONAL,
    DANGEROUS,
    NOBODY,
    PATIENCE,
    PRELUDE,
    PYTHON,
    ROOT,
    SAFE,
    SEQUENTIAL,
    NotStartedError,
    is_whiteout,
    native,
    python,
    read,
    without,
)

from cbx_sandbox.box import operations as ops
from cbx_sandbox.box import userns
from cbx_sandbox.linux import mountinfo, mounts

pytestmark = [pytest.mark.root, pytest.mark.vm]

IDENTITIES = pytest.mark.parametrize("identity", [ROOT, NOBODY], ids=["root", "user"])
# The mounts must hold on their own: Landlock is not on every host.
LANDLOCK = pytest.mark.parametrize("landlock", [False, True], ids=["mounts-alone", "with-landlock"])

WRITE_EVERY_WAY = """
path = {path!r}
attempt("overwrite", lambda: write(path))
attempt("append", lambda: write(path, flags=os.O_WRONLY | os.O_APPEND))
attempt("truncate", lambda: os.truncate(path, 0))
attempt("chmod", lambda: os.chmod(path, 0o777))
attempt("utime", lambda: os.utime(path))
attempt("xattr", lambda: os.setxattr(path, "user.attack", b"x"))
attempt("rename", lambda: os.rename(path, path + ".moved") or os.rename(path + ".moved", path))
attempt("link", lambda: os.link(path, path + ".link") or os.unlink(path + ".link"))
attempt("symlink", lambda: os.symlink(path, path + ".symlink") or os.unlink(path + ".symlink"))
attempt("create", lambda: write(path + ".new", flags=os.O_CREAT | os.O_WRONLY) or os.unlink(path + ".new"))
attempt("mkdir", lambda: os.mkdir(path + ".dir") or os.rmdir(path + ".dir"))
attempt("mkfifo", lambda: os.mkfifo(path + ".fifo") or os.unlink(path + ".fifo"))
attempt("unlink", lambda: os.unlink(path))
say()
"""


@IDENTITIES
@LANDLOCK
def test_case_001_a_safe_job_changes_no_file_in_any_way(box, identity, landlock):
    """Each kind of change is refused as the file system being read-only (or by Landlock); natively each is done."""
    victim = box.victim()
    before = os.stat(victim)
    answers = box.attack(WRITE_EVERY_WAY.format(path=victim), box.policy(identity=identity), landlock=landlock)
    assert set(answers.values()) <= {"EROFS", "EACCES", "EPERM"}
    assert os.stat(victim) == before
    assert os.listdir(os.path.dirname(victim)) == ["file"]
    os.chown(victim, identity.uid, identity.gid)
    control = native(python(WRITE_EVERY_WAY.format(path=victim)), uid=identity.uid)
    assert set(control.answers.values()) == {"done"}


@IDENTITIES
@LANDLOCK
def test_case_001_a_conditional_job_writes_live_beneath_its_grant_and_nowhere_else(box, identity, landlock):
    """The grant is the control of the refusal beside it: same attack, same job."""
    granted, victim = box.victim(), box.victim()
    for path in (granted, victim):
        os.chown(path, identity.uid, identity.gid)
    policy = box.policy(CONDITIONAL, identity=identity, direct=[os.path.dirname(granted)])
    code = WRITE_EVERY_WAY.format(path=granted).replace("say()", "here, answers = answers, {}")
    answers = box.attack(
        code + WRITE_EVERY_WAY.format(path=victim).replace("say()", "say(here=here)"), policy, landlock=landlock
    )
    assert set(answers.pop("here").values()) == {"done"}
    assert not os.path.exists(granted)
    assert set(answers.values()) <= {"EROFS", "EACCES", "EPERM"}
    assert read(victim) == "precious\n"


@IDENTITIES
@LANDLOCK
def test_case_001_a_sequential_job_writes_to_its_layer_and_the_live_tree_stays(box, identity, landlock):
    """Inside, the change is seen; outside, only the upper layer has it. The job itself is the control."""
    victim, other = box.victim(), box.victim()
    policy = box.policy(SEQUENTIAL, identity=identity, overlay=[os.path.dirname(victim)])
    code = f"""
attempt("inside", lambda: write({victim!r}))
attempt("outside", lambda: write({other!r}))
say(seen=open({victim!r}).read())
"""
    answers = box.attack(code, policy, landlock=landlock)
    assert answers["inside"] == "done"
    assert answers["outside"] in {"EROFS", "EACCES"}
    assert answers["seen"].startswith("attack")
    assert read(victim) == read(other) == "precious\n"
    assert read(box.written(victim)) == answers["seen"]


@pytest.mark.parametrize(
    ("identity", "shifted"), [(ROOT, True), (ROOT, False), (NOBODY, False)], ids=["shifted", "root", "user"]
)
@LANDLOCK
def test_case_001_a_dangerous_job_writes_everywhere_and_the_host_stays(box, identity, shifted, landlock):
    """The overlay covers every writable mount: what the job changed lies in the upper layer alone."""
    victim = box.victim()
    policy = box.policy(DANGEROUS, identity=identity, shifted=shifted)
    code = f"""
attempt("write", lambda: write({victim!r}))
attempt("create", lambda: write({victim!r} + ".new", flags=os.O_CREAT | os.O_WRONLY))
say(seen=open({victim!r}).read())
"""
    answers = box.attack(code, policy, landlock=landlock)
    assert answers == {"write": "done", "create": "done", "seen": "attackus\n"}
    assert os.listdir(os.path.dirname(victim)) == ["file"]
    assert read(victim) == "precious\n"
    assert read(box.written(victim)) == "attackus\n"
    # The ids in the layer are those that a commit would write, not the shifted ones.
    assert os.stat(box.written(victim + ".new")).st_uid == identity.uid


@pytest.mark.parametrize("tier", [SEQUENTIAL, DANGEROUS])
def test_case_002_removing_a_whole_tree_leaves_whiteouts_in_the_layer(box, tier):
    """rm -rf on a tree of the job's own: inside it is gone, outside it is whole; natively it is gone."""
    tree = box.sacrifice()
    for name in ("a/b/c", "d"):
        os.makedirs(os.path.join(tree, "top", name))
    policy = box.policy(tier, overlay=[tree])
    ran = box.run(["sh", "-c", f"rm -rf {tree}/top && ls -A {tree}"], policy)
    assert (ran.code, ran.out) == (0, "")
    assert sorted(os.listdir(f"{tree}/top")) == ["a", "d"]
    assert is_whiteout(box.written(f"{tree}/top"))
    assert native(["sh", "-c", f"rm -rf {tree}/top && ls -A {tree}"]).out == ""
    assert not os.path.exists(f"{tree}/top")


@pytest.fixture
def second_mount(box):
    """A file system of its own, mounted in a sacrificial directory, with a file below the mount that it shadows."""
    directory = box.sacrifice("mount")
    with open(f"{directory}/shadowed", "w", encoding="utf-8") as file:
        file.write("below\n")
    tree = mounts.new_mount("tmpfs", {"size": "8m", "mode": "0777"})
    mounts.move_mount(tree, directory)
    os.close(tree)
    with open(f"{directory}/file", "w", encoding="utf-8") as file:
        file.write("precious\n")
    os.chmod(f"{directory}/file", 0o666)
    yield directory
    mounts.umount(directory, mounts.MNT_DETACH)


@pytest.mark.parametrize("shifted", [True, False], ids=["shifted", "root"])
def test_case_003_every_writable_mount_has_an_overlay_of_its_own(box, second_mount, shifted):
    """A file of another mount is removed inside only; its whiteout lies in that mount's layer."""
    policy = box.policy(DANGEROUS, shifted=shifted)
    ran = box.run(["sh", "-c", f"rm -rf {second_mount}/file && ls -A {second_mount}"], policy)
    assert ran.code == 0
    assert "file" not in ran.out
    assert read(f"{second_mount}/file") == "precious\n"
    assert is_whiteout(f"{box.upper(second_mount)}/file")
    assert native(["rm", f"{second_mount}/file"]).code == 0
    assert not os.path.exists(f"{second_mount}/file")


def test_case_003_a_mount_below_an_overlaid_directory_is_read_only(box, second_mount):
    """A SEQUENTIAL overlay over the parent does not open the mount inside it."""
    parent = os.path.dirname(second_mount)
    victim = f"{second_mount}/file"
    code = f"attempt('write', lambda: write({victim!r})); say(seen=open({victim!r}).read())"
    answers = box.attack(code, box.policy(SEQUENTIAL, overlay=[parent]), landlock=False)
    assert answers == {"write": "EROFS", "seen": "precious\n"}
    assert native(python(code)).answers == {"write": "done", "seen": "attackus\n"}


def test_case_003_a_mount_below_a_live_directory_is_read_only(box, second_mount):
    """Write access to a directory does not reach into the mounts below it: they are other lock keys."""
    parent = os.path.dirname(second_mount)
    victim = f"{second_mount}/file"
    code = f"attempt('write', lambda: write({victim!r})); say(seen=open({victim!r}).read())"
    answers = box.attack(code, box.policy(CONDITIONAL, direct=[parent]), landlock=False)
    assert answers == {"write": "EROFS", "seen": "precious\n"}
    assert native(python(code)).answers == {"write": "done", "seen": "attackus\n"}


@pytest.mark.parametrize("tier", [SAFE, DANGEROUS])
def test_case_004_a_mount_made_on_the_host_later_does_not_appear_inside(box, tier):
    """The host's root is shared here, so a copy that still received mounts would show it; a native process sees it."""
    directory = box.sacrifice("late")
    code = f"sys.stdin.readline(); say(found=os.listdir({directory!r}))"
    here, there = os.pipe(), os.pipe()
    job = box.start(python(f"print('up', flush=True)\n{code}"), box.policy(tier), stdin=here[0])
    control = subprocess.Popen([*PYTHON, f"{PRELUDE}\n{code}"], stdin=there[0], stdout=subprocess.PIPE, text=True)
    job.read_until("up")
    tree = mounts.new_mount("tmpfs", {})
    mounts.move_mount(tree, directory)
    os.close(tree)
    try:
        os.mkdir(f"{directory}/appeared")
        for read_end, write_end in (here, there):
            os.write(write_end, b"\n")
            os.close(write_end)
            os.close(read_end)
        assert job.wait().answers["found"] == []
        assert '"appeared"' in control.communicate(timeout=PATIENCE)[0]
    finally:
        mounts.umount(directory, mounts.MNT_DETACH)


@pytest.mark.parametrize("tier", [SAFE, DANGEROUS])
def test_case_005_what_lies_below_a_mount_stays_hidden(box, second_mount, tier):
    """A clone of the mount beneath it, which is what overlays are made of, shows the shadowed file: the control."""
    answers = box.attack(f"say(found=os.listdir({second_mount!r}))", box.policy(tier))
    assert answers["found"] in (["file"], ["file", ".cbx"], [".cbx", "file"])
    parent = os.path.dirname(second_mount)
    tree = mounts.open_tree(parent)
    try:
        name = os.path.basename(second_mount)
        assert os.listdir(os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree)) == ["shadowed"]
    finally:
        os.close(tree)


def test_case_006_the_layer_of_a_shifted_job_has_the_ids_that_a_commit_needs(box):
    """Created, given away, made setuid: on disk these are 0, 1000 and 4755, not ids of the shifted range.

    The control is a file system of the box that is mounted without a map.
    """
    directory = box.sacrifice()
    code = f"""
os.chdir({directory!r})
for name in ("own", "given"):
    write(name, flags=os.O_CREAT | os.O_WRONLY)
os.chown("given", 1000, 1000)
os.chmod("own", 0o4755)
say(uid=os.stat("given").st_uid)
"""
    assert box.attack(code, box.policy(DANGEROUS)) == {"uid": 1000}
    own, given = (os.stat(box.written(f"{directory}/{name}")) for name in ("own", "given"))
    assert (own.st_uid, own.st_gid, stat.S_IMODE(own.st_mode)) == (0, 0, 0o4755)
    assert (given.st_uid, given.st_gid) == (1000, 1000)
    code = "write('/run/tmp/own', flags=os.O_CREAT | os.O_WRONLY); print('up', flush=True); time.sleep(600)"
    job = box.start(python(code), box.policy(DANGEROUS))
    job.read_until("up")
    assert os.stat(f"/proc/{job.pid}/root/run/tmp/own").st_uid >= userns.FIRST_ID
    job.control.kill()
    job.wait()


def test_case_007_a_setuid_file_in_a_layer_cannot_be_executed_by_users_of_the_host(box):
    """The layers' directory is root's alone. The control: the same file where others can reach it gives root."""
    directory = box.sacrifice()
    code = f"""
import shutil
shutil.copy("/usr/bin/id", {directory!r} + "/id")
os.chmod({directory!r} + "/id", 0o4755)
say()
"""
    box.attack(code, box.policy(DANGEROUS))
    trap = box.written(f"{directory}/id")
    assert os.stat(trap).st_mode & stat.S_ISUID
    with pytest.raises(PermissionError):
        native([trap, "-u"], uid=NOBODY.uid)
    reachable = f"{box.sacrifice()}/id"
    subprocess.run(["cp", "-p", trap, reachable], check=True)
    assert native([reachable, "-u"], uid=NOBODY.uid).out == "0\n"


@pytest.mark.parametrize("shifted", [True, False], ids=["shifted", "root"])
def test_case_009_010_an_overlay_s_own_marks_cannot_be_forged(box, shifted):
    """Whiteouts, opaque, redirect and metacopy marks would make a commit delete or pull in files of the host."""
    directory = box.sacrifice()
    code = f"""
os.chdir({directory!r})
os.mkdir("dir")
attempt("whiteout", lambda: os.mknod("gone", stat.S_IFCHR | 0o600, os.makedev(0, 0)))
for name in ("opaque", "redirect", "metacopy", "origin"):
    attempt(name, lambda: os.setxattr("dir", f"trusted.overlay.{{name}}", b"y"))
say()
"""
    answers = box.attack(code, box.policy(DANGEROUS, shifted=shifted))
    assert set(answers.values()) == {"EPERM"}
    assert set(native(python(code)).answers.values()) == {"done"}


def _opaque(upper):
    os.mkdir(upper)
    os.setxattr(upper, "trusted.overlay.opaque", b"y")


def test_case_011_user_overlay_attributes_are_plain_data(box):
    """Some kernels let anybody set them; in a trusted-mode overlay they hide nothing and lead nowhere."""
    directory = box.sacrifice()
    os.mkdir(f"{directory}/dir")
    for name in ("lower", "elsewhere"):
        os.mkdir(f"{directory}/dir/{name}")
    code = f"""
os.chdir({directory!r})
os.mkdir("dir/new")
attempt("opaque", lambda: os.setxattr("dir", "user.overlay.opaque", b"y"))
attempt("redirect", lambda: os.setxattr("dir/new", "user.overlay.redirect", b"/dir/elsewhere"))
say(found=sorted(os.listdir("dir")))
"""
    answers = box.attack(code, box.policy(SEQUENTIAL, overlay=[directory]))
    assert answers["found"] == ["elsewhere", "lower", "new"]
    upper = box.written(f"{directory}/dir")
    assert not [name for name in os.listxattr(upper) if name == "trusted.overlay.opaque"]
    if answers["opaque"] == "done":
        assert os.getxattr(upper, "user.overlay.opaque") == b"y"
    # The control: the attribute that does hide, which no job can set, set from outside before the job begins.
    hidden = box.attack(
        "say(found=sorted(os.listdir('dir')))",
        box.policy(SEQUENTIAL, overlay=[directory], workdir=directory),
        before_launch=lambda: _opaque(box.written(f"{directory}/dir")),
    )
    assert hidden["found"] == []


@pytest.mark.parametrize("tier", [SAFE, CONDITIONAL, SEQUENTIAL, DANGEROUS])
def test_case_013_the_state_directory_is_an_empty_place_inside(box, tier):
    """In every tier, also where a grant reaches it from above. The control leaves the mask out."""
    with open(f"{box.state}/secret", "w", encoding="utf-8") as file:
        file.write("layers")
    grants = {CONDITIONAL: {"direct": [box.home]}, SEQUENTIAL: {"overlay": [box.home]}}.get(tier, {})
    code = f"""
attempt("create", lambda: write({box.state!r} + "/planted", flags=os.O_CREAT | os.O_WRONLY))
say(found=os.listdir({box.state!r}))
"""
    answers = box.attack(code, box.policy(tier, **grants))
    assert answers["found"] == []
    assert answers["create"] in {"EROFS", "EACCES"}
    control = box.attack(code, box.policy(SAFE), alter=without(ops.Hide))
    assert "secret" in control["found"]
    os.unlink(f"{box.state}/secret")


def test_case_014_the_layers_cannot_be_reached_through_another_root(box):
    """/proc/1/root and the like lead nowhere; natively root walks through the root of a process of its own."""
    code = """
for link in ("root", "cwd", "exe", "fd"):
    attempt(link, lambda: os.listdir(f"/proc/1/{link}"))
say()
"""
    for policy in (box.policy(), box.policy(DANGEROUS), box.policy(DANGEROUS, identity=NOBODY)):
        assert set(box.attack(code, policy).values()) <= {"EACCES", "ENOENT", "EPERM"}
    assert os.listdir(f"/proc/{os.getpid()}/root")


SWAPS = {
    "target": lambda project, victim: (os.rename(project, project + ".old"), os.symlink(victim, project)),
    "parent": lambda project, victim: (
        os.rename(os.path.dirname(project), os.path.dirname(project) + ".old"),
        os.symlink(os.path.dirname(victim), os.path.dirname(project)),
    ),
    "directory": lambda project, victim: (os.rename(project, project + ".old"), os.mkdir(project)),
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL])
def test_case_016_a_mount_target_swapped_after_the_grant_fails_closed(box, tier, swap):
    """A symlink, or another directory, where the locked directory was: the job does not start.

    An overlay over a new directory of the same name would be harmless, and may start: it shows the locked tree.
    """
    home = box.sacrifice()
    project, victim = f"{home}/parent/work", f"{home}/elsewhere/work"
    for path in (project, victim):
        os.makedirs(path)
    grants = {"direct": [project]} if tier is CONDITIONAL else {"overlay": [project]}
    ran = box.run(
        ["touch", f"{project}/planted"],
        box.policy(tier, **grants),
        before_launch=lambda: SWAPS[swap](project, victim),
    )
    assert os.listdir(victim) == []
    if tier is SEQUENTIAL and swap == "directory":
        assert os.listdir(project) == []
        return
    assert ran.outcome["reason"] == "not-started"
    assert ran.failure is not None
    assert project in ran.failure["step"]
    # The control: a mount by path follows the link, and the attack lands in the victim.
    if swap != "directory":
        assert native(["touch", f"{project}/planted"]).code == 0
        assert os.listdir(victim) == ["planted"]


@pytest.mark.parametrize("kind", ["hide", "readonly", "tmpfs"])
def test_case_016_masks_do_not_follow_links_either(box, kind):
    """A path to hide that became a symlink fails closed instead of masking something else and leaving it open."""
    home = box.sacrifice()
    target = f"{home}/target"
    os.mkdir(target)
    swap = lambda: (os.rmdir(target), os.symlink("/usr", target))  # noqa: E731
    assert box.run(["true"], box.policy(**{kind: [target]})).code == 0
    ran = box.run(["true"], box.policy(**{kind: [target]}), before_launch=swap)
    assert ran.outcome["reason"] == "not-started"


HIDDEN = """
os.chdir({home!r})
def content(path):
    try:
        return open(path).read()
    except OSError as error:
        return errno.errorcode[error.errno]
attempt("replace", lambda: os.symlink("decoy", ".tmp") or os.rename(".tmp", ".env"))
attempt("move away", lambda: os.rename(".env", "moved"))
attempt("unlink", lambda: os.unlink(".env"))
attempt("link", lambda: os.link(".env", "linked"))
attempt("write", lambda: write(".env"))
names = [".env", "./.env", "../" + os.path.basename({home!r}) + "//.env", "moved", "linked", "/proc/self/cwd/.env"]
before = [content(name) for name in names]
os.chdir("/")
attempt("rename parent", lambda: os.rename({home!r}, {home!r} + ".moved"))
after = [content({home!r} + ".moved/.env"), content({home!r} + "/.env")]
say(contents=sorted(set(before + after)))
"""


def test_case_017_019_020_021_a_hidden_file_stays_hidden_whatever_is_done_around_it(box):
    """Replaced, moved, linked, spelt otherwise, its parent renamed: no name shows it. Without the mask, one does."""
    parent = box.sacrifice()
    home = f"{parent}/project"
    os.mkdir(home)
    secret = f"{home}/.env"
    with open(secret, "w", encoding="utf-8") as file:
        file.write("TOKEN")
    policy = box.policy(CONDITIONAL, direct=[parent], hide=[secret])
    answers = box.attack(HIDDEN.format(home=home), policy)
    assert "TOKEN" not in answers["contents"]
    assert {answers[name] for name in ("replace", "move away", "unlink")} == {"EBUSY"}
    assert answers["link"] in {"EXDEV", "EPERM"}
    for path in (home, f"{home}.moved"):
        if os.path.exists(f"{path}/.env"):
            assert read(f"{path}/.env") == "TOKEN"
            if path != home:
                os.rename(path, home)
    control = native(python(f"os.chdir({home!r}); os.rename('.env', 'moved'); say(found=open('moved').read())"))
    assert control.answers["found"] == "TOKEN"


MOVE_AWAY = """
os.chdir({project!r})
attempt("hidden", lambda: os.rename("conf", "conf2"))
attempt("protected", lambda: os.rename(".git", "git2"))
attempt("anew", lambda: os.makedirs(".git/hooks"))
attempt("planted", lambda: write(".git/hooks/pre-commit", flags=os.O_CREAT | os.O_WRONLY))
attempt("others", lambda: os.rename("conf/deep/free", "free"))
say()
"""


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL])
def test_case_018_020_what_leads_to_a_covered_path_cannot_be_moved_away(box, tier):
    """A later job would find it by another name, and the path would be free for something else. The rest can be moved.

    The control: without the pins both can be had.
    """
    made = []
    for pinned in (True, False):
        project = box.sacrifice("project")
        for name in ("conf/deep/secret", "conf/deep/free", ".git/hooks/sample"):
            os.makedirs(os.path.dirname(f"{project}/{name}"), exist_ok=True)
            with open(f"{project}/{name}", "w", encoding="utf-8") as file:
                file.write(name)
        grants = {"direct": [project]} if tier is CONDITIONAL else {"overlay": [project]}
        policy = box.policy(tier, **grants, hide=[f"{project}/conf/deep/secret"], readonly=[f"{project}/.git/hooks"])
        made.append(box.attack(MOVE_AWAY.format(project=project), policy, alter=None if pinned else without(ops.Pin)))
        if tier is CONDITIONAL:
            there = "conf" if pinned else "conf2"
            assert read(f"{project}/{there}/deep/secret") == "conf/deep/secret"
            assert os.path.exists(f"{project}/.git/hooks/pre-commit") is not pinned
    held, free = made
    assert (held["hidden"], held["protected"], held["anew"]) == ("EBUSY", "EBUSY", "EEXIST")
    assert held["planted"] in {"EROFS", "EACCES"}
    assert held["others"] == "EXDEV"  # a mount of its own now: mv copies
    assert {free[name] for name in ("hidden", "protected", "anew", "planted")} == {"done"}


def test_an_overlay_with_covers_beneath_pins_is_taken_down(box):
    """What is covered by the host's view, and again by the policy, lies below the pin that is put between them."""
    project = box.sacrifice("project")
    os.mkdir(f"{project}/conf")
    secret = f"{project}/conf/secret"
    with open(secret, "w", encoding="utf-8") as file:
        file.write("secret")

    def twice(steps):
        at = next(index for index, step in enumerate(steps) if isinstance(step, ops.Pin))
        return [*steps[:at], ops.Hide(secret), *steps[at:]]

    ran = box.run(["true"], box.policy(SEQUENTIAL, overlay=[project], hide=[secret]), alter=twice)
    assert (ran.code, ran.outcome["frozen"]) == (0, True)


@pytest.mark.parametrize("tier", [SEQUENTIAL, DANGEROUS])
def test_case_022_writing_through_a_hard_link_does_not_reach_the_other_name(box, tier):
    """A link inside the lock set to a file outside of it: the overlay breaks it. Live, both names change."""
    inside, outside = box.sacrifice(), box.victim()
    os.link(outside, f"{inside}/name")
    policy = box.policy(tier, overlay=[inside])
    answers = box.attack(f"attempt('write', lambda: write({inside + '/name'!r})); say()", policy)
    assert answers == {"write": "done"}
    assert read(outside) == "precious\n"
    assert read(box.written(f"{inside}/name")) == "attackus\n"
    # Why files with several links are planned as SEQUENTIAL: a live grant writes the file outside.
    live = box.attack(
        f"attempt('write', lambda: write({inside + '/name'!r})); say()", box.policy(CONDITIONAL, direct=[inside])
    )
    assert live == {"write": "done"}
    assert read(outside) == "attackus\n"


MOUNT_CALLS = """
MS_REMOUNT, MS_BIND, MS_RDONLY = 32, 4096, 1
def mount(source, target, kind, flags, data=None):
    result = libc.mount(source, target, kind, ctypes.c_ulong(flags), data)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
def umount(target):
    if libc.umount2(target, 2) < 0:
        raise OSError(ctypes.get_errno(), "")
target = {target!r}.encode()
attempt("remount", lambda: mount(None, target, None, MS_REMOUNT | MS_BIND))
attempt("remount root", lambda: mount(None, b"/", None, MS_REMOUNT | MS_BIND))
attempt("umount", lambda: umount(target))
attempt("bind", lambda: mount(b"/", target, None, MS_BIND))
attempt("tmpfs", lambda: mount(b"x", target, b"tmpfs", 0))
attempt("proc", lambda: mount(b"x", target, b"proc", 0))
attempt("open_tree", lambda: syscall(428, -100, b"/", 1))
attempt("fsopen", lambda: syscall(430, b"tmpfs", 0))
attempt("mount_setattr", lambda: syscall(442, -100, target, 0, struct.pack("QQQQ", 0, 1, 0, 0), 32))
attempt("pivot_root", lambda: syscall(155 if os.uname().machine == "x86_64" else 41, b".", b"."))
say()
"""


@pytest.mark.parametrize("tier", [SAFE, DANGEROUS])
@IDENTITIES
def test_case_023_024_059_no_mount_can_be_made_changed_or_taken_away(box, tier, identity):
    """Remounting writable, unmounting masks, mounting anew: refused. Natively they work in a namespace of one's own."""
    place = box.sacrifice()
    code = MOUNT_CALLS.format(target="/proc")
    answers = box.attack(code, box.policy(tier, identity=identity))
    assert set(answers.values()) <= {"EPERM", "EACCES"}
    tree = mounts.new_mount("tmpfs", {}, mounts.ATTR_RDONLY)
    mounts.move_mount(tree, place)
    os.close(tree)
    control = native(["unshare", "--mount", *python(MOUNT_CALLS.format(target=place))]).answers
    mounts.umount(place, mounts.MNT_DETACH)
    assert {control[name] for name in ("remount", "umount", "bind", "tmpfs", "open_tree", "fsopen")} == {"done"}


NAMESPACES = """
flags = {"mnt": 0x20000, "user": 0x10000000, "net": 0x40000000, "pid": 0x20000000, "uts": 0x4000000, "ipc": 0x8000000,
         "cgroup": 0x2000000}
for name, flag in flags.items():
    pid = os.fork()
    if pid == 0:
        os._exit(ctypes.get_errno() if libc.unshare(flag) else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    answers[name] = errno.errorcode[status] if status else "done"
say()
"""


def test_case_025_107_108_a_shifted_root_makes_no_namespaces(box):
    """Neither to unmount masks nor to gain capabilities over a network of its own. Natively root makes each."""
    answers = box.attack(NAMESPACES, box.policy(DANGEROUS))
    assert set(answers.values()) <= {"EPERM", "ENOSPC"}
    assert set(native(python(NAMESPACES)).answers.values()) == {"done"}


def test_case_025_the_host_s_tree_stays_locked_in_a_user_namespace_of_the_job_s_own(box):
    """Even if a job without shifted ids could make a user namespace, read-only mounts and masks are not lifted in it.

    What is mounted in the namespace itself is: the control.
    """
    victim = box.victim()
    code = f"""
uid, gid = os.getuid(), os.getgid()
if attempt("userns", lambda: libc.unshare(0x10000000 | 0x20000) and (_ for _ in ()).throw(OSError(1, ""))):
    libc.mount(None, b"/", None, ctypes.c_ulong(32 | 4096), None)
    libc.umount2({box.state.encode()!r}, 2)
attempt("write", lambda: write({victim!r}))
try:
    found = os.listdir({box.state!r})
except OSError:
    found = []
say(found=found)
"""
    for identity in (ROOT, NOBODY):
        for seccomp, made in ((True, "1"), (False, "done")):
            answers = box.attack(code, box.policy(identity=identity), landlock=False, seccomp=seccomp)
            assert (answers["userns"] == "done") is (made == "done"), answers
            assert answers["write"] in {"EROFS", "EACCES"}
            assert answers["found"] == []
    assert read(victim) == "precious\n"
    own = box.sacrifice()
    script = f"""
mount --bind {own} {own} && mount -o remount,bind,ro {own} && ! touch {own}/locked 2>/dev/null &&
    mount -o remount,bind,rw {own} && touch {own}/lifted"""
    assert native(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]).code == 0
    assert os.listdir(own) == ["lifted"]


CHROOT = """
os.mkdir("jail")
fd = os.open(".", os.O_RDONLY)
def escape():
    os.chroot("jail")
    os.fchdir(fd)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
attempt("chroot", escape)
say(found=os.path.exists({state!r} + "/marker"), seen=os.path.exists({home!r}))
"""


def test_case_026_a_double_chroot_leads_to_the_box_s_root_at_most(box):
    """Shifted root may chroot, and walks out of its own jail: into the box. Natively the same walk finds the host."""
    directory = box.sacrifice(mode=0o777)
    with open(f"{box.state}/marker", "w", encoding="utf-8") as file:
        file.write("the host")
    code = f"os.chdir({directory!r})" + CHROOT.format(state=box.state, home=box.home)
    answers = box.attack(code, box.policy(DANGEROUS))
    assert answers == {"chroot": "done", "found": False, "seen": True}
    refused = box.attack(
        f"os.chdir({ops.TMPDIR!r})" + CHROOT.format(state=box.state, home=box.home), box.policy(identity=NOBODY)
    )
    assert refused["chroot"] == "EPERM"
    assert native(python(code)).answers["found"] is True


OPEN_BY_HANDLE = """
AT_FDCWD = -100
number = {{"x86_64": (303, 304), "aarch64": (264, 265)}}[os.uname().machine]
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
mount_id = ctypes.c_int()
path = {path!r}
def steal():
    syscall(number[0], AT_FDCWD, path.encode(), handle, ctypes.byref(mount_id), 0)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    fd = syscall(number[1], directory, handle, os.O_RDONLY)
    answers["content"] = os.read(fd, 100).decode()
attempt("open_by_handle_at", steal)
say()
"""


@pytest.mark.parametrize("tier", [SAFE, DANGEROUS])
def test_case_027_files_cannot_be_opened_by_handle(box, tier):
    """open_by_handle_at walks around every mask (the "shocker" attack); natively root reads the file by it."""
    victim = box.victim()
    answers = box.attack(OPEN_BY_HANDLE.format(path=victim), box.policy(tier))
    assert answers["open_by_handle_at"] in {"EPERM", "ENOTSUP"}
    assert native(python(OPEN_BY_HANDLE.format(path=victim))).answers["content"] == "precious\n"


def test_case_028_directories_of_the_live_tree_can_be_renamed_in_a_sequential_job(box):
    """redirect_dir is on there; in a DANGEROUS overlay it is off, the call fails and mv copies instead."""
    directory = box.sacrifice()
    os.makedirs(f"{directory}/old/sub")
    code = f"os.chdir({directory!r}); attempt('rename', lambda: os.rename('old', 'new')); say(found=os.listdir())"
    answers = box.attack(code, box.policy(SEQUENTIAL, overlay=[directory]))
    assert answers == {"rename": "done", "found": ["new"]}
    assert box.attack(code, box.policy(DANGEROUS))["rename"] == "EXDEV"
    moved = box.run(["sh", "-c", f"cd {directory} && mv old new && ls . new"], box.policy(DANGEROUS))
    assert (moved.code, moved.out.split()) == (0, [".:", "new", "new:", "sub"])
    assert os.listdir(directory) == ["old"]


def test_case_034_files_owned_by_ids_outside_the_range_are_nobody_s(box):
    """Shifted root sees the owner as nobody and cannot change or give away such a file; natively root can."""
    victim = box.victim()
    os.chown(victim, 70000, 70000)
    os.chmod(victim, 0o600)
    code = f"""
path = {victim!r}
attempt("write", lambda: write(path))
attempt("chown", lambda: os.chown(path, 0, 0))
attempt("chown new", lambda: os.chown(os.open("/run/tmp/x", os.O_CREAT), 70000, 70000))
say(owner=os.stat(path).st_uid)
"""
    answers = box.attack(code, box.policy(DANGEROUS))
    assert answers.pop("owner") == 65534
    assert set(answers.values()) <= {"EACCES", "EPERM", "EOVERFLOW", "EINVAL"}
    found = os.stat(victim)
    assert (found.st_uid, found.st_size) == (70000, 9)
    assert native(python(f"attempt('write', lambda: write({victim!r})); say()")).answers == {"write": "done"}
    assert native(["chown", "0:0", victim]).code == 0


def test_case_035_a_job_cannot_be_started_twice(box):
    """The job's group is the token: a second start under the same name is refused, and the first goes on."""
    directory = box.sacrifice()
    job = box.start(["sh", "-c", "read line; echo $line"], box.policy(), stdin=(pipe := os.pipe())[0], name="twice")
    with pytest.raises(NotStartedError):
        box.start(["touch", f"{directory}/second"], box.policy(CONDITIONAL, direct=[directory]), name="twice")
    assert os.listdir(directory) == []
    # The control: under a name of its own the same start goes through.
    assert box.run(["touch", f"{directory}/second"], box.policy(CONDITIONAL, direct=[directory])).code == 0
    assert os.listdir(directory) == ["second"]
    os.write(pipe[1], b"still here\n")
    for fd in pipe:
        os.close(fd)
    assert job.wait().out == "still here\n"


def _read_from(fifo, received):
    with open(fifo, "rb", buffering=0) as file:
        received.append(file.read(100))


@pytest.mark.parametrize("tier", [SAFE, SEQUENTIAL, DANGEROUS])
def test_case_037_nothing_crosses_a_fifo_of_the_host(box, tier):
    """A host's program that reads from a FIFO hears nothing of a job: Landlock refuses, or the overlay has its own."""
    if tier is SAFE and not box.ready.landlock:
        pytest.skip("needs Landlock: a read-only mount does not stop writing to a FIFO")
    directory = box.sacrifice(mode=0o777)
    fifo = f"{directory}/fifo"
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    received: list[bytes] = []
    reader = threading.Thread(target=_read_from, args=(fifo, received))
    reader.start()
    try:
        policy = box.policy(tier, overlay=[directory] if tier is SEQUENTIAL else [])
        code = f"attempt('write', lambda: write({fifo!r}, flags=os.O_WRONLY | os.O_NONBLOCK)); say()"
        answers = box.attack(code, policy)
        assert answers["write"] in {"EACCES", "ENXIO", "EROFS"}
        assert received == []
    finally:
        # The control, and what lets the reader go.
        control = native(python(code))
        reader.join(PATIENCE)
    assert control.answers == {"write": "done"}
    assert received == [b"attack"]


SILENTLY_READ_ONLY = """
import os, sys
from cbx_sandbox.box import operations, userns
from cbx_sandbox.box.operations import writable
from cbx_sandbox.box.stage import Stage
from cbx_sandbox.linux import mounts
directory, layer, protected = sys.argv[1:]
mounts.mount_setattr(-100, "/", propagation=mounts.MS_PRIVATE, recursive=True)
stage = Stage({}, userns_fd=userns.create(0), owner=userns.FIRST_ID)
stage.descriptors |= {f"lock:{directory}": mounts.open_tree(directory), f"layer:{layer}": mounts.open_tree(layer)}
operations.Scaffold().execute(stage)
if protected == "no":
    writable.FileSystemIds.__enter__ = lambda self: None
    writable.FileSystemIds.__exit__ = lambda self, *_: None
operations.Overlay(directory, layer=layer, lower=f"lock:{directory}", redirect=False, shifted=True).execute(stage)
print("mounted")
"""


def test_case_038_an_overlay_that_came_out_read_only_fails_closed(box):
    """A mounter whose ids the layer does not know gets one without an error; the control mounts as the right one."""
    results = {}
    for number, protected in enumerate(("no", "yes")):
        directory, layer = box.sacrifice(), f"{box.state}/read-only-{number}"
        for path in (layer, f"{layer}/upper", f"{layer}/work"):
            os.mkdir(path)
        argv = [sys.executable, "-c", SILENTLY_READ_ONLY, directory, layer, protected]
        results[protected] = native(["unshare", "--mount", *argv])
    assert "came out read-only" in results["no"].err
    assert "mounted" not in results["no"].out
    assert results["yes"].out == "mounted\n", results["yes"].err


def test_case_038_a_layer_that_cannot_be_used_fails_the_start(box):
    """Without its work directory an overlay has nothing to write to: nothing runs, nothing is left."""
    directory = box.sacrifice()

    def spoil(steps):
        for step in steps:
            if isinstance(step, ops.Overlay):
                os.rmdir(f"{step.layer}/work")
        return steps

    ran = box.run(["touch", f"{directory}/ran"], box.policy(SEQUENTIAL, overlay=[directory]), alter=spoil)
    assert ran.outcome["reason"] == "not-started"
    assert ran.failure is not None
    assert directory in ran.failure["step"]
    assert os.listdir(directory) == []
    assert box.run(["touch", f"{directory}/ran"], box.policy(SEQUENTIAL, overlay=[directory])).code == 0


@pytest.mark.parametrize("place", ["/dev/shm", "/run/tmp"])
def test_case_040_memory_file_systems_end_at_their_size(box, place):
    """Writing goes on until ENOSPC at the limit that was set; natively the same goes on past it."""
    code = f"""
block = bytes(1 << 20)
def fill():
    with open({place!r} + "/fill", "wb", buffering=0) as file:
        for _ in range({{blocks}}):
            file.write(block)
attempt("fill", fill)
say(size=os.stat({place!r} + "/fill").st_size)
os.unlink({place!r} + "/fill")
"""
    answers = box.attack(code.format(blocks=64), box.policy(tmp_bytes=8 << 20))
    assert answers["fill"] == "ENOSPC"
    assert answers["size"] <= 8 << 20
    control = box.attack(code.format(blocks=16), box.policy(tmp_bytes=64 << 20))
    assert (control["fill"], control["size"]) == ("done", 16 << 20)


def test_nothing_that_a_box_mounts_is_seen_outside(box):
    """The mount table is the same while a job of each tier runs, and after."""
    before = [mount.target for mount in mountinfo.read()]
    for tier in (SAFE, DANGEROUS):
        job = box.start(["sh", "-c", "echo up; sleep 600"], box.policy(tier))
        job.read_until("up")
        assert [mount.target for mount in mountinfo.read()] == before
        job.control.kill()
        job.wait()
        assert [mount.target for mount in mountinfo.read()] == before


@pytest.mark.parametrize("tier", [SAFE, DANGEROUS], ids=["safe", "dangerous"])
def test_a_file_in_run_that_the_network_needs_is_kept(box, tier):
    """Where /etc/resolv.conf leads into /run, also below overlays; what is not named is not there (the control)."""
    with tempfile.TemporaryDirectory(prefix="cbx-test-", dir="/run") as directory:
        for name in ("kept", "other"):
            with open(f"{directory}/{name}", "w") as file:
                file.write(name)

        def keeping(steps):
            return [
                ops.RunDirectory(step.size, (f"{directory}/kept",)) if isinstance(step, ops.RunDirectory) else step
                for step in steps
            ]

        ran = box.run(["sh", "-c", f"cat {directory}/kept; ls {directory}"], box.policy(tier), alter=keeping)
        assert ran.out == "keptkept\n", ran
