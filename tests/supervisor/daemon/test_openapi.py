"""docs/openapi.json is what the daemon serves. CBX_WRITE_MANUAL=1 writes it there."""

import json
import os
from pathlib import Path

from cbx_supervisor.daemon.openapi import document
from cbx_supervisor.daemon.routes import PAGES

FILE = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_documented_description_is_the_real_one():
    """Letter by letter."""
    text = json.dumps(document(PAGES), indent=2, sort_keys=True) + "\n"
    if os.environ.get("CBX_WRITE_MANUAL"):
        FILE.write_text(text)
    assert FILE.read_text() == text, "write it anew: CBX_WRITE_MANUAL=1 pytest tests/supervisor/daemon/test_openapi.py"


def test_every_reference_leads_somewhere_and_every_name_is_given_once():
    made = document(PAGES)
    assert made["openapi"] == "3.1.0"

    def references(value):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    known = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    assert set(references(made)) <= known
    names = [operation["operationId"] for path in made["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == len(PAGES)
    for page in PAGES:
        operation = made["paths"][page.path][page.method.lower()]
        named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert named == ({"number"} if "{number}" in page.path else set())
