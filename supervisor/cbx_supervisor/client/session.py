"""From the request that was sent to the result that came: one loop over the socket, signals and what is copied."""

import _signal  # type: ignore[import-not-found]  # typeshed has no stub; `signal` itself builds enums for 5 ms
import posix
import select
import time

from cbx_supervisor.client.failure import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_supervisor.client.connection import Connection, Fields
    from cbx_supervisor.client.copying import Copier
    from cbx_supervisor.client.streams import Copy
    from cbx_supervisor.client.terminal import Terminal

FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH", "TSTP", "CONT")
MAX_LOSSES = 5
SHORT_SECONDS = 1.0  # a connection that lasts longer was one
GONE = "cannot tell how the command ended: the supervisor went away"
LATER = "`cbx-sandbox list` shows what became of it once a supervisor runs again"
DRAIN_MS = 1000  # after the result, for output that is still on its way
NAMES: dict[int, str] = {getattr(_signal, "SIG" + name): name for name in FORWARDED}


class Signals:
    """Turns signals into bytes on a pipe, so that one poll waits for everything.

    A signal that the caller had ignored (nohup, a shell's background job) stays ignored.
    """

    def __init__(self) -> None:
        self.reader, writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in NAMES:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _nothing)

    def take(self) -> bytes:
        """Return the numbers of the signals that came, in order."""
        try:
            return posix.read(self.reader, 512)
        except BlockingIOError:
            return b""


def _nothing(_number: int, _frame: object) -> None:
    """The wakeup descriptor does the work."""


def _copier(source: int, target: int, end: bytes = b"") -> "Copier":
    from cbx_supervisor.client.copying import Copier

    return Copier(source, target, end=end)


class Session:
    """One job that this client waits for."""

    def __init__(
        self,
        connection: "Connection",
        signals: Signals,
        copies: "list[Copy]",
        on_event: "Callable[[str, Fields], None]",
        on_arrival: "Callable[[], None]",
        reconnect: "Callable[[], Connection]",
        *,
        detached: bool = False,
    ) -> None:
        self._connection = connection
        self._signals = signals
        self._on_event = on_event
        self._on_arrival = on_arrival
        self._reconnect = reconnect
        self._accepted = False
        self._losses = 0  # of connections, one after the other, that did not last
        self._since = 0.0
        self._detached = detached
        self._copiers = [_copier(source, target) for source, target in copies]
        self._terminal: Terminal | None = None
        self._master = -1
        self._interrupts = 0
        self._end: tuple[str, Fields] | None = None

    def wait(self) -> "tuple[str, Fields]":
        """Run until the job's end and return the last frame's kind and fields."""
        try:
            while self._end is None:
                self._turn(None)
            self._on_arrival()
            self._drain()
        finally:
            self._restore()
        return self._end

    def _turn(self, timeout: int | None) -> bool:
        """Wait once and handle what is ready; False if nothing was."""
        poll = select.poll()
        if self._end is None:
            poll.register(self._connection.fileno(), select.POLLIN)
        poll.register(self._signals.reader, select.POLLIN)
        waiting: dict[int, list[Copier]] = {}
        for copier in self._copiers:
            wanted = copier.wants()
            if wanted is not None:
                waiting.setdefault(wanted[0], []).append(copier)
                poll.register(wanted[0], select.POLLOUT if wanted[1] else select.POLLIN)
        ready = poll.poll(timeout)
        for number, _events in ready:
            if number in waiting:
                for copier in waiting[number]:
                    copier.step()
            elif number == self._signals.reader:
                self._forward()
            else:
                self._receive()
        return bool(ready)

    def _receive(self) -> None:
        frames = self._connection.receive()
        if frames is None:
            self._connection.close()
            now = time.monotonic()
            self._losses = self._losses + 1 if now - self._since < SHORT_SECONDS else 1
            if self._losses > MAX_LOSSES:
                raise ClientError(GONE, hint=LATER)
            self._connection = self._reconnect()
            self._since = time.monotonic()
            return
        for fields in frames:
            kind = fields.get("kind", [b""])[0].decode("ascii", "replace")
            if kind == "pty":
                self._attach(self._connection.take_descriptor())
            elif kind in {"result", "error"}:
                self._end = (kind, fields)
            elif kind == "started":
                self._on_arrival()
            elif kind == "accepted":
                if not self._accepted:
                    self._accepted = True
                    self._on_event(kind, fields)
                if "started" in fields:
                    self._on_arrival()
                if self._detached:
                    self._end = (kind, fields)
            else:
                self._on_event(kind, fields)

    def _attach(self, master: int) -> None:
        """Become the terminal of the job."""
        from cbx_supervisor.client.terminal import END_OF_FILE, Terminal, copy_size

        self._master = master
        if self._terminal is None:  # what it is brought back to is how it was before the first time
            self._terminal = Terminal()
        self._terminal.make_raw()
        copy_size(master)
        to_job = posix.dup(master)
        end = b"" if self._terminal.present else END_OF_FILE
        self._copiers = [_copier(0, to_job, end), _copier(master, 1)]

    def _forward(self) -> None:
        for number in self._signals.take():
            name = NAMES.get(number)
            if name == "WINCH":
                if self._master >= 0:
                    from cbx_supervisor.client.terminal import copy_size

                    copy_size(self._master)
            elif name == "TSTP":
                self._suspend()
            elif name == "CONT":
                self._resume()
            elif name == "INT" and self._interrupts:
                self._interrupts += 1
                if self._interrupts > 2:
                    raise ClientError("interrupted three times; the command is being killed", status=130)
                self._send([("kind", b"kill")])
            elif name is not None:
                self._interrupts += name == "INT"
                self._send([("kind", b"signal"), ("name", name.encode())])

    def _suspend(self) -> None:
        """Stop with the job on Ctrl-Z; SIGCONT brings both back."""
        self._send([("kind", b"signal"), ("name", b"TSTP")])
        self._restore()
        posix.kill(posix.getpid(), _signal.SIGSTOP)

    def _resume(self) -> None:
        if self._terminal is not None:
            self._terminal.make_raw()
        self._send([("kind", b"signal"), ("name", b"CONT")])

    def _send(self, fields: list[tuple[str, bytes]]) -> None:
        try:
            self._connection.send(fields)
        except OSError:  # it hung up: the loop reads that next
            return

    def _drain(self) -> None:
        """Copy what the job wrote last; its ends of the pipes are closed, or about to be."""
        for copier in self._copiers:
            if copier.source == 0:
                copier.finish()
        while any(not copier.done for copier in self._copiers):
            if not self._turn(DRAIN_MS):
                return

    def _restore(self) -> None:
        if self._terminal is not None:
            self._terminal.restore()
