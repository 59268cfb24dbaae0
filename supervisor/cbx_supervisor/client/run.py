"""`cbx-sandbox run`: one request, the caller's own descriptors, and the job's exit status.

The hot path: what it imports decides how long a short command takes (see the package's docstring).
"""

import posix
import sys

from cbx_supervisor.client import options
from cbx_supervisor.client.connection import Connection, open_socket, runtime_directory
from cbx_supervisor.client.failure import ClientError, internal
from cbx_supervisor.client.report import Reporter, complain, write
from cbx_supervisor.client.request import fields as request_fields
from cbx_supervisor.client.request import working_directory
from cbx_supervisor.client.session import Session, Signals
from cbx_supervisor.client.streams import fill_standard_descriptors, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

VERSION = b"1"
ATTEMPTS = 3  # to connect: the supervisor that answers may just be ending because it was idle


def main(argv: list[str] | None = None) -> None:
    """Run one command and leave the process with its status, without taking the interpreter down in order."""
    posix._exit(status_of(sys.argv[1:] if argv is None else argv))


def status_of(argv: list[str]) -> int:
    """Run one command and return the exit status; every failure is one line, and 125."""
    try:
        fill_standard_descriptors()
        values, command = options.parse(argv)
        if "help" in values:
            from cbx_supervisor.client.usage import help_text

            write(1, help_text())
            return 0
        return _run(values, command)
    except ClientError as why:
        complain(why)
        return why.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except Exception as why:  # noqa: BLE001 - a traceback would look like the command's own, and status 1 too
        complain(internal(why))
        return 125


def _run(values: options.Values, command: list[str]) -> int:
    reporter = Reporter(values)
    detached = "detach" in values
    cwd = working_directory()
    fields = request_fields(values, command, cwd)
    server = connect()
    terminal = _wants_terminal(values)
    streams = prepare(detached=detached or terminal, interactive="interactive" in values and not terminal)
    if terminal:
        fields += _terminal_fields()
    passed = dict(streams.job)
    passed["cwd"] = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    lease = None
    if not detached:
        passed["lease"], lease = posix.pipe2(posix.O_CLOEXEC)
    # By the token the next supervisor knows the job again, should this one go away.
    head = [("kind", b"run"), ("version", VERSION), ("cwd", cwd), ("token", posix.urandom(16).hex().encode())]
    connection = Connection(server)

    def ask(where: Connection, *more: tuple[str, bytes]) -> None:
        where.send([*head, ("fds", ",".join(passed).encode()), *more, *fields], list(passed.values()))

    def arrived() -> None:
        if passed:
            streams.close_sent()
            posix.close(passed["cwd"])
            if lease is not None:
                posix.close(passed["lease"])
            passed.clear()

    try:
        ask(connection)
    except ValueError as why:  # frame.FrameError
        raise ClientError(f"{why}", hint="the command, its environment and its options have 4 MiB") from None
    except OSError:
        pass  # it hung up before it had read everything; why it did is read next
    signals = Signals()

    def again() -> Connection:
        from cbx_supervisor.client.again import reconnect

        return reconnect(signals.reader, lambda where: ask(where, ("again", b"1")))

    session = Session(connection, signals, streams.copies, reporter.event, arrived, again, detached=detached)
    kind, last = session.wait()
    status = reporter.end(kind, last)
    if "ask" in last and _may_ask(values):
        from cbx_supervisor.client.question import agrees

        if agrees():
            return _run({**values, "yes": ["1"]}, command)
    return status


def _may_ask(values: options.Values) -> bool:
    """Whether somebody sits there who can answer, and no program that reads what is said."""
    return posix.isatty(0) and posix.isatty(2) and not {"yes", "json", "quiet", "status_fd"} & values.keys()


def connect() -> "_socket.socket":
    """Return a connection to the exec socket; root's client starts a supervisor where there is none."""
    runtime = runtime_directory()
    for _attempt in range(ATTEMPTS):
        try:
            return open_socket(runtime + b"/exec.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            from cbx_supervisor.client.starter import start_supervisor

            start_supervisor(runtime)
    raise ClientError("cannot reach the supervisor: it ends as soon as it has started", hint="its log says why")


def _wants_terminal(values: options.Values) -> bool:
    """As ssh does: a private terminal if stdin and stdout are terminals, or as told."""
    if "no_tty" in values or "detach" in values:
        return False
    return "tty" in values or (posix.isatty(0) and posix.isatty(1))


def _terminal_fields() -> list[tuple[str, bytes]]:
    from cbx_supervisor.client.terminal import size

    rows, columns = size() or (24, 80)
    return [("tty", b"1"), ("rows", str(rows).encode()), ("cols", str(columns).encode())]
