"""All pages of the HTTP socket in one table: the application serves them, the OpenAPI description tells of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers import (
    attending,
    breakers,
    checkpoints,
    config,
    description,
    events,
    incidents,
    jobs,
    operations,
    output,
    queue,
    reports,
    status,
    steering,
    submitting,
    trail,
    transactions,
)
from cbx_supervisor.model.result import Result
from cbx_supervisor.protocol import messages

Handler = Callable[[Request], Awaitable[Response]]


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One parameter behind the question mark."""

    name: str
    kind: Literal["string", "integer", "number", "boolean"]
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One verb: how it is reached, what it takes and what it answers.

    ``answers`` are the types of the JSON object, one of them; none: an object without a type of its own. ``media`` is
    something else than JSON. ``empty``: there may also be no content (yet).
    """

    method: Literal["GET", "POST"]
    path: str
    verb: str
    handler: Handler
    summary: str
    answers: tuple[type[msgspec.Struct], ...] = ()
    body: type[msgspec.Struct] | None = None
    query: tuple[Query, ...] = ()
    media: str = "application/json"
    empty: bool = False


_SINCE = Query("since", "number", "Seconds of the Unix clock: only what ended later")
_SINCE_EVENT = Query("since", "integer", "Go on after this event, as the header Last-Event-ID says it too")
_DIFF = (
    Query("format", "string", "text, list, tree, stat, name-status or json"),
    Query("path", "string", "only what changed there and beneath; again for more"),
)
_LIMIT = Query("limit", "integer", "At most so many; never more than 1000")

PAGES: tuple[Page, ...] = (
    Page("GET", "/v1/openapi.json", "openapi", description.show, "This description"),
    Page("GET", "/v1/status", "status", status.show, "The supervisor and its load", (messages.Status,)),
    Page(
        "GET", "/v1/jobs", "list", jobs.index, "Jobs, the newest first", (messages.Jobs,),
        query=(
            Query("state", "string", "Only these states, with commas between them"),
            Query("user", "string", "Only this user's, by name or number"),
            Query("tier", "string", "Only this tier: safe, conditional, sequential, dangerous or its full name"),
            Query("name", "string", "Only commands that match this glob"),
            _LIMIT,
        ),
    ),
    Page(
        "POST", "/v1/jobs", "submit", submitting.submit, "Have a job run that nobody waits for", (messages.Submitted,),
        body=messages.Submit,
    ),
    Page(
        "POST", "/v1/batches", "submit --batch", submitting.submit_together, "Take many jobs, all or none",
        (messages.SubmittedTogether,), body=messages.Batch,
    ),
    Page("GET", "/v1/jobs/{number}", "show", jobs.show, "One job", (Result, messages.Unfinished)),
    Page(
        "GET", "/v1/jobs/{number}/wait", "wait", jobs.wait, "Wait for a job's end", (Result,),
        query=(Query("timeout", "number", "Seconds to wait, 30 unless told, 300 at most"),), empty=True,
    ),
    Page("GET", "/v1/jobs/{number}/why", "why", queue.why, "What a job waits for", (messages.Why,)),
    Page(
        "GET", "/v1/jobs/{number}/log", "logs", output.log, "The output that was kept of a detached job",
        media="application/octet-stream",
        query=(
            Query("follow", "boolean", "1: go on until the job is over"),
            Query("tail", "integer", "Only so many last lines"),
            Query("attempt", "integer", "Of this attempt; the last one if none is named"),
        ),
    ),
    Page(
        "GET", "/v1/jobs/{number}/log/events", "logs -f", output.log_events,
        "The same as events until the job is over, after the header Last-Event-ID if there is one",
        (messages.Output,), media="text/event-stream",
        query=(
            Query("tail", "integer", "Only so many last lines of what is there"),
            Query("attempt", "integer", "From this attempt on; from the last one if none is named"),
        ),
    ),
    Page(
        "GET", "/v1/jobs/{number}/events", "events of a job", events.of_job, "Where a job is and what becomes of it",
        (messages.Happened,), query=(_SINCE_EVENT,), media="text/event-stream",
    ),
    Page(
        "GET", "/v1/events", "events", events.index, "What becomes of jobs", (messages.Happened,),
        query=(_SINCE_EVENT,), media="text/event-stream",
    ),
    Page(
        "POST", "/v1/jobs/{number}/cancel", "cancel", jobs.cancel, "End a job", (messages.Cancelled,),
        body=messages.Cancel,
    ),
    Page(
        "POST", "/v1/jobs/{number}/kill", "kill", jobs.kill, "Send a job a signal", (messages.Signalled,),
        body=messages.Kill,
    ),
    Page(
        "POST", "/v1/jobs/{number}/pause", "pause", steering.pause, "Keep a job from going on", (messages.Steered,),
        body=messages.Nothing,
    ),
    Page(
        "POST", "/v1/jobs/{number}/resume", "resume", steering.resume, "Let a job go on", (messages.Steered,),
        body=messages.Nothing,
    ),
    Page(
        "POST", "/v1/jobs/{number}/priority", "priority", steering.priority, "Put a waiting job elsewhere",
        (messages.Steered,), body=messages.Priority,
    ),
    Page(
        "POST", "/v1/jobs/{number}/move", "move", steering.move, "Put a waiting job elsewhere in its line",
        (messages.Steered,), body=messages.Move,
    ),
    Page(
        "POST", "/v1/jobs/{number}/retry", "retry", attending.retry, "Run a failed job once more",
        (messages.Submitted,), body=messages.Nothing,
    ),
    Page(
        "POST", "/v1/jobs/{number}/abandon", "abandon", attending.abandon, "Leave a job that needs a person as it is",
        (messages.Steered,), body=messages.Nothing,
    ),
    Page("GET", "/v1/queue", "queue", steering.show, "How jobs are started", (messages.QueueShown,)),
    Page(
        "POST", "/v1/queue", "queue strategy, pause, drain, resume", steering.change, "Start jobs otherwise, or none",
        (messages.QueueShown,), body=messages.Queue,
    ),
    Page("GET", "/v1/pools", "pools", queue.pools, "The slots of each tier", (messages.Pools,)),
    Page(
        "GET", "/v1/breakers", "breakers", breakers.index, "What failed several times in a row",
        (messages.BreakersShown,),
    ),
    Page(
        "POST", "/v1/breakers/reset", "breakers reset", breakers.reset, "Forget the failures of a breaker",
        (messages.BreakersShown,), body=messages.ResetBreaker,
    ),
    Page("GET", "/v1/locks", "locks", queue.locks, "The locks that are held", (messages.Locks,)),
    Page(
        "GET", "/v1/checkpoints", "checkpoint list", checkpoints.index, "Checkpoints, the newest first",
        (messages.Checkpoints,),
        query=(
            Query("state", "string", "states, with commas"), Query("job", "integer", "the job's number"),
            Query("label", "string", "the whole label"), Query("pinned", "boolean", "pinned or not"),
            Query("limit", "integer", "at most so many"),
        ),
    ),
    Page(
        "GET", "/v1/checkpoints/usage", "checkpoint du", checkpoints.usage, "What checkpoints take on disk",
        (messages.CheckpointUsage,),
    ),
    Page(
        "GET", "/v1/checkpoints/log", "checkpoint log", operations.index,
        "What was committed, undone and done again, the newest first", (messages.Operations,),
        query=(
            Query("checkpoint", "integer", "only of this one"),
            Query("path", "string", "only what changed there and beneath; again for more"),
            Query("limit", "integer", "look at so many at most"),
        ),
    ),
    Page(
        "POST", "/v1/checkpoints/{number}/remove", "checkpoint rm", checkpoints.remove,
        "Forget a checkpoint that is decided on", (messages.CheckpointRemoved,), body=messages.Nothing,
    ),
    Page(
        "GET", "/v1/checkpoints/{number}", "checkpoint show", checkpoints.show, "One checkpoint",
        (messages.CheckpointShown,),
    ),
    Page(
        "GET", "/v1/checkpoints/{number}/diff", "checkpoint diff", checkpoints.diff, "What a checkpoint would change",
        query=_DIFF,
        media="text/plain",
    ),
    Page(
        "POST", "/v1/checkpoints/{number}/commit", "checkpoint commit", checkpoints.commit, "Make the changes real",
        (messages.CheckpointShown, messages.CheckpointPreview), body=messages.Commit,
    ),
    Page(
        "POST", "/v1/checkpoints/{number}/mark", "checkpoint pin", checkpoints.mark, "Pin or label a checkpoint",
        (messages.CheckpointShown,), body=messages.Mark,
    ),
    Page(
        "POST", "/v1/checkpoints/{number}/rollback", "checkpoint rollback", checkpoints.roll_back,
        "Throw the changes away", (messages.CheckpointShown,), body=messages.Nothing,
    ),
    Page(
        "POST", "/v1/checkpoints/{number}/undo", "checkpoint undo", checkpoints.undo,
        "Put back what a commit has replaced", (messages.CheckpointShown,), body=messages.Nothing,
    ),
    Page(
        "POST", "/v1/checkpoints/{number}/redo", "checkpoint redo", checkpoints.redo,
        "Do a commit again that was undone", (messages.CheckpointShown,), body=messages.Nothing,
    ),
    Page(
        "GET", "/v1/transactions", "tx list", transactions.index, "Transactions, the newest first",
        (messages.Transactions,),
        query=(Query("open", "boolean", "only those that are open"), Query("limit", "integer", "at most so many")),
    ),
    Page(
        "POST", "/v1/transactions", "tx begin", transactions.begin, "Begin a transaction over directories",
        (messages.TransactionShown,), body=messages.Begin,
    ),
    Page(
        "GET", "/v1/transactions/{number}", "tx status", transactions.show, "One transaction",
        (messages.TransactionShown,),
    ),
    Page(
        "GET", "/v1/transactions/{number}/diff", "tx diff", transactions.diff, "What a commit of it would change",
        query=_DIFF, media="text/plain",
    ),
    Page(
        "POST", "/v1/transactions/{number}/run", "tx run", transactions.run, "Have a job run in it",
        (messages.Submitted,), body=messages.Submit,
    ),
    Page(
        "POST", "/v1/transactions/{number}/savepoint", "tx savepoint", transactions.savepoint,
        "Give the state now a name to go back to", (messages.TransactionShown,), body=messages.SavepointName,
    ),
    Page(
        "POST", "/v1/transactions/{number}/rollback-to", "tx rollback-to", transactions.go_back,
        "Throw away what was done since a savepoint", (messages.TransactionShown,), body=messages.SavepointName,
    ),
    Page(
        "POST", "/v1/transactions/{number}/commit", "tx commit", transactions.commit,
        "Make all of its changes real", (messages.CheckpointShown,), body=messages.Commit,
    ),
    Page(
        "POST", "/v1/transactions/{number}/rollback", "tx rollback", transactions.roll_back,
        "Throw all of its changes away", (messages.TransactionShown,), body=messages.Nothing,
    ),
    Page(
        "GET", "/v1/reports/accuracy", "report accuracy", reports.accuracy, "How right the predictions were",
        query=(_SINCE,),
    ),
    Page(
        "GET", "/v1/reports/operations", "report operations", reports.operations, "How jobs waited, ran and ended",
        query=(_SINCE,),
    ),
    Page("GET", "/v1/config", "config show", config.show, "The settings in force", (messages.Config,)),
    Page(
        "GET", "/v1/config/diff", "config diff", config.diff, "What a reload would change",
        (messages.SettingsChanged,),
    ),
    Page(
        "POST", "/v1/config/reload", "config reload", config.reload, "Read settings and rules anew",
        (messages.SettingsChanged,), body=messages.Nothing,
    ),
    Page(
        "GET", "/v1/incidents", "incidents", incidents.index, "What should never have happened",
        (messages.IncidentsShown,), query=(_LIMIT,),
    ),
    Page(
        "GET", "/v1/incidents/{number}", "incidents show", incidents.show, "What was to see of a job then",
        (messages.Incident,),
    ),
    Page(
        "GET", "/v1/audit", "audit", trail.index, "Who did what", (messages.Audit,),
        query=(
            Query("before", "integer", "Only entries with smaller numbers"),
            Query("after", "integer", "Only entries with larger numbers, the oldest first; 0: from the first on"),
            _LIMIT,
        ),
    ),
)  # fmt: skip
