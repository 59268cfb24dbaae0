"""What `run` tells people and programs about the job: one line on stderr, --json, --status-fd."""

import posix

from cbx_supervisor.client.failure import ClientError, printable, unwritten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cbx_supervisor.client.connection import Fields
    from cbx_supervisor.client.options import Values


def write(number: int, text: str | bytes) -> None:
    """Write all of it. Raises BrokenPipeError; ClientError where stdout takes no answer, OSError for other ones."""
    data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    try:
        while data:
            data = data[posix.write(number, data) :]
    except BrokenPipeError:
        raise
    except OSError as why:
        if number != 1:
            raise
        raise unwritten(why) from why


def complain(why: ClientError) -> None:
    """Say on stderr what went wrong; the lines of a message stay lines, all else that a terminal acts on is escaped."""
    lines = [printable(line) for line in why.brief.split("\n")]
    lines[0] = "cbx-sandbox: " + lines[0]
    if why.hint:
        lines += ["  " + printable(line) for line in why.hint.split("\n")]
    try:
        write(2, "\n".join(lines) + "\n")
    except OSError:  # nobody listens; the status says it
        return


class Reporter:
    """Follows one job and passes on what the caller asked for."""

    def __init__(self, values: "Values") -> None:
        self._json = "json" in values
        self._quiet = "quiet" in values
        self._detached = "detach" in values
        self._dry_run = "dry_run" in values
        self._status = -1
        if "status_fd" in values:
            self._status = int(values["status_fd"][0])
            try:
                posix.fstat(self._status)
            except OSError:
                raise ClientError(
                    f"--status-fd {self._status}: that descriptor is not open",
                    hint=f"open it in the shell: {self._status}> events.jsonl",
                ) from None

    def event(self, kind: str, fields: "Fields") -> None:
        """Take a frame that is not the last one."""
        if kind == "accepted":
            job = _number(fields, "job")
            duplicate = b',"duplicate":true' if "duplicate" in fields else b""
            self._emit(b'{"event":"accepted","job":%d%b}' % (job, duplicate))
            if duplicate and not self._quiet:
                write(2, f"cbx: job {job} was submitted with the same key before\n")
            if self._detached:
                write(1, b'{"job":%d}\n' % job if self._json else b"%d\n" % job)
        elif kind == "waiting":
            text = _text(fields, "text")
            self._emit(b'{"event":"waiting","text":%b}' % _quote(text))
            if not self._quiet:
                write(2, f"cbx: {printable(text)}\n")

    def end(self, kind: str, fields: "Fields") -> int:
        """Take the last frame and return the exit status."""
        if kind == "accepted":
            return 0
        status = min(_number(fields, "status"), 255)
        described = _safe(fields.get("json", [b""])[0])
        if kind == "error":
            text = _text(fields, "text")
            if not described.startswith(b"{"):
                described = b'{"status":%d,"message":%b}' % (status, _quote(text))
            self._emit(b'{"event":"error",' + described[1:])
            if self._json:
                write(1, described + b"\n")
            complain(ClientError(text))
            return status
        if described.startswith(b"{"):
            self._emit(b'{"event":"result",' + described[1:])
            if self._json:
                write(1, described + b"\n")
            elif self._dry_run:
                import json

                from cbx_supervisor.client.plans import summary

                write(1, summary(json.loads(described)) + "\n")
        line = _text(fields, "line")
        if line and not self._quiet:
            write(2, f"cbx: {printable(line)}\n")
        return status

    def _emit(self, event: bytes) -> None:
        if self._status >= 0:
            try:
                write(self._status, event + b"\n")
            except OSError:  # the reader has gone, the job goes on
                self._status = -1


def _text(fields: "Fields", key: str) -> str:
    return fields.get(key, [b""])[0].decode("utf-8", "surrogateescape")


def _number(fields: "Fields", key: str) -> int:
    text = fields.get(key, [b""])[0]
    if not text.isdigit():
        raise ClientError(
            f"cannot read the supervisor's answer: {key} is missing", hint="are client and supervisor of one version?"
        )
    return int(text)


def _safe(described: bytes) -> bytes:
    """Escape what a terminal would act on inside of JSON, where it can only stand in strings."""
    if described.isascii():  # JSON itself escapes the control characters of ASCII
        return described
    text = described.decode("utf-8", "replace")
    return "".join(
        letter if letter.isprintable() or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}" for letter in text
    ).encode()


def _quote(text: str) -> bytes:
    import json  # rare, and dear

    return json.dumps(text).encode()
