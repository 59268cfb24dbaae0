"""The description of the HTTP socket, served by itself."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import json_answer


async def show(request: Request) -> Response:
    """GET /v1/openapi.json."""
    return json_answer(request.app.state.description())
