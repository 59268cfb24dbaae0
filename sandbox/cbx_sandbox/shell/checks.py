"""What a text looks like when somebody means harm, and what to do about it.

The paths that matter are listed here; the interpreter asks about each path that it meets, and ``join`` looks at the
whole at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbx_sandbox.shell.effects import PathEffect, Span


class Verdict(StrEnum):
    """What a check asks for."""

    ISOLATE = "isolate"
    CONFIRM = "confirm"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    code: str
    verdict: Verdict
    text: str
    span: Span | None = None


# What somebody who reads it can become.
_SECRET = re.compile(
    r"/\.ssh/(?:id_[^/]*|identity)$(?<!\.pub)|/\.aws/credentials$|/\.netrc$|/\.git-credentials$|/etc/g?shadow-?$"
    r"|/\.gnupg/(?:private-keys|secring)|/\.docker/config\.json$|/\.kube/config$|/\.pypirc$|/\.npmrc$|/\.pgpass$|/\.my\.cnf$"
    r"|/\.config/gcloud/(?:credentials|access_tokens|application_default)|/\.azure/(?:accessTokens|msal_token)"
    r"|/\.config/gh/hosts\.yml$|/(?:Login Data|logins\.json|key4\.db|cookies\.sqlite)$|/proc/[^/]+/environ$"
    r"|/\.password-store/|/\.vault-token$|/etc/ssh/ssh_host_[a-z0-9]+_key$|/\.bitcoin/wallet\.dat$"
)
# What makes code run again later, or lets somebody in.
_PERSISTENT = re.compile(
    r"/\.ssh/(?:authorized_keys2?|rc|config)$|^/etc/(?:cron[^/]*|at\.allow)(?:/|$)|^/var/spool/cron|^/etc/(?:passwd|g?shadow|sudoers|group)(?:/|$|\.d)"
    r"|^/etc/(?:ld\.so\.preload|rc\.local|profile|bash\.bashrc|environment)(?:/|$)|^/etc/profile\.d/|^/etc/pam\.d/|^/etc/init\.d/"
    r"|/systemd/(?:system|user)/|/\.config/autostart/|/\.(?:bashrc|bash_profile|bash_login|bash_logout|profile|zshrc|zshenv|zprofile|inputrc)$"
    r"|^/etc/udev/rules\.d/|^/etc/apt/apt\.conf\.d/"
)
_LOGS = re.compile(r"^/var/log(?:/|$)|/\.(?:bash|zsh|python|mysql|psql)_history$|/\.local/share/fish/fish_history$")
_MINERS = re.compile(
    r"\b(?:xmrig|minerd|cgminer|bfgminer|ethminer|cpuminer|nbminer|t-rex|phoenixminer|xmr-stak)\b|stratum\+(?:tcp|ssl)://",
    re.IGNORECASE,
)


def secret(path: str) -> bool:
    """Whether a path holds credentials."""
    return _SECRET.search(path) is not None


def persistent(path: str) -> bool:
    """Whether writing to a path lets code run, or somebody in, later."""
    return _PERSISTENT.search(path) is not None


def logs(path: str) -> bool:
    """Whether a path records what was done."""
    return _LOGS.search(path) is not None


def miner(text: str) -> bool:
    """Whether a program or argument names a crypto miner."""
    return _MINERS.search(text) is not None


def join(paths: Iterable[PathEffect], *, network: bool) -> Iterable[Check]:
    """Look at the whole: credentials that are read where something goes out."""
    if not network:
        return
    for effect in paths:
        if effect.access is Access.READ and secret(effect.path):
            yield Check("credential-theft", Verdict.DENY, f"reads {effect.path} and talks to the network", effect.span)
