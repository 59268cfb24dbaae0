"""How fast jobs are taken, analysed and on disk, one by one by eight clients, and in batches; none is started."""

import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import world as worlds
from figures import Report
from world import Call, World

CLIENTS = 8
EACH = 250  # jobs of one client
GROUP = 500  # jobs of one batch


def submitting(_world: object, report: Report, _runs: int) -> None:
    """Jobs a second, the processor time of the supervisor for each, and what it holds for those that wait."""
    for name, work in (("one by one", _one_by_one), ("in batches", _in_batches)):
        with worlds.supervisor() as world:
            world.command("queue", "pause")
            before, resident = _cpu(world), _resident(world)
            began = time.monotonic()
            _together(world, work)
            # The last one was analysed when all stand in the queue.
            while _waiting(world) < CLIENTS * EACH:
                time.sleep(0.02)
            seconds, jobs = time.monotonic() - began, CLIENTS * EACH
            cpu = (_cpu(world) - before) / jobs
            held = (_resident(world) - resident) / jobs
            report.samples[f"submissions {name}"] = [seconds / jobs]
            goal = 1.0 if work is _one_by_one else 0.5
            report.goal(
                f"a submission {name}, {CLIENTS} clients, analysed and on disk", 1000 * seconds / jobs, goal, " ms"
            )
            report.notes.append(f"submissions {name}: {1000 * cpu:.2f} ms of the supervisor's processor time each")
            report.notes.append(f"submissions {name}: {held:.1f} KiB resident for each that waits")


def _command(client: int, number: int) -> list[str]:
    """No two are alike: nothing that is known of one command says anything of another."""
    return ["head", "-n", str(1 + client * EACH + number), f"file-{(client + number) % 50}"]


def _together(world: World, work: Callable[[World, int], None]) -> None:
    started = []
    for client in range(CLIENTS):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                work(world, client)
                status = 0
            finally:
                os._exit(status)
        started.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in started]
    if any(statuses):
        raise SystemExit("bench: a client failed")


def _one_by_one(world: World, client: int) -> None:
    for number in range(EACH):
        call = Call(world, _command(client, number), {"detach": "1"}, "")
        while not call.accepted:
            call.step()
        call.close()


def _in_batches(world: World, client: int) -> None:
    jobs = [{"argv": _command(client, number), "cwd": world.project} for number in range(EACH)]
    for begin in range(0, EACH, GROUP):
        _post(world, "/v1/batches", {"jobs": jobs[begin : begin + GROUP], "env": world.environment})


def _post(world: World, path: str, body: dict[str, object] | None) -> dict[str, object]:
    connection = http.client.HTTPConnection("cbx")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(f"{world.directory}/run/cbx.sock")
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise SystemExit(f"bench: {text.decode()}")
    return json.loads(text)


def _waiting(world: World) -> int:
    return int(str(_post(world, "/v1/queue", None)["waiting"]))


def _cpu(world: World) -> float:
    fields = Path(f"/proc/{world.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(world: World) -> int:
    """KiB."""
    lines = Path(f"/proc/{world.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
