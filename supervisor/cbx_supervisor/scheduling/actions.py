"""What the engine decides: to be carried out by whoever runs it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """Start this job: its slot is taken, its locks are held."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Refuse:
    """Never start this job: ``because`` did not succeed, and it was to come after that."""

    number: int
    because: int


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """Locks that were asked for without a slot are held now."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Freeze:
    """Stop this running job: ``for_`` goes before it and has its slot."""

    number: int
    for_: int


@dataclasses.dataclass(frozen=True, slots=True)
class Thaw:
    """Let a job that was frozen go on: it has its slot again."""

    number: int


Action = Start | Refuse | Grant | Freeze | Thaw


class UnschedulableError(ValueError):
    """A job wants more of something than there is."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
