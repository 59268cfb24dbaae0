"""What is written down of a session, which another process, maybe of a later release, goes on with."""

from __future__ import annotations

import json

from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux.credentials import Submitter

LAYER = LayerSpec(
    0, "/srv", 64768, "/var/lib/cbx/layers/3/0", whole_mount=False, same_filesystem=True, redirect_dir=True
)
SESSION = Session(3, (LAYER,), (), (17,), "boot", 5, Submitter(1000, 1001, (1001, 27)))


def test_a_session_is_read_back_as_it_was():
    assert Session.from_json(json.loads(json.dumps(SESSION.to_json()))) == SESSION


def test_what_earlier_releases_wrote_is_what_is_written():
    """By names: what stands in databases does not change its form with the class."""
    assert json.loads(json.dumps(SESSION.to_json())) == {
        "checkpoint": 3,
        "layers": [
            {
                "index": 0, "target": "/srv", "lower_device": 64768, "root": "/var/lib/cbx/layers/3/0",
                "whole_mount": False, "same_filesystem": True, "redirect_dir": True,
            }
        ],
        "roots": [],
        "clocks": [17],
        "boot_id": "boot",
        "clock_offset_ns": 5,
        "submitter": {"uid": 1000, "gid": 1001, "groups": [1001, 27]},
    }  # fmt: skip
