"""From the fields of a request to a typed submission: all of it was written by the caller, nothing is believed."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from cbx_sandbox import placement
from cbx_sandbox.errors import DeniedError, UsageError
from cbx_sandbox.policy import POOL, CommitMode, Identity, NetworkMode, Placement
from cbx_sandbox.runner import Options, Request
from cbx_sandbox.shell.tiers import SHORT, Tier
from cbx_supervisor.daemon.peers import Peer
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.roles import Right
from cbx_supervisor.scheduling.budgets import MEMORY
from cbx_supervisor.scheduling.order import Importance

T = TypeVar("T")

VERSION = "1"
DESCRIPTORS = ("stdin", "stdout", "stderr", "cwd", "lease")
_FLAGS = (
    "yes", "clear_env", "tty", "detach", "dry_run", "strict", "allow_privileged", "interactive", "seccomp_log", "again",
    "unordered", "observe",
)  # fmt: skip
_MANY = frozenset((
    "arg", "env", "setenv", "rw", "ro", "hide", "tmpfs", "allow_missing", "host_effects", "allow_checks", "after",
    "allow_host", "publish", "resource",
))  # fmt: skip
_ONCE = (
    "kind", "version", "fds", "cwd", "line", "timeout", "kill_after", "memory", "cpus", "pids", "network", "workdir",
    "user", "rows", "cols", "tier", "commit", "lock_timeout", "session", "priority", "token", "idempotency_key",
    "retries", "transaction", "view", "cpus_allowed", "mems_allowed", "nice", "cpu_weight", "io_weight", *_FLAGS,
)  # fmt: skip
# What says nothing of what is to be done: two requests that differ in these only are the same one.
_CIRCUMSTANCES = frozenset(
    {"env", "fds", "rows", "cols", "tty", "token", "again", "idempotency_key", "session", "unordered", "detach"}
)
# Of which an Options is made.
_OF_OPTIONS = frozenset((
    "timeout", "kill_after", "memory", "cpus", "pids", "network", "allow_host", "publish", "workdir", "setenv",
    "clear_env", "rw", "ro", "hide", "tmpfs", "tier", "commit", "strict", "allow_missing", "allow_privileged",
    "seccomp_log", "host_effects", "yes", "allow_checks", "observe", "cpus_allowed", "mems_allowed", "nice",
    "cpu_weight", "io_weight",
))  # fmt: skip
_LONGEST_NAME = 256  # bytes of a token or a key
_KNOWN = frozenset((*_MANY, *_ONCE))
_LARGEST = 1 << 62
LEAST_MEMORY = 1 << 20  # bytes: below that not even the box is there before its limit is met
MOST_RETRIES = 100


class Fields:
    """The fields of one frame, by key."""

    def __init__(self, fields: Sequence[tuple[str, bytes]]) -> None:
        values: dict[str, list[str]] = {}
        self._values = values
        for key, value in fields:
            text = value.decode("utf-8", "surrogateescape")
            if (known := values.get(key)) is not None:
                if key not in _MANY:
                    raise UsageError(f"cannot take the request: {key} was given more than once")
                known.append(text)
            elif key in _KNOWN:
                values[key] = [text]
            else:
                raise UsageError(f"cannot take the request: no such field: {key}", hint="are client and daemon alike?")

    def any(self, keys: AbstractSet[str]) -> bool:
        """Whether one of ``keys`` is there."""
        return not self._values.keys().isdisjoint(keys)

    def one(self, key: str) -> str | None:
        """The value of ``key``, or None."""
        values = self._values.get(key)
        return None if values is None else values[0]

    def many(self, key: str) -> list[str]:
        """All values of ``key``."""
        return self._values.get(key, [])

    def flag(self, key: str) -> bool:
        """True if ``key`` is there; its only value is 1."""
        values = self._values.get(key)
        if values is None:
            return False
        if values[0] != "1":
            raise UsageError(f"cannot take {key}={values[0]}: the only value is 1")
        return True

    def digest(self) -> str:
        """What tells this request from one that asks for something else."""
        asked = {key: values for key, values in self._values.items() if key not in _CIRCUMSTANCES}
        return hashlib.sha256(repr(sorted(asked.items())).encode("utf-8", "surrogateescape")).hexdigest()

    def typed(self, key: str, convert: Callable[[str], T], kind: str) -> T | None:
        """The value of ``key`` converted, or None."""
        values = self._values.get(key)
        return None if values is None else _converted(key, values[0], convert, kind)

    def typed_many(self, key: str, convert: Callable[[str], T], kind: str) -> list[T]:
        """All values of ``key`` converted."""
        values = self._values.get(key)
        return [] if values is None else [_converted(key, value, convert, kind) for value in values]


def _converted(key: str, value: str, convert: Callable[[str], T], kind: str) -> T:
    try:
        return convert(value)
    except ValueError as error:
        raise UsageError(f"cannot take {key}={value[:100]}: not {kind}") from error


def names_of_descriptors(fields: Fields) -> list[str]:
    """What the descriptors of the request are, in order."""
    names = [name for name in (fields.one("fds") or "").split(",") if name]
    unknown = [name for name in names if name not in DESCRIPTORS]
    if unknown or len(set(names)) != len(names):
        raise UsageError(f"cannot take the request: fds={','.join(names)[:100]}")
    return names


def submission(
    fields: Fields, peer: Peer, may: Callable[[Right], bool], *, around: Mapping[str, str] | None = None
) -> Submission:
    """Check and convert. Raises UsageError; DeniedError for what only root and admins may ask for.

    ``may`` is asked only where it matters: it may have to look the caller's groups up. ``around`` is the
    environment, where the fields say nothing of it: one for many jobs.
    """
    if fields.one("kind") != "run":
        raise UsageError(f"cannot take the request: kind={fields.one('kind')}, expected run first")
    if fields.one("version") != VERSION:
        raise UsageError(f"cannot take the request: version {fields.one('version')}, this daemon speaks {VERSION}")
    line, argv = fields.one("line"), tuple(fields.many("arg"))
    if (line is None) == (not argv) or (argv and not argv[0]):
        raise UsageError("cannot take the request: it needs a command: either a line or arguments")
    cwd = fields.one("cwd") or ""
    if not cwd.startswith("/"):
        raise UsageError("cannot take the request: cwd must be an absolute path")
    user = fields.one("user")
    options = _options(fields, user)
    if options.pooled:
        user = None
    refuse_loosening(options, user, may)
    environment = environment_of(fields) if around is None else around
    identity = identity_of(peer.uid, peer.gid) if user is None else named_identity(user)
    return Submission(
        request=Request(
            identity=identity,
            cwd=os.path.normpath(cwd),
            environment=environment,
            argv=argv or None,
            line=line,
            options=options,
            # An admin who runs a job as root has it run as root's own.
            submitter_is_root=peer.uid == 0 or (user is not None and identity.uid == 0),
        ),
        uid=peer.uid,
        gid=peer.gid,
        pid=peer.pid,
        detached=fields.flag("detach"),
        interactive=fields.flag("interactive"),
        dry_run=fields.flag("dry_run"),
        lock_timeout=fields.typed("lock_timeout", _seconds, "a number of seconds"),
        session=_name(fields, "session"),
        unordered=fields.flag("unordered"),
        after=tuple(fields.typed_many("after", _count, "a job's number")),
        retries=_retries(fields),
        resources=_resources(fields),
        importance=_importance(fields, may),
        terminal=_terminal(fields),
        token=_name(fields, "token"),
        again=fields.flag("again"),
        transaction=fields.typed("transaction", _count, "a transaction's number"),
        view=fields.typed("view", _count, "a checkpoint's number"),
        key=None if (key := _name(fields, "idempotency_key")) is None else (key, fields.digest()),
        sudo_uid=int(sudo) if (sudo := environment.get("SUDO_UID", "")).isdecimal() and len(sudo) < 11 else None,
    )


def environment_of(fields: Fields) -> dict[str, str]:
    """The environment that they say."""
    return dict(_pair(entry, "env") for entry in fields.many("env"))


def _options(fields: Fields, user: str | None) -> Options:
    if user is None and not fields.any(_OF_OPTIONS):
        return Options()  # as of most jobs
    return Options(
        timeout=fields.typed("timeout", _seconds, "a number of seconds"),
        kill_after=fields.typed("kill_after", _seconds, "a number of seconds"),
        memory=fields.typed("memory", _memory, f"a number of bytes from {LEAST_MEMORY} on: no box fits into less"),
        cpus=fields.typed("cpus", _cores, "a number of cores"),
        pids=fields.typed("pids", _count, "a number of processes"),
        network=fields.typed("network", NetworkMode, "none, allowlist or host"),
        allow_hosts=tuple(fields.many("allow_host")),
        publish=tuple(fields.many("publish")),
        workdir=_absolute(fields.one("workdir"), "workdir"),
        set_environment=dict(_pair(entry, "setenv") for entry in fields.many("setenv")),
        clear_environment=fields.flag("clear_env"),
        writable=_paths(fields, "rw"),
        readonly=_paths(fields, "ro"),
        hide=_paths(fields, "hide"),
        tmpfs=_paths(fields, "tmpfs"),
        tier=fields.typed("tier", _tier, "a tier"),
        commit=fields.typed("commit", CommitMode, "auto, hold or never"),
        strict=fields.flag("strict"),
        allow_missing=_names(fields, "allow_missing"),
        allow_privileged=fields.flag("allow_privileged"),
        seccomp_log=fields.flag("seccomp_log"),
        pooled=user == POOL,
        itself=user not in {None, POOL},
        host_effects=_names(fields, "host_effects"),
        agreed=fields.flag("yes"),
        allow_checks=_names(fields, "allow_checks"),
        observe=fields.flag("observe"),
        placement=_placement(fields),
    )


def _placement(fields: Fields) -> Placement:
    return Placement(
        cpus=fields.typed("cpus_allowed", placement.numbers, "a list of CPUs such as 0-3,8"),
        nodes=fields.typed("mems_allowed", placement.numbers, "a list of memory nodes such as 0-1"),
        nice=fields.typed("nice", placement.niceness, "a nice value from -20 to 19"),
        cpu_weight=fields.typed("cpu_weight", placement.weight, "a weight from 1 to 10000, or idle"),
        io_weight=fields.typed("io_weight", placement.weight, "a weight from 1 to 10000, or idle"),
    )


def _retries(fields: Fields) -> int | None:
    wanted = fields.typed("retries", lambda text: 0 if text == "0" else _count(text), "a number of retries")
    if wanted is not None and not fields.flag("detach"):
        raise UsageError(
            "cannot use --retries: only a detached job is tried again",
            hint="add --detach, or use `cbx-sandbox submit`: what a command in the foreground has read is gone",
        )
    if wanted is not None and wanted > MOST_RETRIES:
        raise UsageError(f"cannot use --retries {wanted}: the most is {MOST_RETRIES}")
    return wanted


def _importance(fields: Fields, may: Callable[[Right], bool]) -> Importance:
    found = fields.typed("priority", Importance, "one of " + ", ".join(Importance)) or Importance.NORMAL
    if found is Importance.CRITICAL and not may(Right.LOOSEN):
        raise DeniedError(
            "cannot use --priority critical: only root and admins may", hint="--priority high goes before most"
        )
    return found


def refuse_loosening(options: Options, user: str | None, may: Callable[[Right], bool]) -> None:
    """Raise DeniedError for what only root, admins, and who has a role for it may ask for."""
    asked = {
        "--user": user is not None,
        "--allow-missing": bool(options.allow_missing),
        "--allow-privileged": options.allow_privileged,
        "--seccomp-log": options.seccomp_log,
        "--allow-checks": bool(options.allow_checks),
        # Others' jobs would get less.
        "--nice below 0": (options.placement.nice or 0) < 0,
        f"--cpu-weight above {placement.USUAL_WEIGHT}": (options.placement.cpu_weight or 0) > placement.USUAL_WEIGHT,
        f"--io-weight above {placement.USUAL_WEIGHT}": (options.placement.io_weight or 0) > placement.USUAL_WEIGHT,
    }
    for option, given in asked.items():
        if given and not may(Right.LOOSEN):
            raise DeniedError(f"cannot use {option}: only root and admins may", hint=f"leave {option} out, or use sudo")
    if options.host_effects and not may(Right.AFFECT):
        raise DeniedError(
            "cannot use --host-effects: only root, admins and who has that role may",
            hint="have root name you in [access] host_effects, or use sudo",
        )


@functools.lru_cache(maxsize=256)
def identity_of(uid: int, gid: int) -> Identity:
    """Who a uid is. Remembered: a name service may be slow, and a restart forgets."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, gid, (gid,), str(uid), "/")
    # The gid of the process that called, the groups of its user.
    groups = tuple(sorted({gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)}))
    return Identity(uid, gid, groups, entry.pw_name, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")


def named_identity(name: str) -> Identity:
    """The user that root named, by name or number."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() and len(name) < 11 else pwd.getpwnam(name)
    except (KeyError, ValueError, OverflowError) as error:
        raise UsageError(f"cannot run as {name}: there is no such user") from error
    return identity_of(entry.pw_uid, entry.pw_gid)


def _pair(entry: str, key: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise UsageError(f"cannot take {key}={entry[:60]}: not NAME=VALUE")
    return name, value


def _absolute(path: str | None, key: str) -> str | None:
    if path is None:
        return None
    if not path.startswith("/"):
        raise UsageError(f"cannot take {key}={path[:100]}: it must be an absolute path")
    return os.path.normpath(path).replace("//", "/", 1) if path.startswith("//") else os.path.normpath(path)


def _paths(fields: Fields, key: str) -> tuple[str, ...]:
    return tuple(path for value in fields.many(key) if (path := _absolute(value, key)) is not None)


def _name(fields: Fields, key: str) -> str | None:
    value = fields.one(key)
    if value is not None and not 0 < len(os.fsencode(value)) <= _LONGEST_NAME:
        raise UsageError(f"cannot take {key}: it must have 1 to {_LONGEST_NAME} bytes")
    # As text that every database takes: bytes that are none are escaped.
    return None if value is None else value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _names(fields: Fields, key: str) -> frozenset[str]:
    return frozenset(name for value in fields.many(key) for name in value.split(",") if name)


def _terminal(fields: Fields) -> tuple[int, int] | None:
    if not fields.flag("tty"):
        return None
    rows = fields.typed("rows", _count, "a number of rows") or 24
    columns = fields.typed("cols", _count, "a number of columns") or 80
    return min(rows, 65535), min(columns, 65535)


def _resources(fields: Fields) -> tuple[tuple[str, int], ...]:
    """NAME or NAME:N; what was named twice counts together."""
    found: dict[str, int] = {}
    for text in fields.many("resource"):
        name, colon, count = text.partition(":")
        if not name or name == MEMORY:
            raise UsageError(f"cannot take resource={text[:100]}: not NAME or NAME:N")
        found[name] = found.get(name, 0) + (_converted("resource", count, _count, "NAME:N") if colon else 1)
    return tuple(found.items())


def _tier(text: str) -> Tier:
    return SHORT[text] if text in SHORT else Tier(text)


def _seconds(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or not 0 <= number <= 1e9:
        raise ValueError(text)
    return number


def _cores(text: str) -> float:
    number = _seconds(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _memory(text: str) -> int:
    count = _count(text)
    if count < LEAST_MEMORY:
        raise ValueError(text)
    return count


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or not 0 < int(text) <= _LARGEST:
        raise ValueError(text)
    return int(text)
