"""Who may what: the peer's user and groups, as the kernel names them, held against the roles of the configuration."""

from __future__ import annotations

import contextlib
import grp
import pwd

from cbx_sandbox.errors import DeniedError
from cbx_supervisor.daemon import requests
from cbx_supervisor.daemon.peers import Peer
from cbx_supervisor.model.roles import Right, Role, rights
from cbx_supervisor.settings import Access as Settings

EVERYTHING = frozenset(Right)
NOTHING: frozenset[Right] = frozenset()


class Access:
    """The roles of users and groups. Names are looked up once: one that is made later counts after a reload."""

    def __init__(self, settings: Settings) -> None:
        self._users: dict[int, set[Role]] = {}
        self._groups: dict[int, set[Role]] = {}
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by these from now on. A name that this host does not know binds nobody."""
        self._users, self._groups = {}, {}
        named = {
            Role.VIEWER: settings.viewers,
            Role.OPERATOR: settings.operators,
            Role.AUDITOR: settings.auditors,
            Role.HOST_EFFECTS: settings.host_effects,
            Role.ADMIN: settings.admins,
        }
        for role, names in named.items():
            for name in names:
                self._bind(name, role)

    def rights(self, peer: Peer) -> frozenset[Right]:
        """What the peer may do beside what everybody may."""
        if peer.uid == 0:
            return EVERYTHING
        if not self._users and not self._groups:
            return NOTHING
        roles = set(self._users.get(peer.uid, ()))
        if self._groups:
            for group in requests.identity_of(peer.uid, peer.gid).groups:
                roles |= self._groups.get(group, set())
        return rights(roles)

    def may(self, peer: Peer, right: Right) -> bool:
        """Whether the peer has this right."""
        return peer.uid == 0 or right in self.rights(peer)

    def _bind(self, name: str, role: Role) -> None:
        with contextlib.suppress(KeyError):
            if name.startswith("@"):
                self._groups.setdefault(grp.getgrnam(name[1:]).gr_gid, set()).add(role)
            else:
                self._users.setdefault(pwd.getpwnam(name).pw_uid, set()).add(role)


NEEDED = {
    Right.SEE: "viewer",
    Right.STEER: "operator",
    Right.DECIDE: "admin",
    Right.LOOSEN: "admin",
    Right.AFFECT: "host-effects",
    Right.CONFIGURE: "admin",
    Right.AUDIT: "auditor",
}


def denied(right: Right, what: str) -> DeniedError:
    """The error for somebody who lacks a right."""
    role = NEEDED[right]
    return DeniedError(f"cannot {what}: you may not", hint=f"use sudo, or have root give you the role {role}")
