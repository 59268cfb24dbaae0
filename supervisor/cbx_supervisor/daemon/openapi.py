"""The OpenAPI 3.1 description of the HTTP socket, made from the table of pages and the message types."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import msgspec

from cbx_supervisor.daemon.routes import Page
from cbx_supervisor.protocol.messages import Problem

_REFERENCES = "#/components/schemas/{name}"


def document(pages: Sequence[Page]) -> dict[str, Any]:
    """The whole description as plain JSON values."""
    types: list[type[msgspec.Struct]] = list(
        dict.fromkeys([Problem, *(kind for page in pages for kind in _types(page))])
    )
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCES)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for page in pages:
        paths.setdefault(page.path, {})[page.method.lower()] = _operation(page, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cbx supervisor",
            "version": metadata.version("cbx"),
            "description": "HTTP/1.1 on the Unix socket /run/cbx/cbx.sock. The kernel says who calls: users see and"
            " touch their own jobs, roles more. What may not be seen is answered as not found.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items()))},
    }


def _types(page: Page) -> list[type[msgspec.Struct]]:
    return [*page.answers, *([page.body] if page.body else [])]


def _operation(page: Page, schemas: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    answers = [schemas[kind] for kind in page.answers]
    schema: dict[str, Any] = {"type": "object"} if not answers else answers[0]
    if len(answers) > 1:
        schema = {"anyOf": answers}
    if page.media != "application/json":
        schema = {"type": "string"}
    responses: dict[str, Any] = {"200": {"description": page.summary, "content": {page.media: {"schema": schema}}}}
    if page.empty:
        responses["204"] = {"description": "Not yet"}
    responses["default"] = {
        "description": "What went wrong",
        "content": {"application/problem+json": {"schema": schemas[Problem]}},
    }
    made: dict[str, Any] = {"operationId": page.verb.replace(" ", "-"), "summary": page.summary}
    if parameters := [*_in_path(page), *_in_query(page)]:
        made["parameters"] = parameters
    if page.body is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": schemas[page.body]}}}
    return {**made, "responses": responses}


def _in_path(page: Page) -> list[dict[str, Any]]:
    if "{number}" not in page.path:
        return []
    return [{"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}]


def _in_query(page: Page) -> list[dict[str, Any]]:
    return [
        {"name": query.name, "in": "query", "description": query.text, "schema": {"type": query.kind}}
        for query in page.query
    ]
