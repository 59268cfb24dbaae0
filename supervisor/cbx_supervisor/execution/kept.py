"""What is kept of a job as text, so that another supervisor can start it, or go on with it when it has ended.

JSON. Paths and arguments may hold bytes that are no text: then it is the standard library's, which escapes them. That
reads all of it back.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from cbx_sandbox import environment, runner
from cbx_sandbox.policy import LockMode
from cbx_supervisor.execution import secrets
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.redaction import REDACTED, redacted, redacted_values, redacted_words
from cbx_supervisor.model.redaction import secrets as secrets_in
from cbx_supervisor.scheduling.lock_modes import LockKey, Want
from cbx_supervisor.store import kept
from cbx_supervisor.store.database import Database
from cbx_supervisor.store.kept import Kept
from cbx_supervisor.store.steering import IMPORTANCE


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """What was decided for a job that was started: by whom, how, and which locks it holds."""

    submission: Submission
    planned: runner.Plan
    wants: tuple[Want, ...]


def submission_texts(submission: Submission) -> tuple[str, str | None]:
    """What the store may hold of a submission, and all that its start needs if that is more (execution/secrets).

    Of the caller's environment only what reaches a job: the rest is needed by nobody.
    """
    request = submission.request
    passing = {name: value for name, value in request.environment.items() if not environment.dropped(name)}
    whole = dataclasses.replace(submission, request=replace(request, environment=passing))
    true, bare = _text(whole), _without_secrets(whole)
    if bare is whole:
        return true, None
    return json.dumps({**msgspec.to_builtins(bare), _INCOMPLETE: True}), true


def _text(submission: Submission) -> str:
    try:
        return msgspec.json.encode(submission).decode()  # in a tenth of the time; all its numbers are finite
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(submission))


def of(database: Database, directory: str, job: int) -> Kept:
    """What was kept of a job, with its secrets, which are in ``directory``, if it had any."""
    found = database.read(lambda connection: kept.find(connection, job))
    if found.submission is not None and incomplete(found.submission):
        true = secrets.find(directory, job)
        if true is not None:
            # What has been said of it since is in the store alone.
            said = json.loads(found.submission)[IMPORTANCE]
            return dataclasses.replace(found, submission=json.dumps({**json.loads(true), IMPORTANCE: said}))
    return found


def incomplete(text: str) -> bool:
    """Whether there are secrets that a text is without: nothing can be started by it."""
    return _INCOMPLETE in json.loads(text)


def submission_of(text: str) -> Submission:
    """The submission that a text was made of."""
    return msgspec.convert(json.loads(text), Submission)


def launch_text(submission: Submission, planned: runner.Plan, wants: Sequence[Want]) -> str:
    """What goes on after the end of a job, without its environment and secrets, which only its start needs."""
    bare = _without_secrets(dataclasses.replace(submission, request=_without_environment(submission.request)))
    policy = replace(planned.policy, environment={})
    decided = msgspec.to_builtins(replace(planned, request=bare.request, policy=policy))
    if bare.request.text != submission.request.text:
        known = _known(submission.request)
        decided["argv"] = redacted_values(planned.argv if bare.request.argv is None else redacted_words(planned.argv))
        decided["reasons"] = _without(redacted_values(decided["reasons"]), known)
        said = decided["analysis"]
        said |= {part: _without(redacted_values(said[part]), known) for part in _QUOTING}
        said["effects"] = _without(said["effects"], known)
    value: dict[str, Any] = {
        "submission": msgspec.to_builtins(bare),
        "planned": decided,
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


_INCOMPLETE = "without secrets"
_SAYING = ("text", "name", "host")  # fields of parts that may hold a word of it
_QUOTING = ("text", "reasons", "checks", "calls")  # parts of an analysis that repeat the command


def _without_secrets(submission: Submission) -> Submission:
    """The same object if it has none."""
    request, options = submission.request, submission.request.options
    given = {name: _value(name, value) for name, value in options.set_environment.items()}
    line = None if request.line is None else redacted(request.line)
    argv = None if request.argv is None else redacted_words(request.argv)
    around = {name: redacted(value) for name, value in request.environment.items()}
    if (line, argv, around, given) == (request.line, request.argv, request.environment, options.set_environment):
        return submission
    options = replace(options, set_environment=given)
    return dataclasses.replace(
        submission, request=replace(request, line=line, argv=argv, environment=around, options=options)
    )


def _known(request: runner.Request) -> re.Pattern[str]:
    """What finds the secrets of a command where they are whole words: what is used again after a restart stays."""
    found = secrets_in(request.text if request.argv is None else shlex.join(request.argv))
    words = "|".join(map(re.escape, sorted(found, key=len, reverse=True))) or "(?!)"
    return re.compile(rf"(?<![^\s:=@/'\"])(?:{words})(?![^\s:=@/'\"])")


def _without(value: Any, known: re.Pattern[str]) -> Any:
    """The same value with nothing of ``known`` in what it says of the command; of a path the last name is looked at."""
    if isinstance(value, dict):
        bare = {name: _without(inner, known) for name, inner in value.items()}
        bare |= {name: known.sub(REDACTED, value[name]) for name in _SAYING if isinstance(value.get(name), str)}
        if isinstance(path := value.get("path"), str):
            directory, slash, last = path.rpartition("/")
            bare["path"] = f"{directory}{slash}{known.sub(REDACTED, last)}"
        return bare
    return [_without(inner, known) for inner in value] if isinstance(value, (list, tuple)) else value


def _value(name: str, value: str) -> str:
    return REDACTED if environment.secret(name) else redacted(value)


def _without_environment(request: runner.Request) -> runner.Request:
    options = replace(request.options, set_environment={})
    return replace(request, environment={}, options=options)
