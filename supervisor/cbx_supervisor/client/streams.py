"""What the caller's stdin, stdout and stderr are, and what the job gets for them.

The law: a job writes only to descriptors that are in its lock set. So a writable regular file on stdout or stderr, and
any socket, is never passed on: the job gets a pipe and the client copies. Terminals, pipes, files for reading and the
harmless devices are the caller's own. Everything else is refused.
"""

import posix

from cbx_supervisor.client.failure import ClientError

NAMES = ("stdin", "stdout", "stderr")
TYPE, SOCKET, REGULAR, BLOCK, DIRECTORY, CHARACTER, FIFO, LINK = (
    0o170000, 0o140000, 0o100000, 0o060000, 0o040000, 0o020000, 0o010000, 0o120000,
)  # fmt: skip
REFUSED = {BLOCK: "a block device", DIRECTORY: "a directory", LINK: "a symbolic link"}
HARMLESS = frozenset((1, minor) for minor in (3, 5, 7, 8, 9))  # mem(4): null, zero, full, random, urandom

Copy = tuple[int, int]  # from one descriptor to the other


def fill_standard_descriptors() -> None:
    """Open /dev/null on those of 0, 1 and 2 that the caller closed, before another file lands there."""
    for number in range(3):
        try:
            posix.fstat(number)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)  # takes the lowest free number, which is this one


def kind_of(number: int) -> int:
    """Return the type of a standard descriptor's file, or raise because a job must not have it."""
    status = posix.fstat(number)
    kind = status.st_mode & TYPE
    if kind in REFUSED:
        _refuse(number, REFUSED[kind])
    if kind == CHARACTER and not posix.isatty(number):
        device = (posix.major(status.st_rdev), posix.minor(status.st_rdev))
        if device not in HARMLESS:
            _refuse(number, f"the device {device[0]}:{device[1]}")
    return kind


def _refuse(number: int, what: str) -> None:
    raise ClientError(
        f"cannot pass {NAMES[number]} to the command: it is {what}",
        hint="redirect it: < /dev/null" if number == 0 else f"redirect it, for example {number}> /dev/null or | cat",
    )


def prepare(*, detached: bool, interactive: bool) -> "Streams":
    """Decide what the job gets for the three; raise if it must not have one of them."""
    streams = Streams()
    if detached:
        if interactive and kind_of(0) == SOCKET:
            _refuse(0, "a socket, which the client would have to copy from, and a detached command has no client")
        if interactive:
            streams.job["stdin"] = 0
        return streams
    kinds = [kind_of(number) for number in range(3)]
    streams.job = {"stdin": 0, "stdout": 1, "stderr": 2}
    if kinds[0] == SOCKET:
        streams.job["stdin"], ours = streams.pipe()
        streams.copies.append((0, ours))
    if kinds[1] == SOCKET or (kinds[1] == REGULAR and _writable(1)):
        ours, streams.job["stdout"] = streams.pipe()
        streams.copies.append((ours, 1))
    if kinds[2] == SOCKET or (kinds[2] == REGULAR and _writable(2)):
        if streams.job["stdout"] != 1 and _same_file(1, 2):
            streams.job["stderr"] = streams.job["stdout"]  # one pipe keeps the order of what is written to both
        else:
            ours, streams.job["stderr"] = streams.pipe()
            streams.copies.append((ours, 2))
    return streams


class Streams:
    """The job's ends by name, the copying that the client does, and what to close once the ends were sent."""

    def __init__(self) -> None:
        self.job: dict[str, int] = {}
        self.copies: list[Copy] = []
        self._sent: list[int] = []

    def pipe(self) -> tuple[int, int]:
        """Make a pipe of which one end goes to the job."""
        ends = posix.pipe2(posix.O_CLOEXEC)
        self._sent += ends
        return ends

    def close_sent(self) -> None:
        """Close the job's ends here, so that the end of the job is the end of the file."""
        kept = {number for copy in self.copies for number in copy}
        for number in self._sent:
            if number not in kept:
                posix.close(number)


def _writable(number: int) -> bool:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_GETFL) & posix.O_ACCMODE != posix.O_RDONLY


def _same_file(first: int, second: int) -> bool:
    one, other = posix.fstat(first), posix.fstat(second)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
