"""The options of `run`: one table for the parser, for the help and for the manual.

A parser of our own because importing argparse or click costs more than running a short command. What it accepts is
what people know from docker, bwrap, systemd-run and timeout.
"""

from cbx_supervisor.client.failure import ClientError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TIERS = {
    "safe": "SAFE_PARALLEL",
    "conditional": "CONDITIONAL_PARALLEL",
    "sequential": "SEQUENTIAL_REQUIRED",
    "dangerous": "DANGEROUS_ISOLATED",
}
SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
DURATION_UNITS = {"": 1000, "MS": 1, "S": 1000, "M": 60_000, "H": 3_600_000}  # in milliseconds

# group, then (short, long, key, kind, metavar, help). The kinds stand in CONVERTERS; "flag" takes no value; a kind
# that ends in "+" may be given several times. Keys are the exec socket's, but for those that the client keeps.
OPTIONS = (
    (
        "The command",
        (
            ("-c", "", "line", "line", "LINE", "run a shell line instead of a program"),
            ("-w", "--workdir", "workdir", "path", "PATH", "work there instead of in the current directory"),
            ("-e", "--env", "setenv", "env+", "NAME[=VALUE]", "set a variable, or pass on the caller's"),
            ("", "--env-file", "env_file", "text+", "FILE", "set variables from lines of NAME=VALUE"),
            ("", "--clear-env", "clear_env", "flag", "", "start from an empty environment"),
            ("-u", "--user", "user", "text", "USER", "run as another user (root), or pool: a job user"),
        ),
    ),
    (
        "Limits",
        (
            ("", "--timeout", "timeout", "duration", "TIME", "end it after this time, e.g. 90s, 10m, 2h; 0: never"),
            ("", "--kill-after", "kill_after", "duration", "TIME", "from SIGTERM to the kill, e.g. 5s, 500ms"),
            ("-m", "--memory", "memory", "size", "SIZE", "memory limit in bytes, or e.g. 512M, 2G"),
            ("", "--cpus", "cpus", "cpus", "N", "CPU limit in cores, e.g. 0.5"),
            ("", "--pids", "pids", "count", "N", "limit of processes and threads"),
            ("", "--cpus-allowed", "cpus_allowed", "list", "LIST", "run on these CPUs only, e.g. 0-3,8"),
            ("", "--mems-allowed", "mems_allowed", "list", "LIST", "take memory from these NUMA nodes only"),
            ("", "--nice", "nice", "nice", "N", "let others go first: up to 19; below 0 for root"),
            ("", "--cpu-weight", "cpu_weight", "weight", "N", "share of busy CPUs: 100 is usual; or idle"),
            ("", "--io-weight", "io_weight", "weight", "N", "the same of disks whose scheduler has weights"),
            ("", "--strict", "strict", "flag", "", "refuse to run when any limit cannot be enforced"),
            ("", "--allow-missing", "allow_missing", "names+", "NAMES", "run although these limits cannot be enforced"),
        ),
    ),
    (
        "What it may see and touch",
        (
            ("", "--tier", "tier", "tier", "TIER", "at least safe, conditional, sequential or dangerous"),
            ("", "--network", "network", "network", "MODE", "none, allowlist or host"),
            ("", "--allow-host", "allow_host", "text+", "HOST", "reach NAME[:PORT,...], *.NAME, an address, @SET"),
            ("", "--publish", "publish", "text+", "PORTS", "lead HOSTPORT:PORT to the command's PORT"),
            ("", "--rw", "rw", "path+", "PATH", "may write below this path"),
            ("", "--ro", "ro", "path+", "PATH", "may not write below this path"),
            ("", "--hide", "hide", "path+", "PATH", "this path is empty for the command"),
            ("", "--tmpfs", "tmpfs", "path+", "PATH", "a private, empty, writable directory there"),
            ("-y", "--yes", "yes", "flag", "", "run it although a check asks whether it is meant"),
            ("", "--allow-checks", "allow_checks", "names+", "NAMES", "run it although these checks deny it (root)"),
            ("", "--seccomp-log", "seccomp_log", "flag", "", "log refused calls and let them pass (root)"),
            ("", "--host-effects", "host_effects", "names+", "NAMES", "may change the host: process,service,daemon,…"),
        ),
    ),
    (
        "Its changes",
        (
            ("", "--commit", "commit", "auto|hold|never", "WHEN", "auto, hold (for review) or never"),
            (
                "",
                "--allow-privileged",
                "allow_privileged",
                "flag",
                "",
                "commit setuid files, foreign owners and the like",
            ),
            (
                "",
                "--lock-timeout",
                "lock_timeout",
                "duration",
                "TIME",
                "give up when the locks take longer (status 75)",
            ),
            ("", "--dry-run", "dry_run", "flag", "", "say what would be done, run nothing"),
            ("", "--observe", "observe", "flag", "", "have a look at what it reads and changes"),
        ),
    ),
    (
        "Its place in the queue",
        (
            ("", "--after", "after", "count+", "JOB", "not before this job has succeeded"),
            (
                "",
                "--idempotency-key",
                "idempotency_key",
                "text",
                "KEY",
                "who asks again with this key gets the first job",
            ),
            ("", "--retries", "retries", "count", "N", "detached: try again so often where it may help"),
            (
                "",
                "--resource",
                "resource",
                "resource+",
                "NAME[:N]",
                "take one or N of a resource that is counted",
            ),
            ("", "--session", "session", "text", "NAME", "jobs of one session keep their order"),
            ("", "--unordered", "unordered", "flag", "", "start it whatever earlier jobs do to what it uses"),
            ("", "--priority", "priority", "priority", "HOW", "critical (root), high, normal, low or deferred"),
            ("", "--view", "view", "count", "N", "look around in a held checkpoint, read-only"),
            ("", "--transaction", "transaction", "count", "N", "work in a transaction (see `cbx-sandbox tx`)"),
        ),
    ),
    (
        "Input and output",
        (
            ("-i", "--interactive", "interactive", "flag", "", "keep stdin open, also for a detached command"),
            ("-t", "--tty", "tty", "flag", "", "give it a terminal, wherever stdin and stdout lead"),
            ("-T", "--no-tty", "no_tty", "flag", "", "give it no terminal"),
            ("-d", "--detach", "detach", "flag", "", "print the job's number and do not wait"),
            ("", "--json", "json", "flag", "", "print the result as JSON after the output"),
            ("", "--status-fd", "status_fd", "count", "N", "write events as JSON lines to this descriptor"),
            ("-q", "--quiet", "quiet", "flag", "", "no line about the result on stderr"),
            ("-h", "--help", "help", "flag", "", "show this help"),
        ),
    ),
)
_BY_NAME = {name: option for _group, options in OPTIONS for option in options for name in option[:2] if name}

Values = dict[str, list[str]]  # each option's values as the socket takes them; a flag that was given has ["1"]


def parse(argv: list[str]) -> tuple[Values, list[str]]:
    """Split the arguments of `run` into its options and the command; parsing stops at `--` or the first word."""
    values: Values = {}
    rest = argv[::-1]
    while rest and rest[-1].startswith("-") and rest[-1] != "-":
        word = rest.pop()
        if word == "--":
            break
        if word.startswith("--"):
            _long(word, rest, values)
        else:
            _cluster(word, rest, values)
    command = rest[::-1]
    if "help" not in values:
        _check(values, command)
    return values, command


def _long(word: str, rest: list[str], values: Values) -> None:
    name, equals, value = word.partition("=")
    option = _BY_NAME.get(name)
    if option is None:
        raise ClientError(
            f"no such option: {quoted(name)}",
            hint="see `cbx-sandbox run --help`; `--` ends the options of run and begins the command",
        )
    if option[3] == "flag":
        if equals:
            raise ClientError(f"{name} takes no value")
        _store(option, name, "1", values)
    else:
        _store(option, name, value if equals else _next(name, option, rest), values)


def _cluster(word: str, rest: list[str], values: Values) -> None:
    position = 1
    while position < len(word):
        name = "-" + word[position]
        position += 1
        option = _BY_NAME.get(name)
        if option is None:
            raise ClientError(
                f"no such option: {quoted(name)}" + (f" (in {quoted(word)})" if word != name else ""),
                hint="see `cbx-sandbox run --help`; `--` ends the options of run and begins the command",
            )
        if option[3] == "flag":
            _store(option, name, "1", values)
        else:
            attached = word[position:]
            _store(option, name, attached or _next(name, option, rest), values)
            return


def _next(name: str, option: tuple[str, str, str, str, str, str], rest: list[str]) -> str:
    if not rest:
        raise ClientError(f"{name} needs a value: {name} {option[4]}")
    return rest.pop()


def _store(option: tuple[str, str, str, str, str, str], name: str, text: str, values: Values) -> None:
    _short, _name, key, kind, _metavar, _help = option
    base = kind.removesuffix("+")
    try:
        converted = text if base == "flag" else CONVERTERS[base](text)
    except ValueError as why:
        raise ClientError(f"{name} {quoted(text)}: {why}") from None
    if key == "line" and key in values:
        raise ClientError("-c was given twice", hint="join the lines with ; or &&")
    if kind.endswith("+"):
        values.setdefault(key, []).append(converted)
    else:
        values[key] = [converted]


def _check(values: Values, command: list[str]) -> None:
    if "line" in values and command:
        raise ClientError(
            f"both -c and a command were given: {quoted(command[0])}",
            hint="quote the whole line after -c, or leave -c out",
        )
    if "line" not in values and not command:
        raise ClientError("no command was given", hint="cbx-sandbox run [OPTIONS] -- COMMAND…, or run -c 'LINE'")
    if command and not command[0]:
        raise ClientError("the command's name is empty")
    for first, second in (("tty", "no_tty"), ("tty", "detach"), ("strict", "allow_missing")):
        if first in values and second in values:
            raise ClientError(f"--{_dashed(first)} and --{_dashed(second)} exclude each other")


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _number(text: str) -> float:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        raise ValueError("not a number")
    return float(text)


def _split_unit(text: str, units: dict[str, int], example: str) -> float:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(digits) :].upper()
    if units is SIZE_UNITS:
        unit = unit.removesuffix("B").removesuffix("I") if unit not in {"I", "IB"} else unit
    try:
        return _number(digits) * units[unit]
    except (KeyError, ValueError):
        raise ValueError(f"write it as {example}") from None


def size(text: str) -> str:
    """Turn 512M into bytes of memory; the units are binary."""
    count = int(_split_unit(text, SIZE_UNITS, "bytes or with a unit, e.g. 512M or 2G"))
    if not 1 << 20 <= count < 1 << 63:  # no box fits into less
        raise ValueError("must be from 1M on and less than 8E")
    return str(count)


def duration(text: str) -> str:
    """Turn 5s, 500ms or 1.5 into decimal seconds."""
    milliseconds = round(_split_unit(text, DURATION_UNITS, "seconds or with a unit: 500ms, 90s, 10m or 2h"))
    if milliseconds >= 10**13:
        raise ValueError("is longer than 300 years")
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03d}".rstrip("0").rstrip(".")


def _cpus(text: str) -> str:
    try:
        number = _number(text)
    except ValueError:
        raise ValueError("write it as a number of cores, e.g. 0.5") from None
    if not 0.001 <= number <= 100_000:
        raise ValueError("must be between 0.001 and 100000 cores")
    return text


def _count(text: str) -> str:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError("write it as a whole number")
    return str(int(text))


def _tier(text: str) -> str:
    name = TIERS.get(text.lower(), text.upper())
    if name not in TIERS.values():
        raise ValueError("write one of " + ", ".join(TIERS))
    return name


def _environment(text: str) -> str:
    name = text.partition("=")[0]
    if not name:
        raise ValueError("write NAME=VALUE, or NAME to pass on your own")
    return text


def _names(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    if not all(name and name.replace("-", "").replace("_", "").isalnum() for name in names):
        raise ValueError("write names with commas between them")
    return ",".join(names)


def _list(text: str) -> str:
    for part in text.split(","):
        ends = [end.strip() for end in part.split("-", 1)]
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            raise ValueError("write numbers and ranges with commas between them, e.g. 0-3,8")
        if not int(ends[0]) <= int(ends[-1]) < 1 << 16:
            raise ValueError(f"{part.strip()} is no range of CPUs or nodes")
    return text


def _nice(text: str) -> str:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 2 or not -20 <= int(text) <= 19:
        raise ValueError("write a whole number from -20 to 19")
    return text


def _weight(text: str) -> str:
    if text != "idle" and not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 10_000):
        raise ValueError("write a weight from 1 to 10000, or idle")
    return text


def _resource(text: str) -> str:
    name, colon, count = text.partition(":")
    if not name or (colon and not (count.isascii() and count.isdigit() and len(count) < 10 and int(count))):
        raise ValueError("write NAME, or NAME:N with a whole number")
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _choice(*choices: str) -> "Callable[[str], str]":
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError("write " + ", ".join(choices[:-1]) + f" or {choices[-1]}")
        return text

    return convert


CONVERTERS: "dict[str, Callable[[str], str]]" = {
    "line": str,
    "text": _text,
    "path": _text,
    "env": _environment,
    "duration": duration,
    "size": size,
    "cpus": _cpus,
    "count": _count,
    "tier": _tier,
    "names": _names,
    "resource": _resource,
    "list": _list,
    "nice": _nice,
    "weight": _weight,
    "network": _choice("none", "allowlist", "host"),
    "auto|hold|never": _choice("auto", "hold", "never"),
    "priority": _choice("critical", "high", "normal", "low", "deferred"),
}
