"""Starts a supervisor where none answers: root's client only.

Two clients that race end with one supervisor: the first takes a lock file, the second waits for it and then finds the
socket. The supervisor itself holds the lock of the host's lock domain, so even a third way of starting it is harmless.
"""

import _signal  # type: ignore[import-not-found]  # typeshed has no stub; `signal` itself builds enums for 5 ms
import fcntl
import posix
import select
import sys

from cbx_supervisor.client.connection import MOVABLE, open_socket, shown
from cbx_supervisor.client.failure import ClientError, UnreachableError, printable

STATE = b"/var/lib/cbx"  # cbx_supervisor.paths has the same; a test compares the two
IDLE_EXIT_SECONDS = 300
READY_MS = 30_000  # recovery of checkpoints comes before the socket
LOG_TAIL = 2000
PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def start_supervisor(runtime: bytes) -> None:
    """Start a supervisor and return once its sockets are open, or raise."""
    if posix.getuid() != 0:
        command = sys.executable.rpartition("/")[0] + "/cbx-supervisor"
        raise UnreachableError(
            "cannot run: no supervisor is running, and only root may start one", hint=f"run: sudo {printable(command)}"
        )
    _make_directory(runtime, 0o755)
    lock = posix.open(
        runtime + b"/start.lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(runtime):
            _start()
    finally:
        posix.close(lock)


def _answers(runtime: bytes) -> bool:
    try:
        open_socket(runtime + b"/exec.sock").close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def _make_directory(path: bytes, mode: int) -> None:
    made = b""
    for part in path.strip(b"/").split(b"/"):
        made += b"/" + part
        try:
            posix.mkdir(made, mode)
        except FileExistsError:
            continue
        except OSError as why:
            raise ClientError(f"cannot make {shown(made)}: {why.strerror}") from None


def _start() -> None:
    logs = (posix.environ.get(b"CBX_STATE_DIR") or STATE) + b"/logs"
    _make_directory(logs, 0o700)
    log_path = logs + b"/supervisor.log"
    log = posix.open(
        log_path, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600
    )
    begin = posix.fstat(log).st_size
    ready, told = posix.pipe2(posix.O_CLOEXEC)
    child = posix.fork()
    if child == 0:
        _become_supervisor(log, told)
    posix.close(told)
    posix.waitpid(child, 0)
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    if poll.poll(READY_MS) and posix.read(ready, 16):
        return
    raise ClientError(
        "cannot run: the supervisor did not start" + _tail(log_path, begin), hint=f"its log is {shown(log_path)}"
    )


def _become_supervisor(log: int, told: int) -> None:
    """In the child: leave the caller's session, forget everything that was inherited, execute."""
    try:
        posix.setsid()
        if posix.fork():
            posix._exit(0)
        for number in range(1, _signal.NSIG):
            if number not in {_signal.SIGKILL, _signal.SIGSTOP} and _signal.getsignal(number) is not None:
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        posix.umask(0o022)
        posix.chdir("/")
        null = posix.open("/dev/null", posix.O_RDWR)
        for number, source in ((0, null), (1, log), (2, log)):
            posix.dup2(source, number)
        posix.dup2(told, 3)  # inheritable from here on
        posix.closerange(4, 1 << 20)
        python = sys.executable
        module = "cbx_supervisor.daemon.main"
        arguments = [python, "-I", "-m", module, "--idle-exit", str(IDLE_EXIT_SECONDS), "--ready-fd", "3"]
        environment = {b"PATH": PATH, b"LANG": b"C.UTF-8", b"HOME": b"/root"}
        for name in MOVABLE:
            if posix.environ.get(name):
                environment[name] = posix.environ[name]
        posix.execve(python, arguments, environment)
    except BaseException as why:  # noqa: BLE001 - this child must never return into the client's code
        posix.write(2, f"cannot start the supervisor: {why}\n".encode())
    posix._exit(125)


def _tail(path: bytes, begin: int) -> str:
    """Return the last lines that the supervisor wrote to its log."""
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    size = posix.fstat(descriptor).st_size
    posix.lseek(descriptor, max(begin, size - LOG_TAIL), 0)
    text = posix.read(descriptor, LOG_TAIL).decode("utf-8", "replace")
    posix.close(descriptor)
    return "".join("\n  " + line for line in text.strip().splitlines()[-6:])
