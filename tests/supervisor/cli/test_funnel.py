"""What goes wrong in a verb reaches its user as one message and an exit status."""

from __future__ import annotations

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
