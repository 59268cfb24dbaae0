"""Checkpoints over HTTP: list, show, diff, commit, roll back."""

from __future__ import annotations

import asyncio
import collections
import os

from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.checkpoint.resolve import OnConflict
from cbx_sandbox.checkpoint.select import Selection
from cbx_sandbox.errors import UsageError
from cbx_sandbox.linux.credentials import Submitter
from cbx_supervisor.daemon import requests
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
from cbx_supervisor.execution.checkpoints import Wish
from cbx_supervisor.execution.outcome import iso
from cbx_supervisor.model import retention
from cbx_supervisor.model.checkpoint import Checkpoint
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Commit, Mark, Nothing
from cbx_supervisor.store import checkpoints, jobs

MOST_ROWS = 1000


async def index(request: Request) -> Response:
    """GET /v1/checkpoints?state=&job=&label=&pinned=&limit=."""
    service, query = service_of(request), request.query_params
    choice = checkpoints.Choice(
        uid=owner_filter(request),
        states=tuple(part for part in query.get("state", "").split(",") if part),
        job=int(numeric(request, "job", 0)) or None,
        label=query.get("label"),
        pinned=_boolean(query.get("pinned")),
    )
    limit = min(int(numeric(request, "limit", MOST_ROWS)), MOST_ROWS)
    found = await asyncio.to_thread(
        service.database.read, lambda connection: checkpoints.listed(connection, choice, limit=limit)
    )
    return json_answer({"checkpoints": [answer_of(request, checkpoint) for checkpoint in found]})


def _boolean(value: str | None) -> bool | None:
    if value not in {None, "true", "false"}:
        raise UsageError("cannot list checkpoints: pinned is true or false")
    return None if value is None else value == "true"


async def usage(request: Request) -> Response:
    """GET /v1/checkpoints/usage."""
    service = service_of(request)
    taken = await service.retention.usage(owner_filter(request))
    users: collections.Counter[str] = collections.Counter()
    for entry in taken:
        users[str(entry["uid"])] += int(str(entry["bytes"]))
    room = os.statvfs(service.paths.layers)
    return json_answer(
        {"checkpoints": taken, "users": users, "bytes": users.total(), "free": room.f_bavail * room.f_frsize}
    )


async def mark(request: Request) -> Response:
    """POST /v1/checkpoints/{id}/mark {"pinned": bool, "label": text}."""
    body = await body_of(request, Mark)
    checkpoint, peer = await _found(request), peer_of(request)
    await require(request, Right.DECIDE, f"mark checkpoint {checkpoint.id}", owner=checkpoint.uid)
    if body.pinned and not checkpoint.state.waits:
        raise UsageError(f"cannot pin checkpoint {checkpoint.id}: it is {checkpoint.state.value}, not held")
    marked = await service_of(request).review.mark(
        checkpoint, uid=peer.uid, pid=peer.pid, pinned=body.pinned, label=body.label
    )
    return json_answer(answer_of(request, marked))


async def show(request: Request) -> Response:
    """GET /v1/checkpoints/{id}."""
    return json_answer(answer_of(request, await _found(request)))


async def diff(request: Request) -> Response:
    """GET /v1/checkpoints/{id}/diff?format=list|tree|text|json|stat|name-status&path=, again for more paths."""
    checkpoint = await _found(request)
    reader, form, paths = looking(request)
    return view_of(await service_of(request).review.shown(checkpoint, form, reader, paths))


def looking(request: Request) -> tuple[Submitter, str, tuple[bytes, ...]]:
    """Who asks for a diff, in which form, of which paths. Raises UsageError for a path that is relative."""
    peer, query = peer_of(request), request.query_params
    identity = requests.identity_of(peer.uid, peer.gid)
    reader = Submitter(identity.uid, identity.gid, identity.groups)
    return reader, query.get("format", "text"), tuple(map(_path, query.getlist("path")))


def view_of(shown: tuple[str, object]) -> Response:
    """A diff, as values or as text."""
    kind, content = shown
    if kind == "json":
        return json_answer(content)
    return Response(str(content).encode("utf-8", "surrogateescape"), media_type="text/plain; charset=utf-8")


async def commit(request: Request) -> Response:
    """POST /v1/checkpoints/{id}/commit, with a body as in messages.Commit."""
    body = await body_of(request, Commit)
    checkpoint, peer = await _found(request), peer_of(request)
    subject = f"commit checkpoint {checkpoint.id}"
    await require(request, Right.DECIDE, subject, owner=checkpoint.uid)
    if body.allow_privileged:
        await require(request, Right.LOOSEN, f"{subject} with --allow-privileged")
    review, wish = service_of(request).review, wish_of(body)
    if body.dry_run:
        return json_answer(await review.preview(checkpoint, uid=peer.uid, wish=wish))
    return json_answer(answer_of(request, await review.commit(checkpoint, uid=peer.uid, pid=peer.pid, wish=wish)))


def wish_of(body: Commit) -> Wish:
    """What the caller wants. Raises UsageError for a path that is relative."""
    return Wish(
        allow_privileged=body.allow_privileged,
        on_conflict=OnConflict(body.on_conflict),
        paths=tuple((_path(path), OnConflict(how)) for path, how in body.resolve.items()),
        selection=Selection(tuple(map(_path, body.only)), tuple(map(_path, body.without))),
        in_place=tuple(map(_path, body.in_place)),
    )


def _path(value: str) -> bytes:
    if not value.startswith("/"):
        raise UsageError(f"cannot select {value[:100]!r}: it is not an absolute path")
    return os.path.normpath(os.fsencode(value))


async def roll_back(request: Request) -> Response:
    """POST /v1/checkpoints/{id}/rollback."""
    await body_of(request, Nothing)
    checkpoint, peer = await _found(request), peer_of(request)
    await require(request, Right.DECIDE, f"roll back checkpoint {checkpoint.id}", owner=checkpoint.uid)
    return json_answer(
        answer_of(request, await service_of(request).review.roll_back(checkpoint, uid=peer.uid, pid=peer.pid))
    )


async def remove(request: Request) -> Response:
    """POST /v1/checkpoints/{id}/remove."""
    await body_of(request, Nothing)
    checkpoint, peer = await _found(request), peer_of(request)
    await require(request, Right.DECIDE, f"remove checkpoint {checkpoint.id}", owner=checkpoint.uid)
    await service_of(request).review.remove(checkpoint, uid=peer.uid, pid=peer.pid)
    return json_answer({"id": checkpoint.id, "removed": True})


async def undo(request: Request) -> Response:
    """POST /v1/checkpoints/{id}/undo."""
    return await _turned(request, again=False)


async def redo(request: Request) -> Response:
    """POST /v1/checkpoints/{id}/redo."""
    return await _turned(request, again=True)


async def _turned(request: Request, *, again: bool) -> Response:
    await body_of(request, Nothing)
    checkpoint, peer = await _found(request), peer_of(request)
    verb = "redo" if again else "undo"
    await require(request, Right.DECIDE, f"{verb} checkpoint {checkpoint.id}", owner=checkpoint.uid)
    review = service_of(request).review
    return json_answer(answer_of(request, await review.undo(checkpoint, uid=peer.uid, pid=peer.pid, again=again)))


async def _found(request: Request) -> Checkpoint:
    service, number = service_of(request), number_of(request)
    found = await asyncio.to_thread(service.database.read, lambda connection: checkpoints.find(connection, number))
    if found is None or owner_filter(request) not in {None, found.uid}:
        raise NotFoundError(f"there is no checkpoint {number}", hint="`cbx-sandbox checkpoint list` shows yours")
    return found


def answer_of(request: Request, checkpoint: Checkpoint) -> dict[str, object]:
    """A checkpoint as it is shown."""
    row = service_of(request).database.read(lambda connection: jobs.find(connection, checkpoint.job))
    return {
        "id": checkpoint.id,
        "state": checkpoint.state.value,
        "job": checkpoint.job,
        "command": None if row is None else row.job.command,
        "uid": checkpoint.uid,
        "created": iso(checkpoint.created),
        "decided": iso(checkpoint.decided),
        "changes": checkpoint.changes,
        "targets": [layer["target"] for layer in (checkpoint.session or {}).get("layers", ())],
        "message": checkpoint.message,
        "pinned": checkpoint.pinned,
        "label": checkpoint.label,
        "expires": iso(retention.expires(checkpoint, service_of(request).settings.retention.held_days)),
    }
