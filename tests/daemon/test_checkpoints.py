"""Held checkpoints through the daemon: seen, committed, rolled back, locked while that happens."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import sqlite3
import subprocess

import pytest
from tests.crash.faults import STOPPED, Counter, in_child, stop
from tests.daemon.conftest import until
from tests.daemon.law.conftest import CLIENT

from cbx_sandbox.checkpoint import leftovers, parting
from cbx_sandbox.checkpoint.commit import commit
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.select import Selection
from cbx_sandbox.checkpoint.session import Session

pytestmark = pytest.mark.root

SEQUENTIAL, DANGEROUS = ("tier", b"SEQUENTIAL_REQUIRED"), ("tier", b"DANGEROUS_ISOLATED")
HOLD = ("commit", b"hold")


def cwd(path):
    return ("cwd", os.fsencode(path))


def held(supervisor, project, line="echo new > file", tier=SEQUENTIAL):
    result = supervisor.run(line, tier, HOLD, cwd(project), ("rw", os.fsencode(project))).end()["result"]
    assert result["checkpoint"]["state"] == "held", result
    return result["checkpoint"]["id"]


def test_a_held_checkpoint_is_committed_on_request(supervisor, project):
    """Nothing is there before, everything after; a second commit is refused."""
    number = held(supervisor, project)
    assert not (project / "file").exists()
    assert supervisor.get(f"/v1/checkpoints/{number}")["changes"]["added"] == 1
    status, decided = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})
    assert (status, decided["state"]) == (200, "committed")
    assert (project / "file").read_text() == "new\n"
    status, problem = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})
    assert (status, problem["exit_status"]) == (400, 125)


def test_a_held_checkpoint_is_rolled_back_on_request(supervisor, project):
    """Twice is no error, and its layers are gone."""
    number = held(supervisor, project)
    for _ in range(2):
        status, decided = supervisor.http("POST", f"/v1/checkpoints/{number}/rollback", {})
        assert (status, decided["state"]) == (200, "rolled-back")
    assert not (project / "file").exists()
    assert os.listdir(supervisor.paths.layers) == []


def test_it_survives_the_supervisor(supervisor, project):
    """Held means on disk."""
    number = held(supervisor, project)
    supervisor.stop()
    supervisor.start()
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})[0] == 200
    assert (project / "file").read_text() == "new\n"


def test_a_commit_is_undone_and_done_again(supervisor, project):
    """Also by another supervisor; not twice, and not when somebody has changed what it made."""
    (project / "old").write_text("old\n")
    number = held(supervisor, project, "echo new > file; rm old")
    page = f"/v1/checkpoints/{number}"
    assert supervisor.http("POST", f"{page}/undo", {})[0] == 400
    assert supervisor.http("POST", f"{page}/commit", {})[0] == 200
    supervisor.stop()
    supervisor.start()
    status, shown = supervisor.http("POST", f"{page}/undo", {})
    assert (status, shown["state"]) == (200, "undone"), shown
    assert ((project / "old").read_text(), (project / "file").exists()) == ("old\n", False)
    assert supervisor.http("POST", f"{page}/undo", {})[0] == 400
    status, shown = supervisor.http("POST", f"{page}/redo", {})
    assert (status, shown["state"]) == (200, "committed"), shown
    assert ((project / "old").exists(), (project / "file").read_text()) == (False, "new\n")
    (project / "file").write_text("edited\n")
    status, problem = supervisor.http("POST", f"{page}/undo", {})
    assert status == 409, problem
    assert (project / "file").read_text() == "edited\n"


@pytest.mark.crash
@pytest.mark.parametrize("point", [4, 12, 28])
def test_an_interrupted_commit_is_over_before_anybody_is_answered(supervisor, project, point):
    """Whole old and still held, or whole new and committed; never anything between."""
    (project / "old").write_text("old\n")
    number = held(supervisor, project, "echo new > file; mkdir d; echo n > d/n; rm old; echo more > other")
    supervisor.stop()
    with sqlite3.connect(supervisor.paths.database) as database:
        session = Session.from_json(json.loads(database.execute("SELECT session FROM checkpoints").fetchone()[0]))
    status, said = in_child(lambda: commit(session, keep=True).state.value, Counter(point, stop))
    supervisor.start()
    names = tuple(sorted({path.name for path in project.iterdir()} - {".git"}))
    state = supervisor.get(f"/v1/checkpoints/{number}")["state"]
    assert (status, state, names) in {
        (STOPPED, "held", ("old",)), (STOPPED, "committed", ("d", "file", "other"))
    }, said  # fmt: skip
    if state == "held":
        assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})[0] == 200
    assert (project / "d" / "n").read_text() == "n\n"


def test_a_conflict_changes_nothing(supervisor, project):
    """It says so with 409, and the checkpoint can still be decided on."""
    (project / "file").write_text("old\n")
    number = held(supervisor, project)
    (project / "file").write_text("theirs\n")
    status, problem = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {"on_conflict": "abort"})
    assert status == 409, problem
    assert (project / "file").read_text() == "theirs\n"
    assert supervisor.get(f"/v1/checkpoints/{number}")["state"] == "conflict"
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {"on_conflict": "ours"})[0] == 200
    assert (project / "file").read_text() == "new\n"


def test_a_commit_waits_for_locks_and_gives_up(made, project):
    """With 503 and status 75; the checkpoint stays."""
    supervisor = made.start(TIMEOUTS_LOCK_ACQUISITION_TIMEOUT_SECONDS="0.5")
    number = held(supervisor, project)
    tier = ("tier", b"CONDITIONAL_PARALLEL")
    call = supervisor.run("sleep 60", ("rw", os.fsencode(project)), tier, cwd(project))
    job = call.job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    status, problem = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})
    assert (status, problem["exit_status"]) == (503, 75)
    assert f"job {job} holds" in problem["detail"]
    assert supervisor.get(f"/v1/checkpoints/{number}")["state"] == "held"
    call.send(("kind", b"kill"))
    call.end()
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})[0] == 200


def test_a_commit_that_gets_no_lock_is_held_and_never_rolled_back(made, tmp_path):
    """A dangerous job that commits by itself, where another writes."""
    supervisor = made.start(TIMEOUTS_LOCK_ACQUISITION_TIMEOUT_SECONDS="0.5")
    busy, other = tmp_path / "busy", tmp_path / "other"
    for path in (busy, other):
        (path / ".git").mkdir(parents=True)
    tier = ("tier", b"CONDITIONAL_PARALLEL")
    call = supervisor.run("sleep 60", ("rw", os.fsencode(busy)), tier, cwd(busy))
    job = call.job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    # Where it writes cannot be read off its text, so no lock keeps it from running.
    (other / "text").write_text(f"echo x > {busy}/file\n")
    last = supervisor.run('eval "$(sed "" text)"', DANGEROUS, ("commit", b"auto"), cwd(other)).end()
    checkpoint = last["result"]["checkpoint"]
    assert checkpoint["state"] == "held", last["result"]
    assert not (busy / "file").exists()
    call.send(("kind", b"kill"))
    call.end()
    assert supervisor.http("POST", f"/v1/checkpoints/{checkpoint['id']}/commit", {})[0] == 200
    assert (busy / "file").read_text() == "x\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"on_conflict": "maybe"}, 400),
        ({"allow_privileged": "yes"}, 400),
        ({"colour": "red"}, 400),
        ([], 400),
    ],
)
def test_bad_bodies_are_refused(supervisor, project, body, status):
    """And nothing is decided."""
    number = held(supervisor, project)
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", body)[0] == status
    assert supervisor.get(f"/v1/checkpoints/{number}")["state"] == "held"


def test_unknown_numbers_and_pages_are_404(supervisor):
    """As problem+json."""
    for path in ("/v1/checkpoints/9", "/v1/checkpoints/x", "/v1/jobs/9", "/v1/nothing", "/v1/jobs/9/log"):
        status, problem = supervisor.http("GET", path)
        assert (status, problem["status"]) == (404, 404), path


@pytest.mark.parametrize("form", ["text", "list", "tree", "stat", "name-status", "json"])
def test_a_diff_in_every_form(supervisor, project, form):
    """Each names the file."""
    number = held(supervisor, project)
    status, content = supervisor.http("GET", f"/v1/checkpoints/{number}/diff?format={form}")
    assert status == 200
    assert "file" in str(content)


def test_each_conflict_is_told_and_decided_by_its_path(supervisor, project):
    """A preview names them and what told; then one stays, and the other is merged from what is held with it."""
    text = "".join(f"line {number}\n" for number in range(20))
    for name in ("one", "two"):
        (project / name).write_text(text)
    number = held(supervisor, project, "sed -i s/^line.3$/JOB/ one two")
    for name in ("one", "two"):
        (project / name).write_text(text.replace("line 18", "LIVE"))
    status, told = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {"dry_run": True})
    assert status == 200, told
    assert {(c["path"], c["resolution"]) for c in told["conflicts"]} == {
        (f"{project}/{name}", "abort") for name in ("one", "two")
    }
    assert all(c["proof"] == "change time" and c["seconds_after_start"] >= 0 for c in told["conflicts"])
    assert supervisor.get(f"/v1/checkpoints/{number}")["state"] == "held"
    body = {"resolve": {f"{project}/one": "theirs", f"{project}/two": "merge"}}
    status, told = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {**body, "dry_run": True})
    assert [change["path"] for change in told["changes"]] == [f"{project}/two"]
    assert [change["path"] for change in told["skipped"]] == [f"{project}/one"]
    status, decided = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", body)
    assert (status, decided["state"]) == (200, "committed"), decided
    assert (project / "one").read_text() == text.replace("line 18", "LIVE")
    assert (project / "two").read_text() == text.replace("line 18", "LIVE").replace("line 3\n", "JOB\n")


def test_a_part_is_committed_and_the_rest_still_held(supervisor, project):
    """Also over a restart; then the rest is rolled back."""
    number = held(supervisor, project, "echo 1 > one; echo 2 > two")
    status, decided = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {"only": [f"{project}/one"]})
    assert (status, decided["state"], decided["changes"]["added"]) == (200, "held", 1), decided
    assert sorted(path.name for path in project.iterdir() if path.is_file()) == ["one"]
    supervisor.stop()
    supervisor.start()
    status, content = supervisor.http("GET", f"/v1/checkpoints/{number}/diff?format=name-status")
    assert content.decode() == f"A\t{project}/two\n"
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/rollback", {})[0] == 200
    assert not (project / "two").exists()


def test_a_log_that_a_process_writes_to_keeps_its_inode(supervisor, project):
    """A job writes in place what somebody has open for writing, and the result says so; and what was asked for."""
    (project / "log").write_text("1\n")
    (project / "asked").write_text("1\n")
    fields = (("tier", b"SEQUENTIAL_REQUIRED"), cwd(project), ("rw", os.fsencode(project)))
    inodes = [(project / name).stat().st_ino for name in ("log", "asked")]
    with open(project / "log", "a") as log:
        result = supervisor.run("echo 2 >> log", *fields).end()["result"]
        number = result["checkpoint"]["id"]
        said = supervisor.get(f"/v1/checkpoints/{number}")["message"]
        assert "log was written in place: another process has it open for writing" in said
        log.write("3\n")
    assert (project / "log").read_text() == "1\n2\n3\n"
    number = held(supervisor, project, "echo 2 > asked")
    body = {"in_place": [f"{project}/asked"]}
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", body)[0] == 200
    assert [(project / name).stat().st_ino for name in ("log", "asked")] == inodes
    supervisor.post(f"/v1/checkpoints/{number}/undo")
    assert (project / "asked").read_text() == "1\n"


def test_names_that_mount_options_could_not_hold(supervisor, project):
    """Colons, commas and backslashes in the names of directories that overlays are mounted over."""
    odd = project / "a:b,c\\d=e" / "lowerdir=\\054x"
    odd.mkdir(parents=True)
    fields = (("tier", b"SEQUENTIAL_REQUIRED"), cwd(odd), ("rw", os.fsencode(odd)))
    result = supervisor.run("echo 1 > file", *fields).end()["result"]
    assert result["checkpoint"]["state"] == "committed", result
    assert (odd / "file").read_text() == "1\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_commit(supervisor, project, number):
    """It is finished or taken back, never half: what the supervisor says afterwards is what is there."""
    held_as = held(supervisor, project, "mkdir d; for i in $(seq 3000); do echo $i > d/$i; echo $i > $i; done")
    journal = f"{supervisor.paths.layers}/{held_as}/journal"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(asked, supervisor, held_as)
        until(lambda: os.path.exists(journal) or answer.done())
        supervisor.stop(number)
        answer.result()
    supervisor.start()
    names = {path.name for path in project.iterdir()} - {".git"}
    state = supervisor.get(f"/v1/checkpoints/{held_as}")["state"]
    assert (state, len(names)) in {("held", 0), ("committed", 3001)}


def asked(supervisor, number):
    """Ask for a commit; the answer may never come."""
    with contextlib.suppress(OSError, http.client.HTTPException, AssertionError, ValueError):
        supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})


def test_a_part_is_undone(supervisor, project):
    """What was committed is a checkpoint of its own, in the log and in the list; the rest stays held."""
    number = held(supervisor, project, "echo 1 > one; echo 2 > two")
    _, decided = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {"only": [f"{project}/one"]})
    [entry] = supervisor.get("/v1/checkpoints/log")["operations"]
    part = entry["checkpoint"]
    assert f"as checkpoint {part}," in decided["message"]
    assert (entry["kind"], entry["undoable"], part != number) == ("commit", True, True)
    supervisor.stop()
    supervisor.start()
    assert supervisor.get(f"/v1/checkpoints/{part}")["state"] == "committed"
    supervisor.post(f"/v1/checkpoints/{part}/undo")
    assert not (project / "one").exists()
    supervisor.post(f"/v1/checkpoints/{number}/commit")
    supervisor.post(f"/v1/checkpoints/{part}/redo")
    assert ((project / "one").read_text(), (project / "two").read_text()) == ("1\n", "2\n")


def test_a_directory_that_is_away(supervisor, project):
    """An undo says which it misses, and works when it is back."""
    number = held(supervisor, project)
    supervisor.post(f"/v1/checkpoints/{number}/commit")
    project.rename(project.with_name("elsewhere"))
    status, problem = supervisor.http("POST", f"/v1/checkpoints/{number}/undo", {})
    assert (status, problem["exit_status"]) == (409, 125), problem
    assert f"cannot lock the directories of checkpoint {number}: No such file" in json.dumps(problem)
    assert str(project) in json.dumps(problem)
    project.with_name("elsewhere").rename(project)
    assert supervisor.post(f"/v1/checkpoints/{number}/undo")["state"] == "undone"


def test_a_full_disk(supervisor, tmp_path):
    """A commit that finds no room says so in words, leaves everything as it is, and works when there is some."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=100", "tmpfs", str(place)], check=True)
    try:
        project = place / "project"
        (project / ".git").mkdir(parents=True)
        number = held(supervisor, project)
        with contextlib.suppress(OSError):
            for filler in range(100):
                (place / str(filler)).touch()
        status, problem = supervisor.http("POST", f"/v1/checkpoints/{number}/commit", {})
        assert (status, "no room is left where the changes are kept" in json.dumps(problem)) == (500, True), problem
        assert supervisor.get(f"/v1/checkpoints/{number}")["state"] == "held"
        assert not (project / "file").exists()
        for filler in range(50):
            (place / str(filler)).unlink()
        assert supervisor.post(f"/v1/checkpoints/{number}/commit")["state"] == "committed"
        supervisor.post(f"/v1/checkpoints/{number}/remove")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_part_that_a_crash_has_left_on_no_record(supervisor, project):
    """The next start writes it down as a checkpoint of its own: it can be undone, and the rest is still held."""
    (project / "gone").write_text("old\n")
    number = held(supervisor, project, "echo 1 > one; echo 2 > two; rm gone")
    supervisor.stop()
    commit_and_die(supervisor, project, number + 5, "one", "gone")
    supervisor.start()
    part = supervisor.get(f"/v1/checkpoints/{number + 5}")
    assert (part["state"], part["changes"]["added"], part["changes"]["deleted"]) == ("committed", 1, 1)
    rest = supervisor.get(f"/v1/checkpoints/{number}")
    assert (rest["state"], f"as checkpoint {number + 5}," in rest["message"]) == ("held", True)
    supervisor.post(f"/v1/checkpoints/{number + 5}/undo")
    assert ((project / "gone").read_text(), (project / "one").exists()) == ("old\n", False)
    supervisor.post(f"/v1/checkpoints/{number}/commit")
    assert {path.name for path in project.iterdir()} - {".git"} == {"gone", "two"}


def commit_and_die(supervisor, project, part, *names):
    """A commit of some names of the one checkpoint there is, killed before anything was written into the database."""
    with contextlib.closing(sqlite3.connect(supervisor.paths.database)) as database:
        session = Session.from_json(json.loads(database.execute("SELECT session FROM checkpoints").fetchone()[0]))

    def work():
        parting.clear = lambda *_: stop()
        only = tuple(os.fsencode(project / name) for name in names)
        apart = Apart(part, leftovers.identity(supervisor.paths.database))
        return commit(session, selection=Selection(only=only), keep=True, apart=apart)

    assert in_child(work)[0] == STOPPED
    return session


def test_a_part_that_cannot_be_written_down_yet_is_kept(supervisor, project):
    """Other layers on no record are removed by that start: the control."""
    (project / "gone").write_text("old\n")
    number = held(supervisor, project, "echo 1 > one; rm gone")
    supervisor.stop()
    part, other = number + 5, f"{supervisor.paths.layers}/{number + 6}"
    session = commit_and_die(supervisor, project, part, "gone")
    spec = dataclasses.replace(session.layers[0], root=f"{other}/0")
    leftovers.make([spec], leftovers.identity(supervisor.paths.database))
    upper = session.layers[0].upper
    subprocess.run(["chattr", "+i", upper], check=True)
    try:
        supervisor.start()
        until(lambda: not os.path.exists(other))
        supervisor.stop()
    finally:
        subprocess.run(["chattr", "-i", upper], check=True)
    supervisor.start()
    supervisor.post(f"/v1/checkpoints/{part}/undo")
    assert (project / "gone").read_text() == "old\n"


def test_a_part_whose_disk_is_read_only_at_the_next_start(supervisor, project, tmp_path):
    """It holds up nobody, loses neither its undo nor its number, and is written down by the first start that can."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        away = place / "project"
        (away / ".git").mkdir(parents=True)
        (away / "gone").write_text("old\n")
        number = held(supervisor, away, "echo 1 > one; echo 2 > two; rm gone")
        supervisor.stop()
        part = number + 5
        commit_and_die(supervisor, away, part, "one", "gone")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        supervisor.start()
        assert supervisor.http("GET", f"/v1/checkpoints/{part}")[0] == 404
        assert held(supervisor, project) > part
        until(lambda: f'"checkpoint": {part}, "error": "[Errno 30]' in supervisor.log.read_text())
        supervisor.stop()
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        supervisor.start()
        assert supervisor.get(f"/v1/checkpoints/{part}")["state"] == "committed"
        supervisor.post(f"/v1/checkpoints/{part}/undo")
        assert ((away / "gone").read_text(), (away / "one").exists()) == ("old\n", False)
        supervisor.post(f"/v1/checkpoints/{number}/commit")
        assert {path.name for path in away.iterdir()} - {".git"} == {"gone", "two"}
    finally:
        supervisor.stop()
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    "body",
    [
        {"resolve": {"relative": "ours"}},
        {"resolve": {"/x": "maybe"}},
        {"resolve": ["/x"]},
        {"only": "/x"},
        {"only": ["/not/changed"]},
        {"without": [1]},
        {"dry_run": 1},
    ],
)
def test_bad_wishes_are_refused(supervisor, project, body):
    """And nothing is decided."""
    number = held(supervisor, project)
    assert supervisor.http("POST", f"/v1/checkpoints/{number}/commit", body)[0] == 400
    assert supervisor.get(f"/v1/checkpoints/{number}")["state"] == "held"


def committed(supervisor, project, line):
    """One command whose changes are committed at once; its checkpoint."""
    result = supervisor.run(line, SEQUENTIAL, cwd(project), ("rw", os.fsencode(project))).end()["result"]
    assert result["checkpoint"]["state"] == "committed", result
    return result["checkpoint"]["id"]


def test_the_log_has_what_was_done_to_the_live_tree(supervisor, project):
    """Commits, undos and redos, with who, when and which paths; what lies on top of what."""
    first = committed(supervisor, project, "echo 1 > a; mkdir d; echo 1 > d/x")
    second = committed(supervisor, project, "echo 2 > d/x")
    third = held(supervisor, project, "echo 3 > other")
    supervisor.post(f"/v1/checkpoints/{held(supervisor, project)}/rollback")
    supervisor.post(f"/v1/checkpoints/{third}/commit")
    supervisor.post(f"/v1/checkpoints/{third}/undo")
    supervisor.post(f"/v1/checkpoints/{third}/redo")

    def log(query=""):
        return supervisor.get(f"/v1/checkpoints/log{query}")["operations"]

    done = [(entry["kind"], entry["checkpoint"], entry["undoable"], entry["under"]) for entry in log()]
    assert done == [
        ("redo", third, True, []),
        ("undo", third, False, []),
        ("commit", third, False, []),
        ("commit", second, True, []),
        ("commit", first, True, [second]),
    ]
    last = log()[-1]
    assert (last["uid"], last["paths"][0], last["changes"]["added"]) == (0, str(project / "a"), 3)
    assert [entry["checkpoint"] for entry in log(f"?path={project}/d")] == [second, first]
    assert {entry["checkpoint"] for entry in log(f"?checkpoint={third}")} == {third}
    assert supervisor.http("POST", f"/v1/checkpoints/{first}/undo", {})[0] == 409
    supervisor.post(f"/v1/checkpoints/{second}/undo")
    assert log()[-1]["under"] == []
    supervisor.post(f"/v1/checkpoints/{first}/undo")
    assert not (project / "d").exists()


def test_a_checkpoint_is_removed(supervisor, project):
    """What was decided on, with what it replaced; what is held only after that."""
    waiting, done = held(supervisor, project), committed(supervisor, project, "echo 1 > made")
    status, problem = supervisor.http("POST", f"/v1/checkpoints/{waiting}/remove", {})
    assert (status, "held" in problem["title"]) == (400, True)
    assert os.path.exists(f"{supervisor.paths.layers}/{done}/journal")
    assert supervisor.post(f"/v1/checkpoints/{done}/remove") == {"id": done, "removed": True}
    assert not os.path.exists(f"{supervisor.paths.layers}/{done}")
    assert supervisor.http("POST", f"/v1/checkpoints/{done}/undo", {})[0] == 404
    assert (project / "made").read_text() == "1\n"
    supervisor.post(f"/v1/checkpoints/{waiting}/rollback")
    supervisor.post(f"/v1/checkpoints/{waiting}/remove")
    assert supervisor.get("/v1/checkpoints")["checkpoints"] == []


@pytest.mark.parametrize("tier", [SEQUENTIAL, DANGEROUS], ids=["directory", "whole mounts"])
def test_looking_around_in_a_held_checkpoint(supervisor, project, tier):
    """What it would make is there and what it would remove is not; nothing can be written."""
    (project / "old").mkdir()
    (project / "old/file").write_text("old\n")
    (project / "kept").write_text("kept\n")
    number = held(supervisor, project, "rm -r old; mkdir -p a/b; echo new > a/b/n; echo more >> kept", tier)

    def look(line, *fields):
        call = supervisor.run(line, ("view", b"%d" % number), cwd(project), *fields)
        end = call.end()
        return end["status"], os.read(call.output, 1000) if end["status"] in {0, 1} else b""

    assert look("cat a/b/n kept; ls") == (0, b"new\nkept\nmore\na\nkept\n")
    assert (project / "kept").read_text() == "kept\n"
    words = [CLIENT, "checkpoint", "shell", str(number), "--", "cat", str(project / "a/b/n")]
    shown = subprocess.run(words, env=supervisor.environment, cwd="/", capture_output=True, check=False)
    assert (shown.returncode, shown.stdout) == (0, b"new\n"), shown.stderr
    assert look("touch a/b/x 2>/dev/null; rm kept 2>/dev/null; ls a/b kept")[1] == b"kept\n\na/b:\nn\n"
    hints = [
        "--tier" in supervisor.run("grep nothing kept; exit 9", cwd(project), *view).end()["result"]["message"]
        for view in ((), (("view", b"%d" % number),))
    ]
    assert hints == [True, False]
    for refused in (("rw", os.fsencode(project)), ("transaction", b"1"), ("tier", b"SEQUENTIAL_REQUIRED")):
        assert look("true", refused)[0] == 125
    assert supervisor.post(f"/v1/checkpoints/{number}/commit")["state"] == "committed"
    assert ((project / "a/b/n").read_text(), (project / "kept").read_text()) == ("new\n", "kept\nmore\n")
    assert look("true")[0] == 125
