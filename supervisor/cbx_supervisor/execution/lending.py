"""Job users: one is lent to each job that wants one, from the start of its box until nothing of it is left."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cbx_sandbox.box import jobusers
from cbx_sandbox.box.jobusers import JobUsers, Loan
from cbx_sandbox.box.operations import TMPDIR
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import Submitter, acting_as
from cbx_sandbox.policy import Identity, Policy
from cbx_supervisor.store import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbx_supervisor.execution.executor import Executor
    from cbx_supervisor.execution.progress import Progress


class Lending:
    """Knows the users that are configured."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._users: JobUsers | None = None
        self._text = ""

    async def lend(self, job: Progress, policy: Policy) -> None:
        """Lend a user to a job that wants one. Raises UnavailableError: there is none."""
        loan = job.loan = await self._executor.files.work(0, self._lend, policy.identity.uid)
        if loan.found:
            await self._note(loan, loan.found)

    def _lend(self, submitter: int) -> Loan:
        text = self._executor.settings.sandbox.job_users
        if self._users is None or self._text != text:
            self._users, self._text = JobUsers(text), text
        return self._users.lend(submitter)

    async def over(self, job: Progress) -> list[str]:
        """Take the user back when nothing lives of the job any more; what it has left under that user."""
        if (loan := job.loan) is None:
            return []
        job.loan = None
        try:
            removed, left = await self._executor.files.work(0, jobusers.clean, loan.user)
        finally:
            loan.close()
        return [f"{text} of {loan.user.name}" for text in (*removed, *left)]

    async def _note(self, loan: Loan, texts: Sequence[str]) -> None:
        """Write down that something of a user was there when no job ran as it."""
        self._executor.log("left behind", user=loan.user.name, left=list(texts))
        detail = {"left behind": list(texts)}
        await self._executor.writing.write(audit.record(time.time(), "incident", loan.user.name, uid=0, detail=detail))


def environment(loan: Loan, policy: Policy, given: Sequence[str]) -> dict[str, str]:
    """The variables that tell a program who it is, but for those that were given by name."""
    own = {"HOME": TMPDIR, "USER": loan.user.name, "LOGNAME": loan.user.name}
    return {**policy.environment, **{name: value for name, value in own.items() if name not in given}}


def opened(paths: Sequence[str], who: Identity) -> dict[str, int]:
    """Those of ``paths`` that lead ``who`` to a directory, opened."""
    found: dict[str, int] = {}
    resolve = files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with acting_as(Submitter(who.uid, who.gid, who.groups)):
        for path in paths:
            try:
                found[f"show:{path}"] = files.openat2(-1, path, flags, resolve=resolve)
            except OSError as error:
                if not (isinstance(error, PermissionError) or files.leads_elsewhere(error)):
                    for fd in found.values():
                        os.close(fd)
                    raise
                continue  # the job fails where it asks for it, as it would as its submitter
    return found
