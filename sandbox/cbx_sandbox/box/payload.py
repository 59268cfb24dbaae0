"""From a fork of init to the command: everything that is given up on the way, in the order in which it must be."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import resource
import signal

from cbx_sandbox.box import filters, placing, terminal
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.linux import files, namespaces, privileges

UMASK = 0o022
# Statuses of a child that never became the command; the reason travels over the report pipe.
SETUP_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


STANDARD = ("stdin", "stdout", "stderr")


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What the payload is given: descriptors, and what it still has to take and to leave."""

    stdio: list[int | None]
    tty: str | None
    report: int
    userns_fd: int | None
    last_capability: int
    cpuset: int | None = None  # a group to join (box/placing)


def tty_of(spec: BoxSpec) -> str | None:
    """The private terminal of a job that has one: always the first of its devpts."""
    return None if spec["terminal"] is None else "/dev/pts/0"


def run(spec: BoxSpec, standing: Standing, v1_procs: list[int]) -> None:
    """Become the command. Never returns: the outcome of a failure is written to ``standing.report`` as JSON."""
    try:
        enter(v1_procs, standing.last_capability, _beside(spec))
    except OSError as error:
        fail(standing.report, "session", error)
    except BaseException as error:  # noqa: BLE001  # this process must not go on as a second init
        fail(standing.report, "session", OSError(errno.EINVAL, f"{type(error).__name__}: {error}"))
    become(spec, standing)


def _beside(spec: BoxSpec) -> frozenset[int]:
    """The capabilities that this job keeps beside those of its kind."""
    return frozenset(spec["identity"].get("capabilities", ()))


def enter(v1_procs: list[int], last_capability: int, beside: frozenset[int] = frozenset()) -> None:
    """All that can be done before the job is known: its session, its groups, signals as a program expects them."""
    signal.set_wakeup_fd(-1)
    os.setsid()
    for fd in v1_procs:
        os.write(fd, b"0")
    # The root of its own view of the groups: /proc/self/cgroup tells nothing of the host's.
    namespaces.unshare(namespaces.CLONE_NEWCGROUP)
    _reset_signals()
    os.umask(UMASK)
    privileges.limit_bounding_set(privileges.SHIFTED_ROOT | beside, last_capability)


def become(spec: BoxSpec, standing: Standing) -> None:
    """The rest of the way to the command. Never returns."""
    step = "standard streams"
    try:
        for number, fd in enumerate(standing.stdio):
            if fd is not None:
                os.dup2(fd, number)
        if standing.tty is not None:
            step = "terminal"
            terminal.adopt(standing.tty)
        if (wanted := spec.get("placement")) is not None:
            step = "placement"
            placing.settle(wanted, standing.cpuset)
        step = "limits"
        _limit(spec)
        step = "Landlock rules"
        beneath = filters.open_writable(spec["writable"]) if spec["landlock"] else []
        step = "credentials"
        _take_identity(spec, standing)
        step = f"working directory {spec['workdir']}"
        os.chdir(spec["workdir"])
        step = "filters"
        privileges.no_new_privs()
        filters.apply(spec, beneath)
        files.close_range(3, files.CLOSE_RANGE_MAX, files.CLOSE_RANGE_CLOEXEC)
        step = "exec"
        execute(spec["argv"], spec["environment"])
    except OSError as error:
        fail(standing.report, step, error)
    except BaseException as error:  # noqa: BLE001  # this process must not go on as a second init
        fail(standing.report, step, OSError(errno.EINVAL, f"{type(error).__name__}: {error}"))


def execute(argv: list[str], environment: dict[str, str]) -> None:
    """Become ``argv``, found on the PATH of its own environment as execvp(3) does. Raises OSError, or never returns.

    os.execvpe does the same in five times the time: it looks for the PATH with warnings caught.
    """
    name = argv[0]
    missing: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    refused: OSError | None = None
    path = [""] if "/" in name else environment.get("PATH", os.defpath).split(":")
    for directory in path:
        try:
            os.execve(f"{directory}/{name}" if directory else name, argv, environment)  # noqa: S606  # what a sandbox is for
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = error
        except OSError as error:
            refused = refused or error
    raise refused or missing


def rehearse() -> None:
    """Touch what :func:`become` will: a fork shares its pages until it writes to them, and copying takes its time.

    Nothing is changed: the directory is not executed, and the descriptors are closed.
    """
    json.loads('{"argv": ["a"], "landlock": 1, "limits": {"nofile": 1.5, "fsize": null}, "shifted": false}')
    with contextlib.suppress(OSError):
        for fd in filters.open_writable([]):
            os.close(fd)
    filters.rehearse()
    with contextlib.suppress(OSError):
        execute(["/"], {})


def _limit(spec: BoxSpec) -> None:
    limits = spec["limits"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits["nofile"], limits["nofile"]))
    # 1, not 0: too small for a file, and the one value for which no handler in core_pattern is started (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    if limits["fsize"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits["fsize"], limits["fsize"]))


def _reset_signals() -> None:
    # Dispositions that are "ignore" survive execve, and so does the mask: the command starts with the defaults.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    # The C library keeps two for itself, refuses to touch them, and leaves them ignored after posix_spawn.
    for hidden in (32, 33):
        privileges.default_action(hidden)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _take_identity(spec: BoxSpec, standing: Standing) -> None:
    identity = spec["identity"]
    keep = beside = _beside(spec)
    if identity["shifted"]:
        assert standing.userns_fd is not None
        namespaces.setns(standing.userns_fd, namespaces.CLONE_NEWUSER)
        keep = privileges.SHIFTED_ROOT
    # Init keeps its capabilities across a change of ids; the command must not.
    privileges.keep_capabilities_across_ids(on=False)
    # Joining a user namespace fills the bounding set again (setns(2), cap_bset): then all of it is to be dropped.
    left = None if identity["shifted"] else privileges.SHIFTED_ROOT | beside
    privileges.limit_bounding_set(keep, standing.last_capability, among=left)
    os.setgroups(identity["groups"])
    os.setresgid(identity["gid"], identity["gid"], identity["gid"])
    os.setresuid(identity["uid"], identity["uid"], identity["uid"])
    privileges.set_capabilities(keep)


def fail(report: int, step: str, error: OSError) -> None:
    """Tell init why there will be no command, and exit."""
    status = SETUP_FAILED
    if step == "exec":
        status = NOT_FOUND if error.errno in {errno.ENOENT, errno.ENOTDIR} else NOT_EXECUTABLE
    text = json.dumps({"step": step, "errno": error.errno, "text": error.strerror or str(error)})
    os.write(report, text.encode())
    os._exit(status)
