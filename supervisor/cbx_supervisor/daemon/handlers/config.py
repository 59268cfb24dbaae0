"""The configuration over HTTP: what is in force, what the files would change, have them read anew."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor import settings_sources
from cbx_supervisor.daemon.configuration import NEED_RESTART
from cbx_supervisor.daemon.handlers.answers import body_of, json_answer, require, service_of
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Nothing


async def show(request: Request) -> Response:
    """GET /v1/config: the settings in force."""
    configuration = service_of(request).configuration
    return json_answer({"settings": settings_sources.values(configuration.settings), "state": configuration.describe()})


async def diff(request: Request) -> Response:
    """GET /v1/config/diff: what a reload would change."""
    configuration = service_of(request).configuration
    found = await asyncio.to_thread(configuration.read)
    changes = settings_sources.differences(configuration.settings, found)
    return json_answer({"changed": [{**change, "needs_restart": change["key"] in NEED_RESTART} for change in changes]})


async def reload(request: Request) -> Response:
    """POST /v1/config/reload: read settings and rules anew."""
    await body_of(request, Nothing)
    await require(request, Right.CONFIGURE, "reload the configuration")
    return json_answer({"changed": service_of(request).reload()})
