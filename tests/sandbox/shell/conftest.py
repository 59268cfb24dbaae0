from __future__ import annotations

import pytest

from cbx_sandbox.facts import StaticFacts


@pytest.fixture
def facts() -> StaticFacts:
    return StaticFacts(
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/user"},
        files={
            "/work/project": "dir",
            "/work/project/src": "dir",
            "/work/project/src/a.c": "file",
            "/work/project/src/b.c": "file",
            "/work/project/notes.txt": "file",
        },
    )
