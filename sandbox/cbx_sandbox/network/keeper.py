"""The keeper: forks a relay for each job that needs one, so that the supervisor does not, and keeps nothing of it.

Protocol, on a SOCK_SEQPACKET socket: a request is JSON with descriptors: the job's network namespace, a pidfd of its
init, a socket for the relay, then a listener of the host's for each published port. The relay answers on its own
socket: ``ready`` or ``failed``; at ``end``, or when that socket closes after the job's, it tells its figures and ends.
A relay outlives keeper and supervisor: a job that goes on keeps its network.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cbx_sandbox.allowlist import Allowlist, parse
from cbx_sandbox.errors import CbxError, UnavailableError
from cbx_sandbox.linux import files, landlock, namespaces, privileges
from cbx_sandbox.network import denials, rules
from cbx_sandbox.network.names import Names
from cbx_sandbox.network.relay import Relay, Terms

try:
    from cbx_sandbox.network import namespace
except ImportError as _error:  # pyroute2 is not there: each job is told
    _MISSING: ImportError | None = _error
else:
    _MISSING = None

REQUEST_FD = 3
MESSAGE_BYTES = 1 << 17
MAX_DESCRIPTORS = 64
RELAY_ID = 0x3FFFFFFE  # nobody of the host, and not the id of inits
END_SECONDS = 5.0  # from the job's end to the supervisor's question for the figures


def main() -> None:
    """``python -I -c …``: serve on descriptor 3 until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # relays are not waited for
    os.umask(0o077)
    connection = socket.socket(fileno=REQUEST_FD)
    connection.set_inheritable(False)
    gc.freeze()
    while True:
        data, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not data:
            return
        if os.fork() == 0:
            try:
                _become_relay(json.loads(data), fds)
            except BaseException as error:  # noqa: BLE001  # nobody above could report it
                os.write(2, f"relay: {type(error).__name__}: {error}\n".encode())
                os._exit(1)
            os._exit(0)
        for fd in fds:
            os.close(fd)


def _become_relay(order: dict[str, Any], fds: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files.close_others(set(fds))
    inner, job, control_fd, *listeners = fds
    control = socket.socket(fileno=control_fd)
    try:
        relay, log = _stand(order, inner, [socket.socket(fileno=fd) for fd in listeners])
    except CbxError as error:
        _say(control, {"event": "failed", "brief": error.brief, "details": error.details, "hint": error.hint})
        return
    except OSError as error:
        _say(control, {"event": "failed", "brief": f"cannot make an allowlist: {error}", "details": "", "hint": ""})
        return
    asyncio.run(_serve(relay, control, job, log))


def _stand(order: dict[str, Any], inner: int, listeners: list[socket.socket]) -> tuple[Relay, socket.socket]:
    """Put one foot into the job's namespace, then give up all privileges."""
    if _MISSING is not None:
        raise UnavailableError(
            "cannot make an allowlist: pyroute2 is not installed", details=str(_MISSING), hint="pip install pyroute2"
        )
    allowlist = Allowlist(parse(order["allow"], {}, ()))
    names = Names(allowlist)
    connections = int(order["connections"])
    terms = Terms(allowlist, connections, int(order["bytes_per_second"]), tuple(order["publish"]))
    host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(inner, namespaces.CLONE_NEWNET)
    inside = namespace.prepare(allowlist, names)
    log = denials.listen(rules.LOG_GROUP)
    privileges.limit_bounding_set(frozenset(), privileges.last_capability())
    privileges.no_new_privs()
    if (abi := landlock.abi()) > 0:
        landlock.restrict(abi, [], tcp=True)
    # Its thread stays in the job's namespace: sockets that it makes reach published ports.
    within = ThreadPoolExecutor(1)
    within.submit(os.getpid).result()
    namespaces.setns(host, namespaces.CLONE_NEWNET)
    os.close(host)
    os.close(inner)
    for listener in listeners:
        listener.setblocking(False)
    os.setgroups([])
    os.setresgid(RELAY_ID, RELAY_ID, RELAY_ID)
    os.setresuid(RELAY_ID, RELAY_ID, RELAY_ID)  # of all threads; capabilities go with it
    privileges.undumpable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return Relay(terms, names, inside, listeners, within), log


async def _serve(relay: Relay, control: socket.socket, job: int, log: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    ended = asyncio.Event()
    loop.add_reader(job, _once, loop, job, ended)
    relay.serve()
    relay.watch(log)
    _say(control, {"event": "ready"})
    asked = loop.create_task(_order(control))
    over = loop.create_task(ended.wait())
    await asyncio.wait([asked, over], return_when=asyncio.FIRST_COMPLETED)
    if asked.done() and asked.result() != b"end":
        await over  # the supervisor is gone, the job is not
    await relay.stop()
    relay.note_denials(log)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asked, END_SECONDS)
    over.cancel()
    _say(control, {"event": "ended", "figures": relay.ledger.describe()})
    # Not by way of the interpreter's end: that would wait for a resolver that may hang.
    os._exit(0)


async def _order(control: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(control, 64)


def _once(loop: asyncio.AbstractEventLoop, fd: int, event: asyncio.Event) -> None:
    loop.remove_reader(fd)
    event.set()


def _say(control: socket.socket, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # nobody is there to be told
        control.send(json.dumps(message).encode())
