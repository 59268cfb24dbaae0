"""The errors that somebody catches; everything else is a bug and may surface as one.

CbxError                 brief, details, hint: what, where, what to do
├── UsageError           the caller asked for something that cannot be (exit 125)
├── DeniedError          policy says no (exit 126)
│   └── ConfirmationError    it says no until the caller has said yes
├── NotStartedError      the job never ran: no lock, no slot, shutting down (exit 75)
├── UnavailableError     the host lacks what the job explicitly asked for (exit 125)
└── ConflictError        a commit met changes underneath
"""

from __future__ import annotations


class CbxError(Exception):
    """An expected failure, worded for the person who reads it.

    ``brief`` says "cannot X: why" in one line; ``details`` where and with what; ``hint`` what to do about it.
    """

    exit_status = 125

    def __init__(self, brief: str, *, details: str | None = None, hint: str | None = None) -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.brief]
        if self.details:
            parts.append(self.details)
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class UsageError(CbxError):
    """The request itself is wrong."""


class DeniedError(CbxError):
    """Policy refuses the request."""

    exit_status = 126


class ConfirmationError(DeniedError):
    """Policy wants to be told that the request is meant."""


class NotStartedError(CbxError):
    """The job was never started; trying again later may work."""

    exit_status = 75


class UnavailableError(CbxError):
    """This host cannot enforce what was explicitly asked for."""


class ConflictError(CbxError):
    """What the job saw has changed underneath since."""
