"""What `run` takes on its command line, and the words it has for what it cannot take."""

import pytest

from cbx_supervisor.client import options
from cbx_supervisor.client.failure import ClientError


def parsed(*argv):
    return options.parse(list(argv))


@pytest.mark.parametrize(
    ("argv", "values", "command"),
    [
        (["--", "ls", "-l"], {}, ["ls", "-l"]),
        (["ls", "-l", "--", "x"], {}, ["ls", "-l", "--", "x"]),
        (["--", "--", "x"], {}, ["--", "x"]),
        (["-q", "ls", "-q"], {"quiet": ["1"]}, ["ls", "-q"]),
        (["-"], {}, ["-"]),
        (["-c", "ls -l"], {"line": ["ls -l"]}, []),
        (["-cls", "-q"], {"line": ["ls"], "quiet": ["1"]}, []),
        (["-c", ""], {"line": [""]}, []),
        (["-c", "--", "-q"], {"line": ["--"], "quiet": ["1"]}, []),
        (["--timeout", "10m", "x"], {"timeout": ["600"]}, ["x"]),
        (["--timeout=1.5", "x"], {"timeout": ["1.5"]}, ["x"]),
        (["--kill-after", "500ms", "x"], {"kill_after": ["0.5"]}, ["x"]),
        (["--kill-after", "0", "--timeout", "0s", "x"], {"kill_after": ["0"], "timeout": ["0"]}, ["x"]),
        (["--lock-timeout", "2h", "x"], {"lock_timeout": ["7200"]}, ["x"]),
        (["-m512M", "x"], {"memory": ["536870912"]}, ["x"]),
        (["-m", "2g", "x"], {"memory": ["2147483648"]}, ["x"]),
        (["--memory=1536.5KiB", "x"], {"memory": ["1573376"]}, ["x"]),
        (["--memory", "1048576", "x"], {"memory": ["1048576"]}, ["x"]),
        (["--memory", "1MB", "x"], {"memory": ["1048576"]}, ["x"]),
        (["--cpus", ".5", "--pids", "007", "x"], {"cpus": [".5"], "pids": ["7"]}, ["x"]),
        (["-it", "x"], {"interactive": ["1"], "tty": ["1"]}, ["x"]),
        (["-qdw", "/tmp", "x"], {"quiet": ["1"], "detach": ["1"], "workdir": ["/tmp"]}, ["x"]),
        (["-eA=1", "-e", "B", "--env=C=", "x"], {"setenv": ["A=1", "B", "C="]}, ["x"]),
        (["--rw", "a", "--rw=b", "x"], {"rw": ["a", "b"]}, ["x"]),
        (["--tier", "safe", "x"], {"tier": ["SAFE_PARALLEL"]}, ["x"]),
        (["--tier", "dangerous_isolated", "x"], {"tier": ["DANGEROUS_ISOLATED"]}, ["x"]),
        (["--timeout", "1", "--timeout", "2", "x"], {"timeout": ["2"]}, ["x"]),
        (["--allow-missing", "memory, cpu", "x"], {"allow_missing": ["memory,cpu"]}, ["x"]),
        (["--network=host", "--commit=hold", "x"], {"network": ["host"], "commit": ["hold"]}, ["x"]),
    ],
)
def test_what_is_taken(argv, values, command):
    """Long, short, attached and clustered options; the last of several wins; parsing stops at the first word."""
    assert parsed(*argv) == (values, command)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "no command"),
        (["--"], "no command"),
        (["-q"], "no command"),
        (["-c", "x", "y"], "both -c and a command"),
        (["-c", "x", "-c", "y"], "twice"),
        (["", "x"], "name is empty"),
        (["--nope", "x"], "no such option: --nope"),
        (["--nope\x1b[2J", "x"], r"no such option: --nope\x1b[2J"),
        (["-qZ", "x"], "no such option: -Z (in -qZ)"),
        (["--mem", "1", "x"], "no such option: --mem"),
        (["--json=1", "x"], "--json takes no value"),
        (["--memory"], "--memory needs a value: --memory SIZE"),
        (["-m"], "-m needs a value: -m SIZE"),
        (["-m", "5Q", "x"], "-m 5Q: write it as bytes or with a unit, e.g. 512M or 2G"),
        (["-m", "0", "x"], "from 1M on"),
        (["-m", "1048575", "x"], "from 1M on"),
        (["-m", "-1", "x"], "write it as bytes"),
        (["-m", "1e3", "x"], "write it as bytes"),
        (["-m", "9999999T", "x"], "less than 8E"),
        (["-m", "٣", "x"], "write it as bytes"),
        (["--timeout", "", "x"], "--timeout '': write it as seconds"),
        (["--timeout", "10x", "x"], "write it as seconds"),
        (["--timeout", "1.2.3", "x"], "write it as seconds"),
        (["--timeout", "nan", "x"], "write it as seconds"),
        (["--timeout", "99999999999h", "x"], "300 years"),
        (["--cpus", "0", "x"], "between 0.001"),
        (["--cpus", "all", "x"], "number of cores"),
        (["--pids", "1.5", "x"], "whole number"),
        (["--cpus-allowed", "3-1", "x"], "no range"),
        (["--cpus-allowed", "0-99999", "x"], "no range"),
        (["--mems-allowed", "a", "x"], "numbers and ranges"),
        (["--nice", "20", "x"], "from -20 to 19"),
        (["--cpu-weight", "0", "x"], "or idle"),
        (["--network", "bridge", "x"], "write none, allowlist or host"),
        (["--commit", "later", "x"], "write auto, hold or never"),
        (["--tier", "fast", "x"], "safe, conditional, sequential, dangerous"),
        (["-e", "=x", "x"], "NAME=VALUE"),
        (["--rw", "", "x"], "must not be empty"),
        (["--allow-missing", "a,,b", "x"], "commas"),
        (["--status-fd", "x", "y"], "whole number"),
        (["-t", "-T", "x"], "--tty and --no-tty exclude each other"),
        (["-t", "-d", "x"], "--tty and --detach exclude each other"),
    ],
)
def test_what_is_refused(argv, words):
    """One line that names the option, the value and what to write instead; status 125."""
    with pytest.raises(ClientError) as caught:
        parsed(*argv)
    assert words in caught.value.brief
    assert "\n" not in caught.value.brief
    assert caught.value.status == 125


def test_help_wins_over_what_else_is_wrong():
    """`run --help` alone is no missing command."""
    assert parsed("--help") == ({"help": ["1"]}, [])


def test_every_option_has_a_kind_and_a_key_of_its_own():
    """The table is consistent: converters exist, names and keys are unique."""
    rows = [option for _group, group in options.OPTIONS for option in group]
    names = [name for row in rows for name in row[:2] if name]
    assert len(names) == len(set(names))
    assert len({row[2] for row in rows}) == len(rows)
    for _short, _long, _key, kind, metavar, text in rows:
        assert (kind == "flag") == (metavar == "")
        assert kind == "flag" or kind.removesuffix("+") in options.CONVERTERS
        assert text[0].islower() or text.startswith("CPU")
