"""What every operation is, and how it travels."""

from __future__ import annotations

from typing import Any, ClassVar

from cbx_sandbox.box.record import Record
from cbx_sandbox.box.stage import RW_FLAGS, Stage
from cbx_sandbox.linux import mounts

MAPPED = ", the submitter's files as the job user's"


class Operation(Record):
    """One step. Subclasses are registered by name so that they travel as JSON."""

    registry: ClassVar[dict[str, type[Operation]]] = {}

    def describe(self) -> str:
        """One line for people."""
        raise NotImplementedError

    def execute(self, stage: Stage) -> None:
        """Do it. Raises OSError."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The operation as a JSON object."""
        return {"op": type(self).__name__} | {name: getattr(self, name) for name in self.field_types}


def from_json(value: dict[str, Any]) -> Operation:
    """The operation that :meth:`Operation.to_json` made ``value`` from."""
    fields = dict(value)
    return Operation.registry[fields.pop("op")](**fields)


def mount_tmpfs(stage: Stage, path: str, size: int, mode: int) -> None:
    """Put an empty file system in memory over ``path``: ``size`` bytes at the most, the job's own."""
    owner = str(stage.owner)
    options: dict[str, str | None] = {"size": str(size), "mode": f"{mode:o}", "uid": owner, "gid": owner}
    stage.attach(mounts.new_mount("tmpfs", options, RW_FLAGS), path)
