"""What a job's commit may do beside readers."""

import asyncio
import types

import pytest

from cbx_sandbox import runner
from cbx_sandbox.checkpoint.changes import summarise
from cbx_sandbox.shell.observation import compare
from cbx_supervisor.execution import checkpoints, settling


@pytest.mark.parametrize(
    ("expected", "anywhere", "alone"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_only_who_waited_for_all_readers_writes_in_place_unasked(expected, anywhere, alone):
    """A job that wrote anywhere gets X on it, and so does one of which it was known before that it writes in place."""
    seen = []

    async def on_files(function, *arguments):
        seen.append((function, arguments))

    async def lock(*_):
        return True

    incidents = types.SimpleNamespace(had=lambda _: False)
    commit = types.SimpleNamespace(
        executor=types.SimpleNamespace(incidents=incidents), owner=1, on_files=on_files, lock=lock
    )
    identity = types.SimpleNamespace(uid=1, gid=1, groups=())
    policy = types.SimpleNamespace(overlay_all=anywhere, allow_privileged=False, identity=identity)
    # What it changed went with its file system: so there is something to be decided.
    found = checkpoints.Found(
        [], summarise([]), runner.Fate.COMMIT, "", compare([], [], lambda _: None), ("/gone",), expected
    )
    asyncio.run(settling._decide(types.SimpleNamespace(policy=policy), None, commit, found))
    [(function, arguments)] = seen
    assert function is checkpoints.apply
    assert [given.unasked for given in arguments if isinstance(given, checkpoints.Wish)] == [alone]
