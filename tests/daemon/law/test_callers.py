"""Who calls is what the kernel says: users get their own jobs and rights, jobs get no supervisor."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest
from tests.daemon.conftest import PATIENCE, until
from tests.daemon.law.conftest import NOBODY, PYTHON, Shell, at_stake, mounted, outside, script

pytestmark = pytest.mark.root
OTHER = 65533


@pytest.fixture
def project(place):
    """A directory of the user's."""
    (place / "project/.git").mkdir(parents=True)
    shutil.chown(place / "project", NOBODY, NOBODY)
    return place / "project"


def raw(shell, fields, uid=NOBODY):
    """Send fields that no client would, straight over the exec socket; returns the last frame's status and text."""
    code = f"""
    import os, socket, struct, sys
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect("/run/cbx/exec.sock")
    null = os.open("/dev/null", os.O_RDWR)
    read, write = os.pipe()
    out, said = os.pipe()
    payload = b"\\0".join(k.encode() + b"=" + v.encode() for k, v in {fields!r})
    socket.send_fds(connection, [struct.pack(">I", len(payload)) + payload], [null, said, said, read])
    os.close(said)
    data = b""
    while part := connection.recv(65536):
        data += part
    os.set_blocking(out, False)
    sys.stdout.buffer.write(data)
    """
    command = [*shell._as(uid, ()), PYTHON, "-I", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


REQUEST = [("kind", "run"), ("version", "1"), ("fds", "stdin,stdout,stderr,lease"), ("cwd", "/"), ("line", "id -u")]


@pytest.mark.parametrize(
    "fields",
    [
        [("uid", "0")],
        [("gid", "0")],
        [("identity", "root")],
        [("submitter_is_root", "1")],
        [("user", "root")],
        [("user", "0")],
        [("user", "nobody")],
        [("allow_privileged", "1")],
        [("seccomp_log", "1")],
        [("allow_missing", "memory")],
        [("allow_missing", "")],
        [("host_effects", "process")],
        [("kind", "run")],
        [("tier", "SAFE_PARALLEL"), ("line", "curl x | sh")],
    ],
    ids=str,
)
def test_forged_fields_give_nothing(shell, fields):
    """Unknown ones, those that only root may use, those that come twice."""
    sent = [field for field in REQUEST if field[0] not in {key for key, _ in fields} or field[0] == "kind"]
    answer = raw(shell, [*sent, *fields]).stdout
    if fields == [("allow_missing", "")]:
        assert b"kind=result" in answer
    else:
        assert b"kind=error" in answer, answer
    assert b"kind=result" in raw(shell, REQUEST).stdout


def test_variables_give_nothing(shell):
    """Neither those of sudo nor cbx's own make somebody of a user."""
    environment = {"SUDO_UID": "0", "SUDO_USER": "root", "USER": "root", "LOGNAME": "root", "HOME": "/root"}
    ran = shell.run("-c", "id -u; echo $USER $HOME", uid=NOBODY, tier=None, environment=environment)
    assert ran.stdout == b"65534\nnobody /nonexistent\n"
    for name in ("CBX_RUNTIME_DIR", "CBX_STATE_DIR", "CBX_CONFIG_DIR"):
        ran = shell.run("true", uid=NOBODY, tier=None, environment={name: "/var/tmp"})
        assert (ran.returncode, b"only root" in ran.stderr) == (125, True)


def test_variables_do_not_run_code_in_the_client(shell, place):
    """Of root's client, started from a directory and an environment of somebody else's."""
    for name in ("os.py", "site.py", "sitecustomize.py", "cbx_supervisor.py", "posix.py", "fcntl.py", "select.py"):
        (place / name).write_text(f"open('{place}/ran', 'w')\n")
    (place / "env").write_text(f"touch {place}/ran\n")
    environment = {"PYTHONPATH": str(place), "PYTHONSTARTUP": str(place / "os.py"), "ENV": str(place / "env")}
    environment |= {"PYTHONHOME": str(place), "BASH_ENV": str(place / "env"), "PYTHONINSPECT": "1"}
    assert shell.run("true", cwd=place, environment=environment).returncode == 0
    assert shell.call("list", cwd=place, environment=environment).returncode == 0
    assert not (place / "ran").exists()
    outside([PYTHON, "-c", "import sitecustomize"], env={"PYTHONPATH": str(place)})
    assert (place / "ran").exists()


def test_loaders_and_secrets_do_not_reach_the_job(shell, place):
    """Unless they are set for it by name."""
    environment = {"LD_PRELOAD": "/x", "API_TOKEN": "t", "BASH_ENV": "/x", "BASH_FUNC_ls%%": "() { echo no; }"}
    environment |= {
        "SSH_AUTH_SOCK": "/x",
        "GIT_SSH_COMMAND": "x",
        "PS4": "$(id)",
        "CBX_RUNTIME_DIR": shell.supervisor.paths.runtime,
    }
    ran = shell.run("env", environment=environment)
    names = {line.split(b"=")[0].decode() for line in ran.stdout.splitlines()}
    assert not names & set(environment)
    (place / "file").write_text("A=1\nB=x y\n# no\nexport=2\n")
    ran = shell.run(
        "--clear-env", "--env-file", place / "file", "-e", "C", "-e", "D=\n=", "env", environment={"C": "3"}
    )
    assert {b"A=1", b"B=x y", b"export=2", b"C=3", b"D="} <= set(ran.stdout.splitlines())
    for bad in ("A B=1", "=1", "export A=1"):
        (place / "file").write_text(bad)
        assert shell.run("--env-file", place / "file", "true").returncode == 125


def test_the_jobs_of_others_do_not_exist(shell, project):
    """Neither to show, wait for, read the output of, nor to end; and checkpoints neither."""
    job = shell.run("-d", "sleep", "600", uid=OTHER, tier=None).stdout.decode().strip()
    edit = ["sh", "-c", f"echo x > {project}/file"]
    held = shell.run("--commit", "hold", "--rw", project, *edit, uid=NOBODY, tier="sequential", cwd=project)
    assert b"held" in held.stderr
    number = str(shell.supervisor.get("/v1/checkpoints")["checkpoints"][0]["id"])
    for words in (["show", job], ["logs", job], ["cancel", job], ["cancel", "--kill", job], ["wait", job]):
        assert shell.call(*words, uid=NOBODY).returncode != 0
    for words in (["show"], ["diff"], ["commit"], ["rollback"]):
        assert shell.call("checkpoint", *words, number, uid=OTHER).returncode != 0
    assert number.encode() not in shell.call("checkpoint", "list", "--json", uid=OTHER).stdout
    assert all(
        json.loads(line)["identity"]["uid"] == NOBODY
        for line in shell.call("list", "--json", uid=NOBODY).stdout.splitlines()
    )
    assert shell.supervisor.get(f"/v1/jobs/{job}")["state"] == "running"
    assert shell.call("checkpoint", "rollback", number, uid=NOBODY).returncode == 0
    assert shell.call("cancel", "--kill", job, uid=OTHER).returncode == 0


def test_a_users_client_starts_no_supervisor(made):
    """It says which command does."""
    os.makedirs(made.paths.runtime)
    shell = Shell(made)
    ran = shell.run("true", uid=NOBODY)
    assert (ran.returncode, b"only root may start one" in ran.stderr) == (125, True)
    assert os.listdir(made.paths.runtime) == []


def test_root_does_not_trust_a_users_socket(shell, place):
    """A fake supervisor would get descriptors."""
    directory = place / "run"
    directory.mkdir()
    shutil.chown(directory, NOBODY, NOBODY)
    listen = f"""if True:
    import socket
    server = socket.socket(socket.AF_UNIX)
    server.bind("{directory}/exec.sock")
    server.listen()
    print("up", flush=True)
    print(socket.recv_fds(server.accept()[0], 100, 5), flush=True)
    """
    fake = subprocess.Popen([PYTHON, "-c", listen], user=NOBODY, group=NOBODY, stdout=subprocess.PIPE)
    assert fake.stdout.readline() == b"up\n"
    ran = shell.run("true", environment={"CBX_RUNTIME_DIR": str(directory)})
    assert (ran.returncode, b"cannot trust" in ran.stderr) == (125, True)
    assert fake.communicate(timeout=30)[0] == b"(b'', [], 0, None)\n"


def test_a_plan_tells_no_more_than_its_caller_could_find_out(shell, place):
    """Where links lead in closed directories, and what lies there."""
    (place / "closed").mkdir(mode=0o700)
    (place / "closed/link").symlink_to("/where/it/leads")
    (place / "closed/hidden-name").mkdir()
    line = f"cat {place}/closed/* {place}/closed/link; touch {place}/closed/hidden-name/x"
    ask = ["run", "--dry-run", "--json", "--ro", place / "closed/link", "-c", line]
    told = shell.call(*ask, uid=NOBODY).stdout
    assert told
    assert b"/where/it/leads" not in told
    assert b'hidden-name",' not in told.split(b'"locks"')[1]
    assert b"/where/it/leads" in shell.call(*ask).stdout


def test_users_write_only_what_they_could_write_live(shell, place, project):
    """Directly and through a commit: a lock is no right."""
    (place / "victim").write_text("precious")
    (project / "roots").write_text("precious")
    (project / "roots").chmod(0o644)
    (place / "closed").mkdir(mode=0o755)
    before = at_stake(place / "victim")
    for tier in ("conditional", "sequential", "dangerous"):
        line = f"echo x > {place}/victim; echo x > {place}/closed/planted; echo x >> {project}/roots; true"
        ran = shell.run("--commit", "auto", "--rw", place, "-c", line, uid=NOBODY, tier=tier, cwd=project)
        assert ran.returncode in {0, 126}, ran.stderr
        assert at_stake(place / "victim") == before
        assert os.listdir(place / "closed") == []
        assert (project / "roots").read_text() == "precious"
    shell.run("--rw", project, "touch", project / "own", uid=NOBODY, tier="sequential")
    assert (project / "own").stat().st_uid == NOBODY


@pytest.mark.parametrize("what", ["setuid", "setgid", "device", "owner"])
def test_nobody_makes_privileges_with_a_commit(shell, place, project, what):
    """Root's own jobs need --allow-privileged for them, users have no way to them."""
    attack = {
        "setuid": "cp /bin/true f; chmod 4755 f",
        "setgid": "cp /bin/true f; chmod 2755 f",
        "device": "mknod f c 1 1",
        "owner": "touch f; chown 1:1 f",
    }[what]
    # Root may give files away, as live.
    for uid in (NOBODY,) if what == "owner" else (0, NOBODY):
        shell.run("--commit", "auto", "--rw", project, "-c", attack, uid=uid, tier="dangerous", cwd=project)
        if (project / "f").exists():
            status = (project / "f").stat()
            assert status.st_uid == uid
            assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID)
            assert stat.S_ISREG(status.st_mode)
            (project / "f").unlink()
    assert outside(["sh", "-c", f"cd {project}; {attack}"]).returncode == 0
    assert (project / "f").exists()


CALL = """
import os, socket, sys
for name in sys.argv[1:]:
    for sock in ("exec.sock", "cbx.sock"):
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(20)
            connection.connect(os.path.join(name, sock))
            connection.sendall(b"GET /v1/jobs HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" if sock == "cbx.sock" else b"")
            answer = connection.recv(4096)
        except OSError as error:
            print("no", error.errno)
        else:
            print("answered" if b"200 OK" in answer else "refused", answer[:200])
"""


@pytest.mark.parametrize("tier", ["safe", "sequential", "dangerous"])
@pytest.mark.parametrize("network", ["none", "host"])
def test_a_job_cannot_call_the_supervisor(shell, place, tier, network):
    """Under its own name it is not there; through a bind mount it hangs up on jobs."""
    runtime = shell.supervisor.paths.runtime
    (place / "again").mkdir()
    (place / "work").mkdir()
    writes = ["--rw", place / "work"] if tier == "sequential" else []
    with mounted("--bind", runtime, place / "again"):
        names = [runtime, f"/proc/1/root{runtime}", f"/proc/self/root{runtime}", place / "again"]
        ran = shell.run("--network", network, *writes, *script(CALL), *names, tier=tier, cwd=place / "work")
        assert ran.returncode == 0, ran.stderr
        assert b"answered" not in ran.stdout
        if tier == "safe":
            assert set(ran.stdout.splitlines()) == {b"no 97"}  # EAFNOSUPPORT: it gets no such socket at all
        assert b"answered" in outside([*script(CALL), runtime]).stdout


def test_a_job_that_reaches_the_socket_is_refused(shell, place):
    """A name that cbx does not know of: a hard link, on the same file system; a child in a group of its own neither."""
    link = Path(shell.supervisor.paths.runtime).parent / "linked"
    link.mkdir()
    for name in ("exec.sock", "cbx.sock"):
        os.link(f"{shell.supervisor.paths.runtime}/{name}", link / name)
    known = incidents(shell)
    ran = shell.start("run", "--tier", "conditional", "--rw", place, "--", *script(CALL), link, cwd=place)
    (job,) = until(lambda: incidents(shell) - known)  # it is frozen for it, until somebody lets it go on
    assert shell.call("resume", job.removeprefix("job ")).returncode == 0
    out, _err = ran.communicate(timeout=PATIENCE)
    assert b"answered" not in out
    assert b"refused" in out
    assert b"answered" in outside([*script(CALL), link]).stdout
    shutil.rmtree(link)


def incidents(shell):
    """Whom the incidents so far were about."""
    return {entry["subject"] for entry in shell.supervisor.get("/v1/incidents")["incidents"]}


def test_a_connection_handed_to_a_job_is_no_way_in(shell):
    """A socket on stdin is copied by the client: no descriptor passes through it, and the job holds none."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(shell.supervisor.paths.http_socket)
    code = """
    import socket
    try:
        socket.socket(fileno=0).sendall(b"GET /v1/jobs HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    except OSError as error:
        print("no")
    """
    connection.settimeout(20)
    ran = shell.start("run", "-q", "--tier", "safe", "--", *script(code), stdin=connection.fileno())
    until(lambda: ran.poll() is not None or not connection.close())
    assert b"no" in ran.communicate(timeout=60)[0]


def waits(shell, path):
    """Whether root's job on ``path`` has to wait."""
    ran = shell.run("--lock-timeout", "0.5", "--rw", path, "true", tier="conditional", cwd=path)
    assert ran.returncode in {0, 75}, ran.stderr
    return ran.returncode == 75


def running(shell, path):
    """Whether a job in ``path`` runs."""
    return any(
        job["state"] == "running" and job["workdir"] == str(path) for job in shell.supervisor.get("/v1/jobs")["jobs"]
    )


@pytest.mark.parametrize("tier", ["conditional", "sequential", "dangerous"])
def test_a_user_cannot_lock_what_he_may_not_write(shell, place, project, tier):
    """Not by asking for it; in a directory of his own he may, and then root waits (the control)."""
    (place / "roots").mkdir()
    ran = shell.run("--rw", place / "roots", "sleep", "600", tier=tier, uid=NOBODY)
    assert ran.returncode == 126, ran.stderr
    assert b"nobody may not write there" in ran.stderr
    assert not waits(shell, place / "roots")
    shell.start("run", "-q", "--tier", tier, "--rw", project, "--", "sleep", "600", uid=NOBODY, cwd=project)
    until(lambda: running(shell, project))
    assert waits(shell, project)


@pytest.mark.parametrize("asked", ["sequential", "dangerous"])
def test_a_predicted_lock_of_a_user_is_one_that_he_may_have(shell, place, asked):
    """The job runs, and keeps nobody out of root's directory; out of one that it may write it does (the control)."""
    for name, owner in (("roots", 0), ("his", NOBODY)):
        directory = place / name
        (directory / ".git").mkdir(parents=True)
        shutil.chown(directory, owner, owner)
        line = f"sleep 600; rm -f {directory}/file"
        shell.start("run", "-q", "--tier", asked, "-c", line, uid=NOBODY, cwd=directory)
        until(lambda directory=directory: running(shell, directory))
        assert waits(shell, directory) is (name == "his")


def test_a_file_of_ones_own_in_roots_directory_can_be_written(shell, place):
    """The directory is the unit of a lock: who may write in place gets it. Beside it, nothing is his to lock."""
    (place / "log").write_text("old\n")
    shutil.chown(place / "log", NOBODY, NOBODY)
    ran = shell.run("-c", f"echo new >> {place}/log", uid=NOBODY, tier=None)
    assert ran.returncode == 0, ran.stderr
    assert (place / "log").read_text() == "old\nnew\n"
    (place / "roots").write_text("old\n")
    ran = shell.run("-c", f"echo new >> {place}/roots", uid=NOBODY, tier=None)
    assert ran.returncode != 0
    assert (place / "roots").read_text() == "old\n"
