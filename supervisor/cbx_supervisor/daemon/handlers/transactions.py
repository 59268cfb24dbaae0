"""Transactions over HTTP: begun, worked in, saved and gone back in, committed or rolled back."""

from __future__ import annotations

import asyncio
import os

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import UsageError
from cbx_supervisor.daemon import requests
from cbx_supervisor.daemon.handlers import submitting
from cbx_supervisor.daemon.handlers.answers import (
    NotFoundError,
    body_of,
    json_answer,
    number_of,
    numeric,
    owner_filter,
    peer_of,
    require,
    service_of,
)
from cbx_supervisor.daemon.handlers.checkpoints import answer_of, looking, view_of, wish_of
from cbx_supervisor.execution.outcome import iso
from cbx_supervisor.execution.transactions import Caller
from cbx_supervisor.model import retention
from cbx_supervisor.model.roles import Right
from cbx_supervisor.model.transaction import Transaction
from cbx_supervisor.protocol.messages import Begin, Commit, Nothing, SavepointName, Submit
from cbx_supervisor.store import transactions as store

CREATED = 201
MOST_ROWS = 1000


async def index(request: Request) -> Response:
    """GET /v1/transactions?open=&limit=."""
    service, uid = service_of(request), owner_filter(request)
    limit = min(int(numeric(request, "limit", 100)), MOST_ROWS)
    open_only = request.query_params.get("open") == "true"
    found = await asyncio.to_thread(
        service.database.read,
        lambda connection: store.listed(connection, uid=uid, open_only=open_only, limit=limit),
    )
    return json_answer({"transactions": [_shown(request, transaction) for transaction in found]})


async def begin(request: Request) -> Response:
    """POST /v1/transactions {"directories": [path], "label": text}."""
    body, peer = await body_of(request, Begin), peer_of(request)
    paths = [_absolute(path) for path in body.directories]
    identity = requests.identity_of(peer.uid, peer.gid)
    made = await service_of(request).executor.transactions.begin(identity, _caller(request), paths, body.label)
    return json_answer(_shown(request, made), CREATED)


async def show(request: Request) -> Response:
    """GET /v1/transactions/{id}."""
    return json_answer(_shown(request, await _found(request)))


async def diff(request: Request) -> Response:
    """GET /v1/transactions/{id}/diff, as of a checkpoint."""
    found, service = await _found(request), service_of(request)
    reader, form, paths = looking(request)
    if not found.open:
        return view_of(await service.review.shown(found.checkpoint, form, reader, paths))
    return view_of(await service.executor.transactions.shown(found.number, reader.uid, form, reader, paths))


async def run(request: Request) -> Response:
    """POST /v1/transactions/{id}/run: a job in it that nobody waits for, with the body of POST /v1/jobs."""
    found = await _mine(request, "run a job in")
    wanted = msgspec.structs.replace(await body_of(request, Submit), transaction=found.number)
    return await submitting.submit_wanted(request, wanted)


async def savepoint(request: Request) -> Response:
    """POST /v1/transactions/{id}/savepoint {"name": text}."""
    body = await body_of(request, SavepointName)
    found = await _mine(request, "make a savepoint in")
    made = await service_of(request).executor.transactions.save(found.number, _caller(request), body.name)
    return json_answer(_shown(request, made))


async def go_back(request: Request) -> Response:
    """POST /v1/transactions/{id}/rollback-to {"name": text}."""
    body = await body_of(request, SavepointName)
    found = await _mine(request, "go back in")
    made = await service_of(request).executor.transactions.back(found.number, _caller(request), body.name)
    return json_answer(_shown(request, made))


async def commit(request: Request) -> Response:
    """POST /v1/transactions/{id}/commit, with the body of a checkpoint's commit, but for a part."""
    body, peer, service = await body_of(request, Commit), peer_of(request), service_of(request)
    if body.only or body.without:
        raise UsageError("cannot commit a part of a transaction", hint="it is committed as a whole")
    found = await _mine(request, "commit")
    if body.allow_privileged:
        await require(request, Right.LOOSEN, f"commit transaction {found.number} with --allow-privileged")
    if body.dry_run:
        return json_answer(await service.executor.transactions.preview(found.number, peer.uid, wish_of(body)))
    async with service.executor.transactions.committing(found.number, _caller(request)):
        made = await service.review.commit(found.checkpoint, uid=peer.uid, pid=peer.pid, wish=wish_of(body))
    return json_answer(answer_of(request, made))


async def roll_back(request: Request) -> Response:
    """POST /v1/transactions/{id}/rollback."""
    await body_of(request, Nothing)
    found = await _mine(request, "roll back")
    made = await service_of(request).executor.transactions.roll_back(found.number, _caller(request), "as asked")
    return json_answer(_shown(request, made))


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"cannot begin a transaction over {path[:100]!r}: it is not an absolute path")
    return os.path.normpath(path)


def _caller(request: Request) -> Caller:
    peer = peer_of(request)
    return Caller(peer.uid, peer.pid)


async def _found(request: Request) -> Transaction:
    service, number = service_of(request), number_of(request)
    found = await asyncio.to_thread(service.database.read, lambda connection: store.find(connection, number))
    if found is None or owner_filter(request) not in {None, found.checkpoint.uid}:
        raise NotFoundError(f"there is no transaction {number}", hint="`cbx-sandbox tx list` shows yours")
    return found


async def _mine(request: Request, what: str) -> Transaction:
    found = await _found(request)
    await require(request, Right.DECIDE, f"{what} transaction {found.number}", owner=found.checkpoint.uid)
    return found


def _shown(request: Request, found: Transaction) -> dict[str, object]:
    days = service_of(request).settings.retention.held_days
    return {
        "id": found.number,
        "state": found.checkpoint.state.value,
        "uid": found.checkpoint.uid,
        "label": found.checkpoint.label,
        "directories": list(found.directories),
        "begun": iso(found.checkpoint.created),
        "touched": iso(found.touched),
        "expires": iso(retention.given_up(found.checkpoint, found.touched, days)),
        "running": found.running,
        "savepoints": [{"name": savepoint.name, "at": iso(savepoint.at)} for savepoint in found.savepoints],
        "steps": [{**step, "at": iso(step["at"])} for step in found.steps],
        "message": found.checkpoint.message,
    }
