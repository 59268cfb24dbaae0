"""What goes wrong in a verb reaches its user as one message and an exit status."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cbx_sandbox.errors import CbxError
from cbx_supervisor.cli import funnel
from cbx_supervisor.client.failure import ClientError


def fails(error: BaseException):
    def verb() -> object:
        raise error

    return verb


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ClientError("cannot do this", hint="do that", status=75), 75, "cbx-sandbox: cannot do this\n  do that\n"),
        (CbxError("cannot do this"), 125, "cbx-sandbox: cannot do this\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_failure_has_its_status(error, status, said, capfd):
    assert funnel.status_of(fails(error)) == status
    assert capfd.readouterr().err == said


def test_a_fault_of_cbx_says_where_it_is_and_prints_no_trace(capfd):
    assert funnel.status_of(lambda: list[int]()[0]) == 125
    said = capfd.readouterr().err
    assert "internal error: IndexError: list index out of range" in said
    assert f"{__file__}:" in said
    assert "Traceback" not in said


CLOSED = """import sys; from cbx_supervisor.cli import funnel, output
sys.exit(funnel.status_of(lambda: output.show('x' * int(sys.argv[1]))))"""


def _printing(length: int, redirection: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$@" {redirection}'
    command = ["sh", "-c", line, "sh", sys.executable, "-I", "-c", CLOSED, str(length)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("length", [1, 100_000], ids=["little", "much"])
@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor"), ("<&- >&-", "Bad file descriptor")],
)
def test_an_answer_that_cannot_be_written_is_told_so(length, redirection, why):
    """However much of it there is; a program that reads no answer would take silence for one."""
    ran = _printing(length, redirection)
    assert (ran.returncode, ran.stderr) == (125, f"cbx-sandbox: cannot write to standard output: {why}\n")


@pytest.mark.parametrize("length", [1, 100_000], ids=["little", "much"])
def test_streams_that_a_verb_does_not_need_may_be_closed(length):
    ran = _printing(length, "<&- 2>&-")
    assert (ran.returncode, len(ran.stdout)) == (0, length + 1)


def test_a_verb_without_an_answer_needs_no_streams():
    quiet = "import sys; from cbx_supervisor.cli import funnel; sys.exit(funnel.status_of(lambda: None))"
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-I", "-c", quiet]
    assert subprocess.run(command, check=False).returncode == 0
