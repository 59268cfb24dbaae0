"""Records do what a frozen data class does."""

from __future__ import annotations

from typing import ClassVar

import pytest

from cbx_sandbox.box.record import Record


class Place(Record):
    """What the tests are made with."""

    kinds: ClassVar[tuple[str, ...]] = ("a",)
    path: str
    size: int = 3


class Named(Place):
    """A field more."""

    name: str = ""


def test_fields_come_in_order_by_name_and_by_default() -> None:
    """A class variable is none of them."""
    assert (Place("/x").path, Place("/x").size) == ("/x", 3)
    assert Place("/x", 4) == Place(size=4, path="/x")
    assert repr(Named("/x", name="n")) == "Named(path='/x', size=3, name='n')"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Place(*()),
        lambda: Place("/x", 1, 2),
        lambda: Place("/x", path="/y"),
        lambda: Place(size=1, other="/x"),
    ],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_other_values_are_refused(wrong: object) -> None:
    """Not left for who reads the field."""
    with pytest.raises(TypeError, match="Place has the fields path, size"):
        wrong()


def test_equal_records_are_one_key_and_none_changes() -> None:
    """However they were made; a subclass is another kind."""
    assert len({Place("/x", 4), Place(size=4, path="/x"), Place("/x")}) == 2
    assert Place("/x") != Named("/x")
    with pytest.raises(AttributeError):
        Place("/x").size = 1
