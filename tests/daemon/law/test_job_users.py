"""A job that runs as a job user: what it makes is its submitter's, what only that one may is out of its reach."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import textwrap

import pytest
from tests.daemon.conftest import lock_domain, until
from tests.daemon.law.conftest import NOBODY, PYTHON, opened, outside, script

from cbx_sandbox.box import jobusers

pytestmark = pytest.mark.root

USERS = range(710_000, 710_032)  # nobody has them; all tests that run at once share them
SUBMITTERS = [0, NOBODY]


@pytest.fixture(scope="module")
def lender(tmp_path_factory, own_mounts):
    """A supervisor that has job users."""
    with lock_domain(tmp_path_factory) as made:
        yield made.start("--idle-exit", "600", SANDBOX_JOB_USERS=f"{USERS[0]}-{USERS[-1]}")


@pytest.fixture
def pool(lender):
    """Its command line."""
    shell = opened(lender)
    yield shell
    shell.close()


def last(ran):
    """The result that --json printed."""
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.fixture
def home(place):
    """A home that is shut to others, with a project in it and a secret beside that."""

    def make(uid):
        for path in (place / "home", place / "home/project", place / "home/project/.git"):
            path.mkdir()
            os.chown(path, uid, uid)
        for path, text in ((place / "home/secret", "secret\n"), (place / "home/project/private", "source\n")):
            path.write_text(text)
            path.chmod(0o600)
            os.chown(path, uid, uid)
        (place / "home").chmod(0o700)
        return place / "home"

    return make


def stand_in(project, line):
    """The environment in which `pytest`, which is CONDITIONAL for everybody, is a script of this line."""
    (project / "bin").mkdir()
    (project / "bin/pytest").write_text(f"#!/bin/sh\n{line}\n")
    (project / "bin/pytest").chmod(0o755)
    return {"PATH": f"{project}/bin:/usr/bin:/bin"}


WRITES = """id -u; id -G; echo $USER; cat private; echo x >made; mkdir directory; echo + >>private
mv private directory/moved"""


@pytest.mark.vm
@pytest.mark.parametrize("submitter", SUBMITTERS)
@pytest.mark.parametrize("tier", ["CONDITIONAL", "SEQUENTIAL", "DANGEROUS"])
def test_what_a_job_user_writes_is_its_submitters(pool, home, tier, submitter):
    """It is one of the job users in there, in no group; on disk all is its submitter's, whose files it could change."""
    project = home(submitter) / "project"
    words = ["--json", "--user", "pool", "--commit", "auto", *(["-c", WRITES] if tier != "CONDITIONAL" else ["pytest"])]
    asked = None if tier == "CONDITIONAL" else tier.lower()
    ran = pool.run(*words, tier=asked, uid=submitter, cwd=project, environment=stand_in(project, WRITES))
    assert ran.returncode == 0, ran
    result = last(ran)
    if (tier, submitter) != ("DANGEROUS", 0):  # root's ids are shifted there
        uid, groups, name = ran.stdout.splitlines()[:3]
        assert int(uid) in USERS
        assert uid == groups == name
        assert "job-user" in result["guarantees"]["in_force"]
    if (tier, submitter) != ("CONDITIONAL", 0):
        assert result["tier"].startswith(tier), result["reasons"]
    assert b"source" in ran.stdout
    assert not result["leaks"]
    for path in ("made", "directory", "directory/moved"):
        found = (project / path).stat()
        assert (found.st_uid, found.st_gid) == (submitter, submitter), path
    assert (project / "directory/moved").read_text() == "source\n+\n"
    assert not (project / "private").exists()


def test_a_directory_within_the_project_is_written(pool, home):
    """The way to it leads through what of the project is seen."""
    project = home(NOBODY) / "project"
    (project / "sub").mkdir()
    os.chown(project / "sub", NOBODY, NOBODY)
    ran = pool.run(
        "--user",
        "pool",
        "--commit",
        "auto",
        "-c",
        "cp private sub/copy && cat sub/copy",
        tier=None,
        uid=NOBODY,
        cwd=project,
    )
    assert (ran.returncode, ran.stdout) == (0, b"source\n"), ran
    assert (project / "sub/copy").stat().st_uid == NOBODY


def test_root_s_job_user_writes_nothing_in_place(pool, home):
    """A setuid file of root's would be there at once; it comes before a reviewer instead."""
    project = home(0) / "project"
    make = script('import os; open("made", "w"); os.chmod("made", 0o4755)')
    ran = pool.run("--json", "--user", "pool", "--rw", project, *make, tier="conditional", cwd=project)
    result = last(ran)
    assert result["tier"] == "SEQUENTIAL_REQUIRED"
    assert "job-user" in {reason["code"] for reason in result["reasons"]}
    assert not (project / "made").exists()
    assert result["checkpoint"]["state"] == "held", result


@pytest.mark.vm
@pytest.mark.parametrize("tier", ["SAFE", "CONDITIONAL", "SEQUENTIAL"])
def test_the_project_is_seen_and_what_lies_beside_it_is_not(pool, home, tier):
    """Without a job user the same command reads both."""
    there = home(NOBODY)
    line = f"cat private {there}/secret"
    environment = stand_in(there / "project", line)
    asked = "sequential" if tier == "SEQUENTIAL" else None
    options = {"uid": NOBODY, "cwd": there / "project", "tier": asked, "environment": environment}
    line = "pytest" if tier == "CONDITIONAL" else line
    control = pool.run("-q", "-c", line, **options)
    assert (control.returncode, control.stdout) == (0, b"source\nsecret\n"), control
    ran = pool.run("--json", "--user", "pool", "-c", line, **options)
    assert ran.stdout.startswith(b"source\n{"), ran
    assert (ran.returncode, last(ran)["tier"].split("_")[0]) == (1, tier)
    assert b"No such file" in ran.stderr, ran


def unknown(project, code, *arguments):
    """A program that the analysis knows nothing of, and takes for SEQUENTIAL, whoever runs it."""
    tool = project / "tool"
    if not tool.exists():
        shutil.copy(os.path.realpath(PYTHON), tool)
    return [tool, "-I", "-c", textwrap.dedent(code), *arguments]


def test_a_directory_can_be_named_to_be_seen(pool, home):
    """What lies beside the project is seen when it was asked for by name, and cannot be written."""
    there = home(NOBODY)
    (there / "data").mkdir(mode=0o700)
    (there / "data/file").write_text("data")
    (there / "data/file").chmod(0o600)
    for path in (there / "data", there / "data/file"):
        os.chown(path, NOBODY, NOBODY)
    words, options = ["-q", "--user", "pool", "--ro", there / "data"], {"uid": NOBODY, "cwd": there / "project"}
    ran = pool.run(*words, "cat", there / "data/file", **options)
    assert (ran.returncode, ran.stdout) == (0, b"data"), ran
    refused = pool.run(*words, "touch", there / "data/file", tier=None, **options)
    assert b"Read-only file system" in refused.stderr, refused


def test_what_others_keep_from_its_submitter_is_kept_from_it(pool, home, place):
    """Its submitter's directory is mapped, not everybody's: a file of root's in it stays root's."""
    project = home(NOBODY) / "project"
    (project / "roots").write_text("root's")
    (project / "roots").chmod(0o600)
    shut = place / "shut"
    shut.mkdir(mode=0o700)
    (shut / "open").mkdir(mode=0o755)
    ran = pool.run("-q", "--user", "pool", "cat", "roots", uid=NOBODY, cwd=project)
    assert b"Permission denied" in ran.stderr, ran
    ran = pool.run("-q", "--user", "pool", "--ro", shut / "open", "ls", shut / "open", uid=NOBODY, cwd=project)
    assert b"Permission denied" in ran.stderr, ran


CONNECT = """
import socket, sys
try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except OSError as error: print(type(error).__name__)
else: print("connected")
"""


def test_agents_of_its_submitter_are_out_of_reach(pool, home, place):
    """A socket that only its submitter may connect to, as of an ssh agent: without a job user the job asks it."""
    project = home(NOBODY) / "project"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(place / "agent"))
        agent.listen()
        os.chown(place / "agent", NOBODY, NOBODY)
        os.chmod(place / "agent", 0o600)
        words = unknown(project, CONNECT, place / "agent")
        control = pool.run("-q", *words, tier=None, uid=NOBODY, cwd=project)
        assert control.stdout == b"connected\n", control
        ran = pool.run("-q", "--user", "pool", *words, tier=None, uid=NOBODY, cwd=project)
        assert ran.stdout == b"PermissionError\n", ran


FORKS = """
import os, resource
resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))
try: os.fork()
except OSError as error: print(type(error).__name__)
"""


def test_what_its_submitter_runs_counts_for_nothing(pool, home):
    """RLIMIT_NPROC counts a user's processes wherever they are: those of its submitter's are not its own."""
    project = home(NOBODY) / "project"
    words, options = unknown(project, FORKS), {"tier": None, "uid": NOBODY, "cwd": project}
    others = [subprocess.Popen(["sleep", "600"], user=NOBODY, group=NOBODY, extra_groups=[]) for _ in range(6)]
    try:
        control = pool.run("-q", *words, **options)
        assert control.stdout == b"BlockingIOError\n", control
        ran = pool.run("-q", "--user", "pool", *words, **options)
        assert (ran.returncode, ran.stdout) == (0, b""), ran
    finally:
        for process in others:
            process.kill()
            process.wait()


WAITS = "import os\nprint(os.getuid(), flush=True)\ninput()"


def test_two_jobs_have_two_users_and_a_killed_supervisor_lends_none_twice(made):
    """With one user there is one job at a time; its init has the loan, whoever supervises.

    The next supervisor is the one that root's client starts by itself, whichever client comes first.
    """
    (user,) = USERS[-1:]
    os.makedirs(made.paths.config, mode=0o755)
    with open(f"{made.paths.config}/cbx.toml", "w") as file:
        file.write(f'[sandbox]\njob_users = "{user}-{user}"\n')
    shell = opened(made.start("--idle-exit", "120"))
    try:
        first = shell.start(
            "run", "-q", "-i", "--tier", "safe", "--user", "pool", *script(WAITS), stdin=subprocess.PIPE
        )
        assert int(first.stdout.readline()) == user
        refused = shell.run("--user", "pool", "true")
        assert refused.returncode == 125, refused
        assert b"none of 1 is free" in refused.stderr, refused
        made.stop(signal.SIGKILL)
        refused = shell.run("--user", "pool", "true")
        assert b"none of 1 is free" in refused.stderr, refused
        first.communicate(b"\n")
        until(lambda: shell.run("-q", "--user", "pool", "true").returncode == 0)
    finally:
        shell.close()
        end_of_another(made)


def end_of_another(made):
    """End the supervisor that a client has started."""
    with contextlib.suppress(OSError):
        pid = made.get("/v1/status")["supervisor"]["pid"]
        watched = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        select.select([watched], [], [])
        os.close(watched)


def test_all_jobs_can_be_made_to_run_as_job_users(made, place):
    """`run_as` says so for all; who is named by root is who was named, and a user cannot ask for himself."""
    os.makedirs(made.paths.config, mode=0o755)
    shell = opened(made.start(SANDBOX_JOB_USERS=f"{USERS[0]}-{USERS[-1]}", SANDBOX_RUN_AS="pool"))
    try:
        for uid in SUBMITTERS:
            assert int(shell.run("-q", "id", "-u", uid=uid).stdout) in USERS
        assert int(shell.run("-q", "--user", str(NOBODY), "id", "-u").stdout) == NOBODY
        assert shell.run("-q", "--user", str(NOBODY), "id", "-u", uid=NOBODY).returncode == 126
    finally:
        shell.close()


def test_without_job_users_a_job_that_wants_one_does_not_run(made):
    """It never runs as somebody else instead: nobody is called so, or the ids are somebody's."""
    shell = opened(made.start("--idle-exit", "120", SANDBOX_JOB_USERS="no-such-user-"))
    refused = shell.run("--user", "pool", "true")
    assert refused.returncode == 125, refused
    assert b"no-such-user- stands for none" in refused.stderr, refused


LEFT = """
import ctypes, os, sys
os.close(os.open(sys.argv[1], os.O_CREAT, 0o600))
print(ctypes.CDLL(None).shmget(0x5eed, 4096, 0o1600))
"""


def test_what_is_left_of_a_user_is_removed_before_it_is_lent_and_is_an_incident(made):
    """Files where everybody may make some, and IPC objects; somebody has used that user for something else."""
    user = USERS[-2]
    path = f"/var/tmp/cbx-left-{os.getpid()}"
    taken = opened(made.start("--idle-exit", "120", SANDBOX_JOB_USERS=f"{user}-{user}"))
    try:
        left = outside([*script(LEFT), path], uid=user)
        assert int(left.stdout) >= 0, left
        assert taken.run("-q", "--user", "pool", "true").returncode == 0
        assert not os.path.exists(path)
        incidents = [entry for entry in made.get("/v1/audit")["entries"] if entry["action"] == "incident"]
        told = " ".join(text for entry in incidents for text in entry["detail"]["left behind"])
        assert path in told
        assert "IPC object shm" in told
        assert jobusers.clean(jobusers.JobUser(user, user, str(user))) == ([], [])
    finally:
        taken.close()
        if os.path.exists(path):
            os.unlink(path)


def test_a_user_that_somebody_runs_something_as_is_not_lent(made):
    """The next one is; what runs is left alone."""
    first, second = USERS[-4], USERS[-3]
    shell = opened(made.start("--idle-exit", "120", SANDBOX_JOB_USERS=f"{first}-{second}"))
    stranger = subprocess.Popen(["sleep", "600"], user=first, group=first, extra_groups=[])
    try:
        assert int(shell.run("-q", "--user", "pool", "id", "-u").stdout) == second
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        shell.close()


def test_the_plan_says_which_directories_are_mapped(pool, home):
    """`--dry-run` tells what a job user would be shown, and that it would be one."""
    project = home(0) / "project"
    told = json.loads(
        pool.run("--json", "--dry-run", "--user", "pool", "cat", "private", cwd=project, tier=None).stdout
    )
    assert told["policy"]["job_user"] is True
    assert any(str(project) in line and "job user" in line for line in told["mounts"]), told["mounts"]
