"""Users of this machine in the roles that tests give them, and what they ask a supervisor for."""

from __future__ import annotations

import json
import os
import pwd
import traceback

from tests.daemon.conftest import Call

OWNER, STRANGER, VIEWER, OPERATOR, AUDITOR, ADMIN, CHANGER = "games", "nobody", "man", "lp", "mail", "news", "proxy"
SETTINGS = f"""
[access]
group = "users"
viewers = ["{VIEWER}"]
operators = ["@{OPERATOR}", "@no such group"]
auditors = ["{AUDITOR}"]
admins = ["{ADMIN}"]
host_effects = ["{CHANGER}"]
"""


def open_the_way(parent):
    """Let everybody reach it: pytest closes its directory each time that it is started."""
    while parent != "/":
        os.chmod(parent, os.stat(parent).st_mode | 0o111)
        parent = os.path.dirname(parent)


def acting(supervisor, name, action):
    """What ``action`` returns in a process of that user's, who is a member of the sockets' group."""
    open_the_way(supervisor.paths.runtime)
    entry = pwd.getpwnam(name)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([100])
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
            os.write(write, json.dumps(action()).encode())
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    assert data, f"{name} got no answer"
    return json.loads(data)


def asks(supervisor, name, method, path, body=None):
    """The status of one request and its answer."""
    return acting(supervisor, name, lambda: supervisor.http(method, path, body))


def job_of(supervisor, name, line="true", *fields):
    """A job of that user's: its number, once it is over."""

    def run():
        end = Call(supervisor.paths.exec_socket, [("line", line.encode()), *fields]).end()
        return [end["status"], end["result"] and end["result"]["job"], end.get("text", b"").decode()]

    return acting(supervisor, name, run)
