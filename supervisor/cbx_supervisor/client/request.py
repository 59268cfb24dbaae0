"""From the options of `run` to the fields of the first frame: what only the caller's process can look up."""

import posix
import sys

from cbx_supervisor.client.failure import ClientError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cbx_supervisor.client.options import Values

KEPT = frozenset({"line", "env_file", "setenv", "tty", "no_tty", "json", "status_fd", "quiet", "help"})
PATHS = frozenset({"workdir", "rw", "ro", "hide", "tmpfs"})
MAX_ENV_FILE = 1 << 20


def raw(text: str) -> bytes:
    """Return the bytes that a command line argument was before Python decoded it."""
    return text.encode(sys.getfilesystemencoding(), "surrogateescape")


def environment() -> list[bytes]:
    """Return the caller's environment, as it was at the start: in the C locale, Python adds LC_CTYPE to its own."""
    try:
        descriptor = posix.open("/proc/self/environ", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return [name + b"=" + value for name, value in posix.environ.items()]
    parts = []
    while part := posix.read(descriptor, 1 << 16):
        parts.append(part)
    posix.close(descriptor)
    return [entry for entry in b"".join(parts).split(b"\0") if entry.find(b"=") > 0]


def working_directory() -> bytes:
    """Return the caller's directory."""
    try:
        path = posix.getcwdb()
    except OSError as why:
        raise ClientError(
            f"cannot tell the current directory: {why.strerror}", hint="it was removed or is hidden: cd elsewhere"
        ) from None
    if not path.startswith(b"/"):
        raise ClientError("cannot tell the current directory: it lies outside of the root", hint="cd elsewhere")
    return path


def fields(values: "Values", command: list[str], cwd: bytes) -> list[tuple[str, bytes]]:
    """Return the request but for its kind, its descriptors and its terminal."""
    made = [("line", raw(values["line"][0]))] if "line" in values else [("arg", raw(word)) for word in command]
    inherited = environment()
    made += [("env", entry) for entry in inherited]
    made += [("setenv", entry) for entry in _set_variables(values, inherited)]
    for key, texts in values.items():
        if key in PATHS:
            made += [(key, _absolute(raw(text), cwd)) for text in texts]
        elif key not in KEPT:
            made += [(key, raw(text)) for text in texts]
    return made


def _absolute(path: bytes, cwd: bytes) -> bytes:
    return path if path.startswith(b"/") else cwd.rstrip(b"/") + b"/" + path


def _set_variables(values: "Values", inherited: list[bytes]) -> list[bytes]:
    """Return --env-file's variables, then --env's, which win; a name alone stands for the caller's value."""
    wanted: list[bytes] = []
    for name in values.get("env_file", ()):
        wanted += _read_env_file(name)
    wanted += [raw(text) for text in values.get("setenv", ())]
    if not wanted:
        return []
    own = dict(entry.split(b"=", 1) for entry in inherited)
    made = []
    for entry in wanted:
        if b"=" in entry:
            made.append(entry)
        elif entry in own:
            made.append(entry + b"=" + own[entry])
    return made


def _read_env_file(name: str) -> list[bytes]:
    try:
        with open(raw(name), "rb") as file:
            content = file.read(MAX_ENV_FILE + 1)
    except OSError as why:
        raise ClientError(f"cannot read --env-file {printable(name)}: {why.strerror}") from None
    if len(content) > MAX_ENV_FILE:
        raise ClientError(f"cannot use --env-file {printable(name)}: it has more than {MAX_ENV_FILE} bytes")
    entries = []
    for number, line in enumerate(content.split(b"\n"), 1):
        entry = line.strip(b" \t\r")
        if not entry or entry.startswith(b"#"):
            continue
        variable = entry.partition(b"=")[0]
        if not variable or b" " in variable or b"\t" in variable or b"\0" in entry:
            raise ClientError(
                f"cannot use --env-file {printable(name)}: line {number} is not NAME=VALUE",
                hint="one variable a line, no quotes, no `export`; # begins a comment line",
            )
        entries.append(entry)
    return entries
