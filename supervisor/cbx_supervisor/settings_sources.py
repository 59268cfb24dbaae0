"""Where settings come from: the file, its drop-ins, the environment; and the reference that documents them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from cbx_sandbox.errors import CbxError
from cbx_supervisor.settings import Place, Section, Settings, TierLimits
from cbx_supervisor.trusted_files import check_owner

ENVIRONMENT_PREFIX = "CBX_"
# Belong to the client, the paths and the tests: no settings, though they begin alike.
_NO_SETTINGS = frozenset({"CBX_RUNTIME_DIR", "CBX_STATE_DIR", "CBX_CONFIG_DIR"})

Table = dict[str, Any]


def load(config_directory: str, environment: Mapping[str, str]) -> Settings:
    """Read everything that there is, later over earlier. Raises CbxError that names file, key and remedy."""
    merged: Table = {}
    for path in _files(config_directory):
        table = _read(path)
        _convert(table, path)
        _merge(merged, table)
    overrides = _overrides(environment)
    _merge(merged, overrides)
    return _convert(merged, "the settings together" if overrides else f"{config_directory}/cbx.toml and its drop-ins")


def differences(before: Settings, after: Settings) -> list[dict[str, Any]]:
    """The settings in which two differ: key, value before, value after."""
    old, new = values(before), values(after)
    return [{"key": key, "before": old[key], "after": new[key]} for key in new if old[key] != new[key]]


def values(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted name, as plain JSON values."""
    found: dict[str, Any] = {}
    _flatten(msgspec.to_builtins(settings), (), found)
    return found


def _flatten(table: Table, at: tuple[str, ...], into: dict[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, dict):
            _flatten(value, (*at, key), into)
        else:
            into[".".join((*at, key))] = value


def _files(directory: str) -> list[str]:
    found = [f"{directory}/cbx.toml"]
    try:
        names = sorted(name for name in os.listdir(f"{directory}/conf.d") if name.endswith(".toml"))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    return found + [f"{directory}/conf.d/{name}" for name in names]


def _read(path: str) -> Table:
    try:
        with open(path, "rb") as file:
            check_owner(path, os.fstat(file.fileno()))
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CbxError(f"cannot read {path}: it is not TOML", details=str(error), hint="correct that place") from error
    except OSError as error:
        raise CbxError(f"cannot read {path}: {error.strerror}", hint="make it a readable file or remove it") from error


def _merge(into: Table, table: Table) -> None:
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _convert(table: Table, source: str) -> Settings:
    if not table:
        return Settings()  # what msgspec has to look up to convert takes a while
    unknown = _unknown_key(table, Settings, ())
    if unknown:
        raise CbxError(f"cannot use {source}: there is no setting {unknown[0]}", hint=unknown[1])
    try:
        return msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `")
        key = where.rpartition("$.")[2].rstrip("`") or "the file"
        said = f"{problem[:1].lower()}{problem[1:]}"
        if where.startswith("key` in"):
            message, hint = f"cannot use {source}: a name in {key}: {said}", "give it another name"
        else:
            message = f"cannot use {source}: {key}: {said}"
            hint = f"set {key} to a value of that kind, or remove it for the default"
        raise CbxError(message, hint=f"{hint}; `cbx-supervisor --print-settings` shows all") from error


def _unknown_key(table: Table, section: type[Section], at: tuple[str, ...]) -> tuple[str, str] | None:
    known = {field.name: field for field in msgspec.structs.fields(section)}
    for key, value in table.items():
        name = ".".join((*at, key))
        if key not in known:
            near = _near(key, known)
            guess = ".".join((*at, near)) if near else None
            return name, f"did you mean {guess}?" if guess else f"known there: {', '.join(known)}"
        inner = known[key].type
        if isinstance(inner, type) and issubclass(inner, Section) and isinstance(value, dict):
            found = _unknown_key(value, inner, (*at, key))
            if found:
                return found
    return None


def _near(word: str, known: Iterable[str]) -> str:
    """Return what may have been meant, or nothing."""
    import difflib  # noqa: PLC0415 -- only where something is wrong

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def _overrides(environment: Mapping[str, str]) -> Table:
    sections = tuple(f"{ENVIRONMENT_PREFIX}{name.upper()}_" for name in Settings.__struct_fields__)
    given = {name: text for name, text in environment.items() if name.startswith(sections) and name not in _NO_SETTINGS}
    names = _environment_names(Settings, ()) if given else {}
    table: Table = {}
    for variable, text in given.items():
        path = names.get(variable)
        if path is None:
            near = _near(variable, names)
            hint = f"did you mean {near}?" if near else "unset it"
            raise CbxError(f"cannot use the environment's {variable}: there is no such setting", hint=hint)
        single: Any = _value(variable, text, *_field(path))
        for key in reversed(path):
            single = {key: single}
        _merge(table, single)
    return table


def _environment_names(section: type[Section], at: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for field in msgspec.structs.fields(section):
        path = (*at, field.name)
        if isinstance(field.type, type) and issubclass(field.type, Section):
            names |= _environment_names(field.type, path)
        else:
            names[ENVIRONMENT_PREFIX + "_".join(path).upper()] = path
    return names


def _field(path: tuple[str, ...]) -> tuple[Any, Any]:
    section: Any = Settings
    for key in path[:-1]:
        section = next(field.type for field in msgspec.structs.fields(section) if field.name == key)
    field = next(field for field in msgspec.structs.fields(section) if field.name == path[-1])
    return field.type, field.default


def _value(variable: str, text: str, kind: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        message = f"cannot use the environment's {variable}={text}: {error}"
        raise CbxError(message, hint="correct or unset it") from error


def reference() -> str:
    """The documented file: every setting with its default, commented out."""
    lines = ["# cbx's settings. Every line shows a default; remove the # to change it.", ""]
    for field in msgspec.structs.fields(Settings):
        assert isinstance(field.type, type)
        if field.name == "tiers":
            lines += _tiers(field.type)
            continue
        if field.name == "placement":
            lines += _placements(field.type)
            continue
        lines += [f"# {_summary(field.type)}", f"[{field.name}]"]
        single = [item for item in _fields(field.type) if item.default is not msgspec.NODEFAULT]
        lines += [f"# {item.name} = {_toml(item.default)}{_described(item.type)}" for item in single]
        lines.append("")
        if field.name == "network":
            lines += _host_sets(field.type)
        if field.name == "retries":
            lines += _transient(field.type)
        if field.name == "scheduling":
            described = next(_described(item.type) for item in _fields(field.type) if item.name == "resources")
            lines += [described.strip(), "# [scheduling.resources]", "# licence = 2", ""]
    return "\n".join(lines)


def _transient(section: type[Any]) -> list[str]:
    item = next(item for item in _fields(section) if item.name == "transient")
    assert callable(item.default_factory)
    known = item.default_factory().items()
    lines = [_described(item.type).strip(), "# [retries.transient]"]
    return [*lines, *(f"# {name} = {_toml(statuses)}" for name, statuses in known), ""]


def _host_sets(section: type[Any]) -> list[str]:
    from cbx_sandbox.allowlist import SETS  # noqa: PLC0415  # for people only: not on the way to a job

    described = next(_described(item.type) for item in _fields(section) if item.name == "sets")
    lines = [described.strip(), "# [network.sets]"]
    return [*lines, *(f"# {name} = {_toml(hosts)}" for name, hosts in SETS.items()), ""]


def _tiers(section: type[Any]) -> list[str]:
    lines = [f"# {_summary(TierLimits)}"]
    for tier in _fields(section):
        lines.append(f"# [tiers.{tier.name}]")
        lines += [f"# {item.name} =" for item in _fields(TierLimits)]
        lines.append("")
    return lines


def _placements(section: type[Any]) -> list[str]:
    lines = [f"# {_summary(section)}"]
    lines += [f"#   {item.name}: {_described(item.type).removeprefix('  # ')}" for item in _fields(Place)]
    for kind in _fields(section):
        lines += [f"# [placement.{kind.name}]", *(f"# {item.name} =" for item in _fields(Place)), ""]
    return lines


def _fields(section: type[Any]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(section)


def _summary(section: type[Any]) -> str:
    return (section.__doc__ or "").splitlines()[0]


def _described(kind: Any) -> str:
    texts = [meta.description for meta in get_args(kind) if isinstance(meta, msgspec.Meta) and meta.description]
    return f"  # {texts[-1]}" if texts else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return str(value)
