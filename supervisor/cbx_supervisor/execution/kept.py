"""What is kept of a job as text, so that another supervisor can start it, or go on with it when it has ended.

JSON by the standard library: paths and arguments may hold bytes that are no text, which it escapes and reads back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from cbx_sandbox import runner
from cbx_sandbox.policy import LockMode
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.scheduling.lock_modes import LockKey, Want


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """What was decided for a job that was started: by whom, how, and which locks it holds."""

    submission: Submission
    planned: runner.Plan
    wants: tuple[Want, ...]


def submission_text(submission: Submission) -> str:
    """All of a submission, its environment too."""
    return json.dumps(msgspec.to_builtins(submission))


def submission_of(text: str) -> Submission:
    """The submission that a text was made of."""
    return msgspec.convert(json.loads(text), Submission)


def launch_text(submission: Submission, planned: runner.Plan, wants: Sequence[Want]) -> str:
    """What goes on after the end of a job, without its environment, which only its start needs."""
    bare = _without_environment(submission.request)
    policy = dataclasses.replace(planned.policy, environment={})
    value: dict[str, Any] = {
        "submission": msgspec.to_builtins(dataclasses.replace(submission, request=bare)),
        "planned": msgspec.to_builtins(dataclasses.replace(planned, request=bare, policy=policy)),
        "wants": [[key.device, key.path, mode.value] for key, mode in wants],
    }
    return json.dumps(value)


def launch_of(text: str) -> Launch:
    """What a text was made of."""
    value = json.loads(text)
    wants = tuple((LockKey(device, path), LockMode(mode)) for device, path, mode in value["wants"])
    return Launch(
        msgspec.convert(value["submission"], Submission), msgspec.convert(value["planned"], runner.Plan), wants
    )


def _without_environment(request: runner.Request) -> runner.Request:
    options = dataclasses.replace(request.options, set_environment={})
    return dataclasses.replace(request, environment={}, options=options)
