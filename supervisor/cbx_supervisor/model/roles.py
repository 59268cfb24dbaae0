"""Roles: what somebody may do beside what everybody may do with his own jobs."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Right(enum.StrEnum):
    """One thing that not everybody may do."""

    SEE = "see"  # what others' jobs are and did: lists, results, output, locks, reports
    STEER = "steer"  # others' jobs and the queue: end, signal, reorder
    DECIDE = "decide"  # commit and roll back what others' jobs changed
    LOOSEN = "loosen"  # run as somebody else, without a guarantee, against a check, before everybody
    AFFECT = "affect"  # have a job change the host itself: its processes, services, daemons, settings, network
    CONFIGURE = "configure"  # have the configuration read anew
    AUDIT = "audit"  # read the audit trail


class Role(enum.StrEnum):
    """What the configuration gives to users and groups; root has every right."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    HOST_EFFECTS = "host-effects"
    ADMIN = "admin"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.SEE}),
    Role.OPERATOR: frozenset({Right.SEE, Right.STEER}),
    Role.AUDITOR: frozenset({Right.SEE, Right.AUDIT}),
    Role.HOST_EFFECTS: frozenset({Right.AFFECT}),
    Role.ADMIN: frozenset(Right),
}


def rights(roles: Iterable[Role]) -> frozenset[Right]:
    """All that some roles allow together."""
    return frozenset().union(*(RIGHTS[role] for role in roles))
