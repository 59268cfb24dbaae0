"""Which pager is started: the caller's own, never one that root was handed."""

import os
import pty
import subprocess
import sys

import pytest

from cbx_supervisor.cli import pager

TEXT = "".join(f"line {number}\\n" for number in range(200))


@pytest.mark.parametrize(
    ("environment", "uid", "expected"),
    [
        ({"TERM": "xterm", "PAGER": "more"}, 1000, ["/bin/sh", "-c", "more"]),
        ({"TERM": "xterm", "PAGER": "more", "CBX_PAGER": "less -S"}, 1000, ["/bin/sh", "-c", "less -S"]),
        ({"TERM": "xterm"}, 1000, ["/bin/sh", "-c", "less"]),
        ({"TERM": "xterm", "PAGER": "cat"}, 1000, None),
        ({"TERM": "xterm", "PAGER": ""}, 1000, None),
        ({"TERM": "dumb", "PAGER": "more"}, 1000, None),
        ({"PAGER": "more"}, 1000, None),
    ],
)
def test_the_callers_own(environment, uid, expected):
    """As git and man choose."""
    assert pager.command(environment, uid) == expected


def test_never_one_that_root_was_handed():
    """sudo may keep PAGER: it would be started as root."""
    found = pager.command({"TERM": "xterm", "PAGER": "sh -c evil", "CBX_PAGER": "evil", "PATH": "/tmp"}, 0)
    assert found is None or (len(found) == 1 and found[0] in {"/usr/bin/less", "/bin/less", "/usr/local/bin/less"})


def run(code, *, terminal, **environment):
    """What a program with this code writes to its stdout."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", **environment},
    ) as process:
        os.close(writing)
        written = b""
        while True:
            try:
                part = os.read(reading, 65536)
            except OSError:
                break
            if not part:
                break
            written += part
    os.close(reading)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_only_on_a_terminal(terminal):
    """There the pager has the text; into a pipe it goes as it is."""
    code = f"from cbx_supervisor.cli import pager; import os; os.getuid = lambda: 1000; pager.show('{TEXT}')"
    written = run(code, terminal=terminal, PAGER="sed s/line/paged/")
    plain = TEXT.replace("\\n", "\n")
    assert written == (plain.replace("line", "paged") if terminal else plain)


def test_a_pager_that_is_not_there():
    """The caller is told by the shell, and nothing hangs."""
    code = "from cbx_supervisor.cli import pager; import os; os.getuid = lambda: 1000; pager.show('a\\nb\\n')"
    run(code, terminal=True, PAGER="/nonexistent/pager 2>/dev/null")
