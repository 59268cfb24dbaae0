"""What a job needs and no record may hold: root's own, from the first moment on."""

from __future__ import annotations

import os
import stat

from cbx_supervisor.execution import secrets


def test_nobody_else_can_read_them_at_any_moment(tmp_path, monkeypatch):
    """Made with the mode that they have, whatever the umask: there is no moment in which they have another."""
    modes = []
    opened = os.open

    def watched(path, flags, mode=0o777, **more):
        fd = opened(path, flags, mode, **more)
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode)) if flags & os.O_CREAT else None
        return fd

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "open", watched)
        secrets.keep(str(tmp_path), 7, "TOKEN=abc")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert modes == [0o600]
    assert secrets.find(str(tmp_path), 7) == "TOKEN=abc"
    secrets.forget(str(tmp_path), 7)
    assert secrets.find(str(tmp_path), 7) is None
