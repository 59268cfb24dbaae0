"""The conflict matrix: each cell as it is asked for, and what a pair of commands makes of it."""

from __future__ import annotations

import pytest

from cbx_sandbox.shell import conflicts
from cbx_sandbox.shell.conflicts import Operation, Resolution, Resource, Safety
from cbx_sandbox.shell.effects import Thing

# Row by row: file, directory, process, network, memory; + safe, ~ conditional, - restricted.
ASKED = {
    "read": "+ + + + +",
    "write": "~ ~ ~ ~ +",
    "create": "~ ~ + ~ +",
    "delete": "- - ~ ~ +",
    "modify": "~ ~ ~ ~ +",
    "system": "- - - - ~",
}
SIGN = {Safety.SAFE: "+", Safety.CONDITIONAL: "~", Safety.RESTRICTED: "-"}


@pytest.mark.parametrize("operation", list(Operation))
def test_the_matrix_is_the_one_that_was_asked_for(operation: Operation) -> None:
    row = [SIGN[conflicts.cell(operation, resource).safety] for resource in Resource]
    assert " ".join(row) == ASKED[operation.value]


@pytest.mark.parametrize("resource", list(Resource))
@pytest.mark.parametrize("operation", list(Operation))
def test_a_resolution_goes_with_the_safety(operation: Operation, resource: Resource) -> None:
    """Nothing for what is safe, isolation for what is restricted, and a lock of the resource's own kind between."""
    cell = conflicts.cell(operation, resource)
    locks = {
        Resource.FILE: Resolution.FILE_LOCK,
        Resource.DIRECTORY: Resolution.DIRECTORY_LOCK,
        Resource.PROCESS: Resolution.PROCESS_LOCK,
        Resource.NETWORK: Resolution.NETWORK_LOCK,
        Resource.MEMORY: Resolution.SEMAPHORE,
    }
    expected = {
        Safety.SAFE: {Resolution.SHARE},
        Safety.CONDITIONAL: {locks[resource]},
        Safety.RESTRICTED: {Resolution.ISOLATE, Resolution.ALONE},
    }
    assert cell.resolution in expected[cell.safety]


def test_the_less_safe_of_two_operations_decides() -> None:
    assert conflicts.worse(Operation.DELETE, Operation.READ, Resource.FILE).operation is Operation.DELETE
    assert conflicts.worse(Operation.READ, Operation.DELETE, Resource.FILE).operation is Operation.DELETE
    assert conflicts.worse(Operation.READ, Operation.READ, Resource.FILE).safety is Safety.SAFE


@pytest.mark.parametrize("kind", list(Thing))
def test_every_kind_of_thing_has_a_column_and_rows(kind: Thing) -> None:
    table = conflicts.thing(kind)
    assert conflicts.cell(table.changes, table.resource).safety is not Safety.SAFE
    assert conflicts.cell(table.uses, table.resource).safety is Safety.SAFE
