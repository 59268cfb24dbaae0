"""Every page of the HTTP socket, asked by every role about what is root's: a page without a line in the table fails."""

from __future__ import annotations

import http.client
import json
import os
import socket

import pytest
from tests.daemon.conftest import PATIENCE, until
from tests.daemon.people import ADMIN, AUDITOR, CHANGER, OPERATOR, STRANGER, VIEWER, acting

from cbx_supervisor.daemon.routes import PAGES

pytestmark = pytest.mark.root

ROLES = {"stranger": STRANGER, "changer": CHANGER, "viewer": VIEWER}
ROLES |= {"auditor": AUDITOR, "operator": OPERATOR, "admin": ADMIN}
SERVED, DENIED, UNKNOWN = "served", "denied", "not found"


def _allowed(*roles, otherwise=DENIED, stranger=None):
    """What each role is answered: it is served, told that it may not, or that there is no such thing."""
    rest = {name: SERVED if name in roles else otherwise for name in ROLES}
    return rest if stranger is None else rest | {"stranger": stranger, "changer": stranger}


EVERYBODY = _allowed(*ROLES)  # what is about nobody's jobs, or about one's own only
SEE = _allowed("viewer", "auditor", "operator", "admin", stranger=UNKNOWN)
STEER = _allowed("operator", "admin", stranger=UNKNOWN)
DECIDE = _allowed("admin", stranger=UNKNOWN)
QUEUE = _allowed("operator", "admin")
RESET = QUEUE | {"operator": UNKNOWN, "admin": UNKNOWN}  # there is none to reset, which only they are told
CONFIGURE = _allowed("admin")
AUDIT = _allowed("auditor", "admin")

# Numbers stand for: a job that is over, one that runs, a held checkpoint, a transaction.
OVER, RUNS, HELD, BEGUN = "over", "runs", "held", "begun"
TABLE = {
    "openapi": (EVERYBODY, None, None),
    "status": (EVERYBODY, None, None),
    "list": (EVERYBODY, None, None),
    "submit": (EVERYBODY, None, {"cwd": "/", "argv": ["true"]}),
    "submit --batch": (EVERYBODY, None, {"jobs": [{"cwd": "/", "argv": ["true"]}]}),
    "show": (SEE, OVER, None),
    "wait": (SEE, OVER, None),
    "why": (SEE, RUNS, None),
    "logs": (SEE, OVER, None),
    "logs -f": (SEE, OVER, None),
    "events of a job": (SEE, OVER, None),
    "events": (EVERYBODY, None, None),
    "cancel": (STEER, RUNS, {}),
    "kill": (STEER, RUNS, {"signal": "CONT"}),
    "pause": (STEER, RUNS, {}),
    "resume": (STEER, RUNS, {}),
    "priority": (STEER, RUNS, {"priority": "low"}),
    "move": (STEER, RUNS, {"first": True}),
    "retry": (DECIDE, OVER, {}),
    "abandon": (STEER, OVER, {}),
    "queue": (EVERYBODY, None, None),
    "queue strategy, pause, drain, resume": (QUEUE, None, {"paused": False}),
    "pools": (EVERYBODY, None, None),
    "breakers": (EVERYBODY, None, None),
    "breakers reset": (RESET, None, {"name": "curl example.org", "uid": 0}),
    "locks": (EVERYBODY, None, None),
    "checkpoint list": (EVERYBODY, None, None),
    "checkpoint du": (EVERYBODY, None, None),
    "checkpoint log": (EVERYBODY, None, None),
    "checkpoint rm": (DECIDE, HELD, {}),
    "checkpoint show": (SEE, HELD, None),
    "checkpoint diff": (SEE, HELD, None),
    "checkpoint commit": (DECIDE, HELD, {}),
    "checkpoint pin": (DECIDE, HELD, {"pinned": True}),
    "checkpoint rollback": (DECIDE, HELD, {}),
    "checkpoint undo": (DECIDE, HELD, {}),
    "checkpoint redo": (DECIDE, HELD, {}),
    "tx list": (EVERYBODY, None, None),
    "tx begin": (EVERYBODY, None, {"directories": ["/"]}),
    "tx status": (SEE, BEGUN, None),
    "tx diff": (SEE, BEGUN, None),
    "tx run": (DECIDE, BEGUN, {"cwd": "/", "argv": ["true"]}),
    "tx savepoint": (DECIDE, BEGUN, {"name": "here"}),
    "tx rollback-to": (DECIDE, BEGUN, {"name": "here"}),
    "tx commit": (DECIDE, BEGUN, {}),
    "tx rollback": (DECIDE, BEGUN, {}),
    "report accuracy": (EVERYBODY, None, None),
    "report operations": (EVERYBODY, None, None),
    "config show": (EVERYBODY, None, None),
    "config diff": (EVERYBODY, None, None),
    "config reload": (CONFIGURE, None, {}),
    "incidents": (AUDIT, None, None),
    "incidents show": (AUDIT | {"auditor": UNKNOWN, "admin": UNKNOWN}, OVER, None),  # it had none
    "audit": (AUDIT, None, None),
}


@pytest.fixture
def roots(shared, project):
    """Root's things, by what they stand for."""
    line, where = f"echo x > {project}/file", ("cwd", os.fsencode(project))
    over = shared.run(line, where, ("commit", b"hold"), ("detach", b"1"), fds={}).job()
    until(lambda: shared.get(f"/v1/jobs/{over}")["state"] == "exited")
    (project / "part").mkdir()
    begun = shared.http("POST", "/v1/transactions", {"directories": [str(project / "part")]})[1]["id"]
    runs = shared.run("sleep 600").job()
    held = shared.get(f"/v1/jobs/{over}")["checkpoint"]["id"]
    return {OVER: over, RUNS: runs, HELD: held, BEGUN: begun}


def _status(path, page, number, body):
    """Of one request; what comes after the head is not waited for, since it may have no end."""
    connection = http.client.HTTPConnection("cbx", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(page.method, page.path.format(number=number), text)
        return connection.getresponse().status
    finally:
        connection.close()


def test_every_page_has_its_line():
    """Who adds a page says who may ask for it."""
    assert {page.verb for page in PAGES} == set(TABLE)


def test_each_role_is_served_what_it_may_and_nothing_else(shared, roots):
    """Whoever may not is answered before anything is done, whatever the body says; the weakest ask first."""
    wrong = []
    for role, user in ROLES.items():

        def ask():
            found = {}
            for page in PAGES:
                _, thing, body = TABLE[page.verb]
                found[page.verb] = _status(shared.paths.http_socket, page, roots.get(thing, 0), body)
            return found

        for verb, status in acting(shared, user, ask).items():
            answered = {403: DENIED, 404: UNKNOWN}.get(status, SERVED)
            if answered != TABLE[verb][0][role]:
                wrong.append((role, verb, status))
    assert not wrong, "\n".join(map(str, wrong))


def test_only_root_and_admins_loosen_over_the_exec_socket(shared):
    """Each way to ask for more than one's own rights, by each role."""
    asked = {
        "user": (("user", b"root"),),
        "priority": (("priority", b"critical"),),
        "host effects": (("host_effects", b"process"),),
        "privileged changes": (("allow_privileged", b"1"),),
        "checks": (("allow_checks", b"all"),),
    }
    for role, user in ROLES.items():

        def ask():
            found = {}
            for name, fields in asked.items():
                call = shared.run("true", *fields)
                found[name] = call.end()["status"]
                call.close()
            return found

        statuses = acting(shared, user, ask)
        if role == "admin":
            assert statuses["user"] == statuses["priority"] == statuses["host effects"] == 0, statuses
        elif role == "changer":
            assert statuses.pop("host effects") == 0, statuses
            assert set(statuses.values()) == {126}, statuses
        else:
            assert set(statuses.values()) == {126}, (role, statuses)
