"""Several commands over the same layers: they see each other's changes, and all of it is committed, or nothing."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from tests.daemon.conftest import lock_domain, until
from tests.daemon.law.conftest import CLIENT

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A supervisor for tests that kill none."""
    with lock_domain(tmp_path_factory) as made:
        yield made.start("--idle-exit", "600")


@pytest.fixture
def supervisor(shared):
    """The shared one, with nobody's calls left in it."""
    yield shared
    shared.hang_up()


def cwd(path):
    return ("cwd", os.fsencode(path))


def begin(supervisor, *directories):
    status, made = supervisor.http("POST", "/v1/transactions", {"directories": [str(path) for path in directories]})
    assert status == 201, made
    return made["id"]


def run(supervisor, number, line, project, *fields):
    """One command in a transaction; the frame of its end."""
    return supervisor.run(line, ("transaction", b"%d" % number), cwd(project), *fields).end()


def names(project):
    return sorted(path.name for path in project.iterdir() if path.name != ".git")


def test_commands_see_each_other_and_are_committed_together(supervisor, project):
    """Nothing is in the live tree before; a reader, a writer and one that destroys all work in the same view."""
    (project / "old").mkdir()
    (project / "old/file").write_text("old\n")
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    assert run(supervisor, number, "echo one > first", project)["status"] == 0
    assert run(supervisor, number, "rm -rf old", project)["status"] == 0
    read = supervisor.run("cat first; ls old 2>/dev/null || echo gone", ("transaction", b"%d" % number), cwd(project))
    assert read.end()["status"] == 0
    assert os.read(read.output, 100) == b"one\ngone\n"
    assert names(project) == ["old"]
    shown = supervisor.get(page)
    assert (shown["state"], [step["kind"] for step in shown["steps"]]) == ("open", ["run"] * 3)
    made = supervisor.post(f"{page}/commit")
    assert (made["state"], names(project)) == ("committed", ["first"])
    assert supervisor.http("POST", f"{page}/run", {"cwd": str(project), "line": "true"})[0] == 201
    undone = supervisor.post(f"/v1/checkpoints/{number}/undo")
    assert (undone["state"], (project / "old/file").read_text()) == ("undone", "old\n")


def test_a_command_writes_nowhere_else(supervisor, project, tmp_path):
    """Whatever it was predicted to write: outside of the directories everything is read-only."""
    outside = tmp_path / "outside"
    outside.mkdir()
    number = begin(supervisor, project)
    assert run(supervisor, number, f"touch {outside}/x", project)["status"] == 1
    assert run(supervisor, number, f"rm -rf {outside}", project)["status"] == 1
    assert outside.is_dir()
    for refused in (("rw", os.fsencode(outside)), ("commit", b"auto"), ("tier", b"SAFE_PARALLEL")):
        assert run(supervisor, number, "touch y", project, refused)["status"] == 125
    assert run(supervisor, number, "touch y", project)["status"] == 0
    assert names(project) == []


def test_savepoints_are_gone_back_to(supervisor, project):
    """A command that failed leaves what it did; going back throws that away, and later savepoints."""
    (project / "file").write_text("old\n")
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    assert run(supervisor, number, "echo 1 >> file; mkdir d", project)["status"] == 0
    supervisor.post(f"{page}/savepoint", {"name": "a"})
    assert run(supervisor, number, "echo 2 >> file; touch d/n; false", project)["status"] == 1
    supervisor.post(f"{page}/savepoint", {"name": "b"})
    assert run(supervisor, number, "test -e d/n && rm -r d file", project)["status"] == 0
    assert [entry["name"] for entry in supervisor.post(f"{page}/rollback-to", {"name": "a"})["savepoints"]] == ["a"]
    status, problem = supervisor.http("POST", f"{page}/rollback-to", {"name": "b"})
    assert (status, problem["hint"]) == (400, "it has: a")
    assert run(supervisor, number, "test ! -e d/n && echo 3 >> file", project)["status"] == 0
    assert supervisor.post(f"{page}/commit")["state"] == "committed"
    assert ((project / "file").read_text(), os.listdir(project / "d")) == ("old\n1\n3\n", [])
    assert not os.path.exists(f"{supervisor.paths.layers}/{number}/0/upper")


def test_it_is_looked_at_before_it_is_committed(supervisor, project):
    """Over all savepoints, which stay: what a commit would change, in every form, and what it would do."""
    for name in ("file", "gone", "theirs"):
        (project / name).write_text("old\n")
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    assert run(supervisor, number, "echo 1 >> file; echo mine > theirs", project)["status"] == 0
    assert supervisor.get(f"{page}/diff?format=name-status").decode().split() == [
        "M", f"{project}/file", "M", f"{project}/theirs"
    ]  # fmt: skip
    supervisor.post(f"{page}/savepoint", {"name": "a"})
    assert run(supervisor, number, "echo 2 >> file; rm gone", project)["status"] == 0
    supervisor.post(f"{page}/savepoint", {"name": "b"})
    assert "+1\n+2\n" in supervisor.get(f"{page}/diff?path={project}/file").decode()
    (project / "theirs").write_text("edited\n")
    found = supervisor.post(f"{page}/commit", {"dry_run": True})
    assert [(change["letter"], change["path"]) for change in found["changes"]] == []
    assert [(c["path"], c["resolution"]) for c in found["conflicts"]] == [(f"{project}/theirs", "abort")]
    found = supervisor.post(f"{page}/commit", {"dry_run": True, "on_conflict": "theirs"})
    assert sorted((change["letter"], change["path"]) for change in found["changes"]) == [
        ("D", f"{project}/gone"), ("M", f"{project}/file"),
    ]  # fmt: skip
    assert [savepoint["name"] for savepoint in supervisor.get(page)["savepoints"]] == ["a", "b"]
    assert (names(project), (project / "file").read_text()) == (["file", "gone", "theirs"], "old\n")
    assert supervisor.post(f"{page}/commit", {"on_conflict": "theirs"})["state"] == "committed"
    assert (project / "file").read_text() == "old\n1\n2\n"
    assert "gone" in supervisor.get(f"{page}/diff?format=list").decode()  # also when it is over


def test_there_is_a_most_of_savepoints(supervisor, project):
    """It is named, and the deepest stack that is allowed can be mounted and committed."""
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    for place in range(10):
        if place % 3 == 0:
            assert run(supervisor, number, f"echo {place} >> file", project)["status"] == 0
        supervisor.post(f"{page}/savepoint", {"name": f"s{place}"})
    status, problem = supervisor.http("POST", f"{page}/savepoint", {"name": "more"})
    assert (status, "10" in problem["title"]) == (400, True), problem
    assert run(supervisor, number, "echo last >> file", project)["status"] == 0
    assert supervisor.post(f"{page}/commit")["state"] == "committed"
    assert (project / "file").read_text().split() == ["0", "3", "6", "9", "last"]


def test_a_conflict_anywhere_commits_nothing(supervisor, project):
    """What others did since the beginning counts, also beneath a savepoint; the transaction goes on."""
    for name in ("mine", "theirs"):
        (project / name).write_text("old\n")
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    assert run(supervisor, number, "echo new > theirs", project)["status"] == 0
    supervisor.post(f"{page}/savepoint", {"name": "a"})
    assert run(supervisor, number, "echo new > mine", project)["status"] == 0
    (project / "theirs").write_text("edited\n")
    status, problem = supervisor.http("POST", f"{page}/commit", {})
    assert status == 409, problem
    assert ((project / "mine").read_text(), (project / "theirs").read_text()) == ("old\n", "edited\n")
    shown = supervisor.get(page)
    assert (shown["state"], shown["savepoints"]) == ("open", [])
    assert run(supervisor, number, "echo more > more", project)["status"] == 0
    assert supervisor.post(f"{page}/commit", {"on_conflict": "theirs"})["state"] == "committed"
    assert ((project / "mine").read_text(), (project / "theirs").read_text()) == ("new\n", "edited\n")
    assert (project / "more").exists()


def test_a_rollback_leaves_nothing(supervisor, project):
    """Of all levels; twice is refused, for it is over."""
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    run(supervisor, number, "echo 1 > file", project)
    supervisor.post(f"{page}/savepoint", {"name": "a"})
    run(supervisor, number, "echo 2 > file", project)
    assert supervisor.post(f"{page}/rollback")["state"] == "rolled-back"
    assert (os.path.exists(f"{supervisor.paths.layers}/{number}"), names(project)) == (False, [])
    assert supervisor.http("POST", f"{page}/rollback", {})[0] == 400
    assert run(supervisor, number, "true", project)["status"] == 125


def test_nothing_is_done_to_it_while_a_command_runs(supervisor, project):
    """A second command waits for the first; savepoints and decisions are refused meanwhile."""
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    first = supervisor.run(
        "while ! test -e stop; do sleep 0.05; done", ("transaction", b"%d" % number), cwd(project),
        ("detach", b"1"),
    )  # fmt: skip
    job = first.job()
    until(lambda: supervisor.get(page)["running"] == job)
    second = supervisor.run("true", ("transaction", b"%d" % number), cwd(project))
    second.next("waiting", "accepted")
    for verb, body in (("savepoint", {"name": "a"}), ("commit", {}), ("rollback", {})):
        assert supervisor.http("POST", f"{page}/{verb}", body)[0] == 503
    supervisor.post(f"/v1/jobs/{job}/cancel", {"signal": "KILL"})
    assert second.end()["status"] == 0
    supervisor.post(f"{page}/rollback")


def test_it_survives_a_killed_supervisor(made, project):
    """Between commands, and while one runs: the next supervisor goes on with it."""
    supervisor = made.start()
    number = begin(supervisor, project)
    page = f"/v1/transactions/{number}"
    run(supervisor, number, "echo 1 >> file", project)
    supervisor.post(f"{page}/savepoint", {"name": "a"})
    supervisor.stop(signal.SIGKILL)
    supervisor.start()
    gate = project.parent / "gate"
    running = supervisor.run(
        f"echo 2 >> file; while ! test -e {gate}; do sleep 0.05; done", ("transaction", b"%d" % number), cwd(project),
        ("detach", b"1"),
    )  # fmt: skip
    job = running.job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    supervisor.stop(signal.SIGKILL)
    supervisor.start()
    assert supervisor.http("POST", f"{page}/commit", {})[0] == 503
    gate.touch()
    assert supervisor.get(f"/v1/jobs/{job}/wait?timeout=30")["status"] == 0
    assert run(supervisor, number, "echo 3 >> file", project)["status"] == 0
    assert [step["kind"] for step in supervisor.get(page)["steps"]] == ["run", "savepoint", "run", "run"]
    supervisor.stop(signal.SIGKILL)
    supervisor.start()
    assert supervisor.post(f"{page}/commit")["state"] == "committed"
    assert (project / "file").read_text() == "1\n2\n3\n"


def test_a_transaction_over_several_directories(supervisor, tmp_path):
    """All or nothing over all of them; one within another is the outer one."""
    for name in ("a", "b", "a/inner"):
        (tmp_path / name).mkdir()
    number = begin(supervisor, tmp_path / "a", tmp_path / "a/inner", tmp_path / "b")
    assert supervisor.get(f"/v1/transactions/{number}")["directories"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run(supervisor, number, "echo 1 > a/inner/x; echo 2 > b/y", tmp_path)["status"] == 0
    assert supervisor.post(f"/v1/transactions/{number}/commit")["changes"]["added"] == 2
    assert ((tmp_path / "a/inner/x").read_text(), (tmp_path / "b/y").read_text()) == ("1\n", "2\n")


def test_what_nobody_touches_is_given_up(made, project):
    """By age, as held checkpoints are."""
    made.start(RETENTION_HELD_DAYS="0.0000001")
    number = begin(made, project)
    made.stop()
    made.start(RETENTION_HELD_DAYS="0.0000001")
    until(lambda: made.get(f"/v1/transactions/{number}")["state"] == "rolled-back")
    assert os.listdir(made.paths.layers) == []


def test_the_command_line(supervisor, project):
    """As people write it: numbers in and out, the command's own output and exit status."""

    def cbx(*words, status=0):
        done = subprocess.run(
            [CLIENT, *words], env=supervisor.environment, cwd=project, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout

    number = cbx("tx", "begin", "--label", "try").strip()
    assert cbx("tx", "run", number, "-c", "echo 1 > made; echo said") == "said\n"
    cbx("tx", "savepoint", number, "a")
    assert cbx("tx", "diff", number, "--name-status") == f"A\t{project}/made\n"
    assert cbx("tx", "commit", number, "-n") == f"would commit  A  {project}/made\n"
    cbx("tx", "run", number, "--", "sh", "-c", "rm made; exit 3", status=3)
    cbx("tx", "rollback-to", number, "a")
    assert "exit status 3" in cbx("tx", "status", number)
    assert cbx("tx", "list").splitlines()[1].split()[:4] == [number, "open", "2", "a"]
    assert cbx("tx", "shell", number, "--env", "SHELL=/bin/sh") == ""
    assert cbx("tx", "commit", number) == f"transaction {number} committed (+1)\n"
    assert (project / "made").read_text() == "1\n"
    assert cbx("checkpoint", "log", "-n", "1").splitlines()[1].split()[:2] == ["commit", number]
    cbx("tx", "run", number, "--", "true", status=125)
