"""The mounts of one box as a list of small objects: planned without privileges, shown by ``explain``, executed by init.

Each operation says what it does (``describe``) and does it (``execute``) in the job's own mount namespace, before any
code of the job runs. Paths are as the job will see them; :attr:`Stage.root` is where that tree is being built.
"""

from cbx_sandbox.box.operations.base import Operation, from_json
from cbx_sandbox.box.operations.covers import Hide, Pin, ReadOnly, Show, Tmpfs
from cbx_sandbox.box.operations.root import TMPDIR, Clear, MadeAhead, Pivot, PrivateTree, RunDirectory, Scaffold
from cbx_sandbox.box.operations.system import DEVICES, HARMLESS_DEVICES, NO_GROUP, Devices, Proc, Sys
from cbx_sandbox.box.operations.writable import SOURCE, DirectWrite, Overlay

for _operation in (
    PrivateTree, Scaffold, MadeAhead, RunDirectory, DirectWrite, Overlay, ReadOnly, Show, Pin, Hide, Tmpfs, Devices,
    Proc, Sys, Pivot, Clear,
):  # fmt: skip
    Operation.registry[_operation.__name__] = _operation

__all__ = [
    "DEVICES",
    "HARMLESS_DEVICES",
    "NO_GROUP",
    "SOURCE",
    "TMPDIR",
    "Clear",
    "Devices",
    "DirectWrite",
    "Hide",
    "MadeAhead",
    "Operation",
    "Overlay",
    "Pin",
    "Pivot",
    "PrivateTree",
    "Proc",
    "ReadOnly",
    "RunDirectory",
    "Scaffold",
    "Show",
    "Sys",
    "Tmpfs",
    "from_json",
]
