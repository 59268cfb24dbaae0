"""The conflict matrix as data: operation and resource to how safe that is, and what resolves it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from cbx_sandbox.shell import bundled
from cbx_sandbox.shell.effects import Access, Thing

if TYPE_CHECKING:
    from collections.abc import Mapping


class Operation(StrEnum):
    """What a command does to a resource: the rows."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    DELETE = "delete"
    MODIFY = "modify"
    SYSTEM = "system"


class Resource(StrEnum):
    """What it does it to: the columns."""

    FILE = "file"
    DIRECTORY = "directory"
    PROCESS = "process"
    NETWORK = "network"
    MEMORY = "memory"


class Safety(StrEnum):
    """Whether another command may use the same resource at that time; ordered."""

    SAFE = "safe"
    CONDITIONAL = "conditional"
    RESTRICTED = "restricted"

    @property
    def rank(self) -> int:
        """0 for safe to 2 for restricted."""
        return list(Safety).index(self)


class Resolution(StrEnum):
    """What makes it possible all the same."""

    SHARE = "share"
    FILE_LOCK = "file-lock"
    DIRECTORY_LOCK = "directory-lock"
    PROCESS_LOCK = "process-lock"
    NETWORK_LOCK = "network-lock"
    SEMAPHORE = "semaphore"
    ISOLATE = "isolate"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix."""

    operation: Operation
    resource: Resource
    safety: Safety
    resolution: Resolution


@dataclass(frozen=True, slots=True)
class ThingTable:
    """What a kind of thing counts as, and what it is called that two commands share one."""

    resource: Resource
    changes: Operation
    uses: Operation
    code: str
    text: str


OF_ACCESS = {
    Access.READ: Operation.READ,
    Access.WRITE: Operation.WRITE,
    Access.CREATE: Operation.CREATE,
    Access.APPEND: Operation.MODIFY,
    Access.DELETE: Operation.DELETE,
}


@cache
def cell(operation: Operation, resource: Resource) -> Cell:
    """Return a cell of the matrix."""
    safety, resolution = str(_tables()["matrix"][operation.value][resource.value]).split()
    return Cell(operation, resource, Safety(safety), Resolution(resolution))


def worse(first: Operation, second: Operation, resource: Resource) -> Cell:
    """Return the cell of that of two operations on one resource which is less safe; the later one where both are."""
    cells = (cell(second, resource), cell(first, resource))
    return max(cells, key=lambda found: found.safety.rank)


@cache
def thing(kind: Thing) -> ThingTable:
    """Return what a kind of thing counts as."""
    table = _tables()["things"][kind.value]
    return ThingTable(
        Resource(table["resource"]),
        Operation(table["changes"]),
        Operation(table["uses"]),
        table["code"],
        table["text"],
    )


@cache
def _tables() -> Mapping[str, Any]:
    return tomllib.loads(bundled.text(__name__.rpartition(".")[0], "conflicts.toml"))
