"""Who may what: roles, quotas, what is answered to those who may not, and the audit trail of it."""

from __future__ import annotations

import concurrent.futures
import os
import pwd
import sqlite3
import threading

import msgspec
import pytest
from tests.daemon.people import ADMIN, AUDITOR, OPERATOR, OWNER, SETTINGS, STRANGER, VIEWER, acting, asks, job_of

from cbx_supervisor.daemon.routes import PAGES
from cbx_supervisor.protocol import messages

pytestmark = pytest.mark.root


def trail(supervisor):
    with sqlite3.connect(supervisor.paths.database) as connection:
        return connection.execute("SELECT uid, subject FROM audit WHERE action = 'denied' ORDER BY id").fetchall()


def test_who_sees_and_touches_whose_jobs(shared):
    """What may not be seen is not found; what may be seen and not touched is denied, audited and left as it is."""
    call = shared.run("sleep 300", ("user", OWNER.encode()))
    job = call.job()
    page, cancel = f"/v1/jobs/{job}", f"/v1/jobs/{job}/cancel"
    assert asks(shared, STRANGER, "GET", page)[0] == 404
    assert asks(shared, STRANGER, "POST", cancel, {})[0] == 404
    assert asks(shared, STRANGER, "POST", f"{page}/kill", {})[0] == 404
    assert asks(shared, STRANGER, "GET", "/v1/jobs")[1] == {"jobs": []}
    assert asks(shared, STRANGER, "GET", "/v1/jobs?user=root")[1] == {"jobs": []}
    assert asks(shared, STRANGER, "GET", "/v1/audit")[0] == 403
    for name in (VIEWER, AUDITOR):
        assert asks(shared, name, "GET", page)[1]["state"] in {"starting", "running"}
        status, answer = asks(shared, name, "POST", cancel, {})
        assert (status, answer["exit_status"]) == (403, 126)
        assert asks(shared, name, "POST", f"{page}/kill", {"signal": "TERM"})[0] == 403
        assert asks(shared, name, "POST", "/v1/config/reload")[0] == 403
    assert asks(shared, VIEWER, "GET", "/v1/audit")[0] == 403
    assert shared.get(page)["state"] in {"starting", "running"}
    denied = trail(shared)
    assert (pwd.getpwnam(VIEWER).pw_uid, f"cancel job {job}") in denied
    assert (pwd.getpwnam(STRANGER).pw_uid, "read the audit trail") in denied
    status, answer = asks(shared, AUDITOR, "GET", "/v1/audit")
    assert (status, answer["entries"][0]["action"]) == (200, "denied")
    assert asks(shared, OPERATOR, "POST", "/v1/config/reload")[0] == 403
    assert asks(shared, OPERATOR, "POST", cancel, {"reason": "no need"})[1]["cancelled"] is True
    assert call.end()["result"]["reason"] == "cancelled"
    entries = [entry for entry in shared.get("/v1/audit")["entries"] if entry["action"] == "cancelled"]
    by_whom = [(entry["uid"], entry["detail"]["reason"]) for entry in entries if "reason" in entry["detail"]]
    assert by_whom == [(pwd.getpwnam(OPERATOR).pw_uid, "no need")]


def test_who_may_loosen(shared):
    """Root and admins; a denied submission is audited and is no job."""
    before = len(shared.get("/v1/jobs")["jobs"])
    for name in (STRANGER, VIEWER, OPERATOR, AUDITOR):
        status, job, text = job_of(shared, name, "true", ("user", b"root"))
        assert (status, job) == (126, None)
        assert "--user" in text
        assert job_of(shared, name, "true", ("priority", b"critical"))[0] == 126
    assert len(shared.get("/v1/jobs")["jobs"]) == before
    assert (pwd.getpwnam(OPERATOR).pw_uid, "submission") in trail(shared)
    status, job, text = job_of(shared, ADMIN, "id -u", ("user", OWNER.encode()))
    assert status == 0, text
    assert shared.get(f"/v1/jobs/{job}")["identity"]["uid"] in {pwd.getpwnam(name).pw_uid for name in (OWNER, ADMIN)}
    assert asks(shared, ADMIN, "POST", "/v1/config/reload")[0] == 200


def test_roles_change_with_a_reload(shared):
    """The one who was a viewer is none any more."""
    job = shared.run("true").end()["result"]["job"]
    assert asks(shared, VIEWER, "GET", f"/v1/jobs/{job}")[0] == 200
    with open(f"{shared.paths.config}/cbx.toml", "w") as file:
        file.write(SETTINGS.replace(f'["{VIEWER}"]', "[]"))
    changed = shared.http("POST", "/v1/config/reload")[1]["changed"]
    assert [change["key"] for change in changed] == ["access.viewers"]
    assert asks(shared, VIEWER, "GET", f"/v1/jobs/{job}")[0] == 404


def test_a_quota_of_held_changes(shared, tmp_path_factory):
    """Who has as much held as he may gets no job until he decides; others do."""
    with open(f"{shared.paths.config}/cbx.toml", "a") as file:
        file.write("checkpoint_mb_per_user_max = 1\n")
    assert shared.http("POST", "/v1/config/reload")[0] == 200
    place = tmp_path_factory.mktemp("held")
    os.chown(place, pwd.getpwnam(OWNER).pw_uid, 60)
    options = [("cwd", os.fsencode(place)), ("tier", b"DANGEROUS_ISOLATED"), ("commit", b"hold")]
    status, job, text = job_of(shared, OWNER, "dd if=/dev/zero of=file bs=1M count=2 status=none", *options)
    assert status == 0, text
    held = shared.get(f"/v1/jobs/{job}")["checkpoint"]["id"]
    status, _, text = job_of(shared, OWNER)
    assert (status, "2 MiB of changes are held" in text) == (75, True)
    assert job_of(shared, STRANGER)[0] == 0
    assert asks(shared, OPERATOR, "POST", f"/v1/checkpoints/{held}/rollback")[0] == 403
    assert asks(shared, STRANGER, "POST", f"/v1/checkpoints/{held}/rollback")[0] == 404
    assert asks(shared, OWNER, "POST", f"/v1/checkpoints/{held}/rollback")[1]["state"] == "rolled-back"
    assert job_of(shared, OWNER)[0] == 0


def test_answers_are_what_the_description_says(supervisor, project):
    """Every page that can be asked without an argument, and those of one job, one checkpoint and one transaction."""
    line = f"echo x > {project}/file"
    end = supervisor.run(line, ("cwd", os.fsencode(project)), ("commit", b"hold")).end()["result"]
    running = supervisor.run("sleep 100").job()
    (project / "part").mkdir()
    begun = supervisor.http("POST", "/v1/transactions", {"directories": [str(project / "part")]})[1]
    numbers = {"/v1/jobs": [end["job"], running], "/v1/checkpoints": [end["checkpoint"]["id"]]}
    numbers["/v1/transactions"] = [begun["id"]]
    numbers["/v1/incidents"] = []  # there is none; its own tests make one
    asked = 0
    for page in PAGES:
        if page.method != "GET" or not page.answers or page.media != "application/json":
            continue
        for number in next((numbers[start] for start in numbers if page.path.startswith(start + "/{")), [0]):
            status, answer = supervisor.http("GET", page.path.format(number=number) + _waiting(page))
            assert status in ({200, 204} if page.empty else {200}), (page.path, answer)
            if status == 200:
                _fits(answer, page.answers)
                asked += 1
    assert asked > 10
    for path, body, status in (
        (f"/v1/jobs/{running}/cancel", {"signal": "HUP"}, 400),
        (f"/v1/jobs/{running}/kill", {"signal": "nonsense"}, 400),
        (f"/v1/jobs/{running}/cancel", {"unknown": 1}, 400),
        (f"/v1/jobs/{running}/cancel", [1], 400),
        ("/v1/jobs/999999/cancel", {}, 404),
        ("/v1/nothing", {}, 404),
    ):
        answered, problem = supervisor.http("POST", path, body)
        assert answered == status, problem
        _fits(problem, (messages.Problem,))
    status, answer = supervisor.http("POST", f"/v1/jobs/{running}/kill", {"signal": "KILL"})
    assert (status, _fits(answer, (messages.Signalled,)).signalled) == (200, True)
    assert supervisor.http("GET", f"/v1/jobs/{running}/wait?timeout=30")[1]["signal"] == "KILL"
    assert supervisor.http("POST", f"/v1/jobs/{running}/kill", {})[1]["signalled"] is False
    described = supervisor.get("/v1/openapi.json")
    assert set(described["paths"]) == {page.path for page in PAGES}


def _waiting(page):
    return "?timeout=0" if page.empty else ""


def _fits(answer, kinds):
    """It is of one of these types: unknown fields are an error in all but a job's result."""
    problems = []
    for kind in kinds:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            problems.append(str(error))
    raise AssertionError(problems)


def test_lists_are_filtered(supervisor):
    """By user, tier, state and command."""
    first = supervisor.run("echo one").end()["result"]["job"]
    second = supervisor.run("exit 3", ("user", OWNER.encode())).end()["result"]["job"]

    def listed(query):
        return [job["job"] for job in supervisor.get(f"/v1/jobs?{query}")["jobs"]]

    assert listed("") == [second, first]
    assert listed("name=echo*") == [first]
    assert listed("tier=safe&limit=1") == [second]
    assert listed("tier=dangerous") == []
    assert listed("state=running,queued") == []
    assert supervisor.http("GET", "/v1/jobs?tier=none")[0] == 400
    assert supervisor.http("GET", "/v1/jobs?user=no%20such%20user")[0] == 400
    assert supervisor.http("GET", "/v1/jobs?limit=x")[0] == 400


def test_a_batch_has_no_more_room_in_the_queue_than_its_jobs(made):
    """A user's quota counts them one by one, and a batch that is too long takes none; others have their own room."""
    os.makedirs(made.paths.config, mode=0o755)
    with open(f"{made.paths.config}/cbx.toml", "w") as file:
        file.write('[access]\ngroup = "users"\nqueue_per_user_max = 5\n')
    os.chmod(file.name, 0o644)
    supervisor = made.start("--idle-exit", "120")
    supervisor.post("/v1/queue", {"paused": True})

    def batch(count):
        return supervisor.http("POST", "/v1/batches", {"jobs": [{"argv": ["true"], "cwd": "/"}] * count})[0]

    def both():
        """Two at once, of which one has room."""
        gate = threading.Barrier(2)

        def one():
            gate.wait()
            return batch(3)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return sorted(future.result() for future in [pool.submit(one), pool.submit(one)])

    taken, refused = acting(supervisor, OWNER, both)
    assert taken == 201
    assert refused >= 400
    assert acting(supervisor, OWNER, lambda: [batch(3), batch(2), batch(1)])[1] == 201
    assert acting(supervisor, OWNER, lambda: batch(1)) >= 400
    assert acting(supervisor, STRANGER, lambda: batch(5)) == 201
    assert batch(20) == 201
    listed = supervisor.get("/v1/jobs?limit=1000")["jobs"]
    assert len(listed) == 30
