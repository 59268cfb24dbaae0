"""How a job ended, as its init wrote it down: all of it, or nothing."""

from __future__ import annotations

import json

import pytest

from cbx_supervisor.execution.launching import read_record

RECORD = {
    "job": "7", "reason": "exited", "exit_code": 0, "signal": None, "frozen": True, "unkillable": 0,
    "wall_seconds": 1.5, "usage": {"cpu_seconds": 0.5, "oom_kills": 0},
}  # fmt: skip


def test_a_whole_record_is_read(tmp_path):
    """The control: with its status."""
    (tmp_path / "7.json").write_text(json.dumps(RECORD))
    assert read_record(str(tmp_path / "7.json")) == RECORD


def test_no_beginning_of_a_record_is_one(tmp_path):
    """Wherever it was cut off: its job is lost then, which is never a success."""
    text, path = json.dumps(RECORD), tmp_path / "7.json"
    for length in range(len(text)):
        path.write_text(text[:length])
        assert read_record(str(path)) is None


@pytest.mark.parametrize("text", ["{}", "null", "0", "[]", '{"reason": "exited", "exit_code": 0}', "\0" * 300])
def test_nothing_else_is_one(tmp_path, text):
    """Nor what a file system leaves of a file that was not written out."""
    (tmp_path / "7.json").write_text(text)
    assert read_record(str(tmp_path / "7.json")) is None


def test_without_a_file_there_is_none(tmp_path):
    """Init did not come to write one."""
    assert read_record(str(tmp_path / "7.json")) is None
