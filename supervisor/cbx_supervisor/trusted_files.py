"""Files that the supervisor believes: root's own, which nobody else may write."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.errors import CbxError


def check_owner(path: str, status: os.stat_result) -> None:
    """Raise CbxError where others than root may write a file or a directory: who can, decides what jobs may do."""
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = "755" if stat.S_ISDIR(status.st_mode) else "644"
        raise CbxError(
            f"cannot trust {path}: others than root may write it", hint=f"chown root {path} && chmod {mode} {path}"
        )
