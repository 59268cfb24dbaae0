"""Frozen records that cost little to define: a module of twenty data classes takes longer to import than to use."""

from __future__ import annotations

from typing import Any, ClassVar, Never, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """A value with the fields that its class annotates, after those of its base; a class attribute is a default.

    Type checkers take it for a frozen data class.
    """

    field_types: ClassVar[dict[str, str]] = {}
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Take the fields from the annotations, which are text (``from __future__ import annotations``)."""
        own: dict[str, str] = {
            name: kind
            for name, kind in cls.__dict__.get("__annotations__", {}).items()  # noqa: RUF063 -- inspect is dear
            if not kind.startswith("ClassVar")
        }
        cls.field_types = cls.field_types | own
        cls._defaults = cls._defaults | {name: cls.__dict__[name] for name in own if name in cls.__dict__}

    def __init__(self, *values: Any, **named: Any) -> None:
        """Fill the fields in their order, and by name. Raises TypeError where one is missing, twice or unknown."""
        given = dict(zip(self.field_types, values, strict=False))
        made = self._defaults | given | named
        if made.keys() != self.field_types.keys() or len(values) > len(given) or not given.keys().isdisjoint(named):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(self.field_types) or '(none)'}")
        self.__dict__.update({name: made[name] for name in self.field_types})

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.field_types)
        return f"{type(self).__name__}({fields})"
