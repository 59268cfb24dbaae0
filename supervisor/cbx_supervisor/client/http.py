"""Calls to the supervisor over HTTP on its Unix socket: what every verb but `run` uses."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from cbx_supervisor.client.connection import open_socket, runtime_directory
from cbx_supervisor.client.failure import ClientError, UnreachableError

NO_CONTENT = 204
NOT_STARTED = 75  # the exit status of what may work if it is tried again
RETRY_SECONDS = 1.0  # before a lost stream is asked for again
PATIENCE = 30.0  # s for the next supervisor to come up
BETWEEN_SECONDS = 0.2
LONG_POLL_SECONDS = 50  # of one `wait` request; the loop asks again


class LostError(UnreachableError):
    """The supervisor went away before it had answered."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket that root serves; root's client starts a supervisor where there is none."""

    def connect(self) -> None:
        """Connect to cbx.sock instead of to a host."""
        runtime = runtime_directory()
        path = runtime + b"/cbx.sock"
        try:
            server = open_socket(path)
        except (FileNotFoundError, ConnectionRefusedError):
            from cbx_supervisor.client.starter import start_supervisor

            start_supervisor(runtime)
            server = open_socket(path)
        self.sock = socket.socket(fileno=server.detach())
        self.sock.settimeout(self.timeout)


class Api:
    """The supervisor's verbs; answers are plain JSON values."""

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout

    def get(self, path: str, **query: str | int | None) -> Any:
        """Ask; None stands for "no content (yet)"."""
        given = {key: value for key, value in query.items() if value is not None}
        return _parse(self._request("GET", path + ("?" + urllib.parse.urlencode(given) if given else ""), None))

    def get_bytes(self, path: str, /, **query: str | int | list[str] | None) -> bytes:
        """Ask for something that is no JSON: a log, a diff for people."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._request("GET", path + ("?" + urllib.parse.urlencode(given, doseq=True) if given else ""), None)[1]

    def post(self, path: str, body: dict[str, object] | None = None) -> Any:
        """Have something done."""
        return _parse(self._request("POST", path, body or {}))

    def stream(self, path: str, headers: dict[str, str] | None = None) -> Iterator[bytes]:
        """Ask for something that comes bit by bit; ends when the supervisor hangs up."""
        connection = _UnixConnection("cbx", timeout=self._timeout)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            if response.status >= http.client.BAD_REQUEST:
                raise _problem(response.status, response.reason, response.read())
            while part := response.read1(1 << 16):
                yield part
        except (http.client.HTTPException, OSError) as why:
            raise LostError(
                f"cannot talk to the supervisor: {why or type(why).__name__}", hint="it may have ended; try again"
            ) from None
        finally:
            connection.close()

    def events(self, path: str) -> Iterator[dict[str, Any] | None]:
        """What the supervisor tells, for ever: where the connection is lost, from there on. None: (again) connected."""
        last, met = "", False
        while True:
            rest = b""
            try:
                for part in self.stream(path, {"Last-Event-ID": last} if last else {}):
                    *whole, rest = (rest + part).split(b"\n\n")
                    for message in whole:
                        fields = dict(line.split(b": ", 1) for line in message.split(b"\n") if b": " in line)
                        last = fields.get(b"id", last.encode()).decode()
                        if b"data" in fields:
                            yield json.loads(fields[b"data"])
                        elif b"retry" in fields:
                            met = True
                            yield None
            except LostError:
                met = True  # one was there, so the next one is waited for, however early this one went
            except UnreachableError:
                if not met:
                    raise
            except ClientError as why:
                if not met or why.status != NOT_STARTED:
                    raise
            time.sleep(RETRY_SECONDS)

    def wait(self, job: int) -> dict[str, Any]:
        """Wait for a job's end, however long it takes and whichever supervisor tells it, and return its result."""
        while True:
            result = self._lasting(f"/v1/jobs/{job}/wait", timeout=LONG_POLL_SECONDS)
            if result is not None:
                return dict(result)

    def _lasting(self, path: str, **query: str | int | None) -> Any:
        """As :meth:`get`; when the supervisor goes away, ask the next one, which has some time to come up."""
        end: float | None = None  # of the patience with a supervisor that is gone: each that answered begins it anew
        while True:
            try:
                return self.get(path, **query)
            except LostError:
                end = time.monotonic() + PATIENCE
            except UnreachableError:
                # Whoever was never answered is told at once.
                if end is None or time.monotonic() > end:
                    raise
            time.sleep(BETWEEN_SECONDS)

    def _request(self, method: str, path: str, body: dict[str, object] | None) -> tuple[int, bytes]:
        connection = _UnixConnection("cbx", timeout=self._timeout)
        try:
            payload = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if payload is not None else {}
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            content = response.read()
        except (http.client.HTTPException, OSError) as why:
            raise LostError(
                f"cannot talk to the supervisor: {why or type(why).__name__}", hint="it may have ended; try again"
            ) from None
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise _problem(response.status, response.reason, content)
        return response.status, content


def _parse(answer: tuple[int, bytes]) -> Any:
    status, content = answer
    if status == NO_CONTENT:
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise ClientError(
            "cannot read the supervisor's answer: not JSON", hint="are client and supervisor of one version?"
        ) from None


def _problem(status: int, reason: str, content: bytes) -> ClientError:
    """Turn application/problem+json into the error that it describes."""
    try:
        problem = json.loads(content)
        title = str(problem["title"])
    except (ValueError, KeyError, TypeError):
        return ClientError(f"the supervisor answered {status} {reason}")
    brief = "\n".join(str(part) for part in (title, problem.get("detail")) if part)
    exit_status = problem.get("exit_status")
    hint = problem.get("hint")
    return ClientError(
        brief, hint=str(hint) if hint else None, status=exit_status if isinstance(exit_status, int) else 125
    )
