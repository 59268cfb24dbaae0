"""What of the caller's environment a job sees (documented in docs/security.md).

Dropped are variables that make programs execute or load something, that lead to the host's agents and sockets, that
look like secrets, and that describe the caller's own session. Whatever is set for the job by name passes.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping

from cbx_sandbox.policy import Identity

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Loaders, interpreters and shells that run or load what a variable names.
EXECUTES = (
    "LD_*", "GCONV_PATH", "LOCPATH", "NLSPATH", "MALLOC_*", "GLIBC_TUNABLES", "PYTHON*", "PERL5*", "PERLLIB", "RUBYOPT",
    "RUBYLIB", "NODE_OPTIONS", "NODE_PATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "BASH_ENV", "ENV",
    "BASH_FUNC_*", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "IFS", "CDPATH", "GLOBIGNORE", "LESSOPEN",
    "LESSCLOSE", "LESS", "PAGER", "MANPAGER", "EDITOR", "VISUAL", "BROWSER", "MAKEFLAGS", "MAKEFILES", "GIT_*", "LUA_*",
    "RIPGREP_CONFIG_PATH", "TAR_OPTIONS", "GREP_OPTIONS",
)  # fmt: skip
# Agents, buses, displays and daemons of the host.
REACHES = (
    "SSH_*", "GPG_*", "DBUS_*", "XDG_RUNTIME_DIR", "XDG_SESSION_*", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
    "DOCKER_*", "CONTAINER_HOST", "KUBECONFIG", "TMUX", "STY", "NOTIFY_SOCKET", "LISTEN_*", "JOURNAL_STREAM",
    "INVOCATION_ID", "WATCHDOG_*", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "CBX_*",
)  # fmt: skip
SECRETS = (
    "*TOKEN*", "*SECRET*", "*PASSWORD*", "*PASSWD*", "*PASSPHRASE*", "*CREDENTIAL*", "*_KEY", "*_KEY_ID", "*APIKEY*",
    "AWS_*", "AZURE_*", "GOOGLE_APPLICATION_*", "NETRC", "PGPASSFILE",
)  # fmt: skip
SESSION = ("SUDO_*", "OLDPWD", "PWD", "SHLVL", "_", "MAIL", "TMPDIR", "TMP", "TEMP", "HISTFILE")

_DROPPED = (*EXECUTES, *REACHES, *SECRETS, *SESSION)
# Each pattern has its stars at its ends only: told apart once, so that a look costs no pattern matching.
_NAMES = frozenset(pattern for pattern in _DROPPED if "*" not in pattern)
_PREFIXES = tuple(pattern[:-1] for pattern in _DROPPED if pattern.endswith("*") and not pattern.startswith("*"))
_SUFFIXES = tuple(pattern[1:] for pattern in _DROPPED if pattern.startswith("*") and not pattern.endswith("*"))
_PARTS = tuple(pattern[1:-1] for pattern in _DROPPED if pattern.startswith("*") and pattern.endswith("*"))


def dropped(name: str) -> bool:
    """True if the variable ``name`` of the caller does not reach a job."""
    return _known_to_be_dropped(name) if len(name) <= _USUAL else _to_be_dropped(name)


def _to_be_dropped(name: str) -> bool:
    upper = name.upper()
    if upper in _NAMES or upper.startswith(_PREFIXES) or upper.endswith(_SUFFIXES):
        return True
    return any(part in upper for part in _PARTS)


# The same few names come with every job; what is remembered has a bound.
_USUAL = 64  # characters
_known_to_be_dropped = functools.lru_cache(maxsize=1024)(_to_be_dropped)


def secret(name: str) -> bool:
    """True if a variable of this name holds a secret."""
    upper = name.upper()
    return any(fnmatch.fnmatchcase(upper, pattern) for pattern in SECRETS)


def for_job(
    caller: Mapping[str, str],
    identity: Identity,
    *,
    set_: Mapping[str, str],
    clear: bool,
    workdir: str,
    tmpdir: str,
) -> dict[str, str]:
    """The environment of a job. ``set_`` was asked for by name and passes as it is."""
    environment = {} if clear else {name: value for name, value in caller.items() if not dropped(name)}
    environment.setdefault("PATH", DEFAULT_PATH)
    environment |= {
        "HOME": identity.home,
        "USER": identity.name,
        "LOGNAME": identity.name,
        "SHELL": identity.shell,
        "TMPDIR": tmpdir,
        "PWD": workdir,
    }
    return environment | dict(set_)
