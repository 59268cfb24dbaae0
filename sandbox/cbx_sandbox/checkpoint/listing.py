"""A list of changes as bytes: what can still be shown when the layers are gone."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from msgspec.structs import astuple, replace

from cbx_sandbox.checkpoint.changes import Change, Flag, Kind, Meta

MOST = 20_000  # changes; of more, the first are kept
_LEVEL = 1  # whoever waits for a commit waits for this


def dump(changes: Sequence[Change], targets: Sequence[str]) -> bytes:
    """The first MOST changes, without their contents."""
    shown = [change for change in changes if not change.implied]
    found = {
        "targets": list(targets),
        "more": max(0, len(shown) - MOST),
        "changes": [_pack(change) for change in shown[:MOST]],
    }
    return zlib.compress(json.dumps(found, separators=(",", ":")).encode(), _LEVEL)


def load(data: bytes) -> tuple[list[Change], tuple[str, ...], int]:
    """The changes that :func:`dump` was given, the targets of the layers, and how many changes were left out."""
    found = json.loads(zlib.decompress(data))
    return [_unpack(entry) for entry in found["changes"]], tuple(found["targets"]), found["more"]


def _pack(change: Change) -> list[Any]:
    source = None if change.source is None else _text(change.source)
    metas = [_pack_meta(change.old), _pack_meta(change.new)]
    return [change.kind, change.layer, _text(change.path), source, *metas, change.aspects, sorted(change.flags)]


def _unpack(entry: Sequence[Any]) -> Change:
    kind, layer, path, source, old, new, aspects, flags = entry
    return Change(
        kind=Kind(kind),
        layer=layer,
        path=_bytes(path),
        old=_unpack_meta(old),
        new=_unpack_meta(new),
        aspects=tuple(aspects),
        flags=frozenset(map(Flag, flags)),
        source=None if source is None else _bytes(source),
    )


def _pack_meta(meta: Meta | None) -> list[Any] | None:
    if meta is None:
        return None
    xattrs = [(_text(key), base64.b64encode(value).decode()) for key, value in meta.xattrs]
    packed: list[Any] = list(astuple(meta))
    packed[10:12] = [_text(meta.target), xattrs]
    return packed


def _unpack_meta(values: Sequence[Any] | None) -> Meta | None:
    if values is None:
        return None
    meta = Meta(*values)
    xattrs = tuple((_bytes(str(key)), base64.b64decode(value)) for key, value in meta.xattrs)
    return replace(meta, target=_bytes(str(meta.target)), xattrs=xattrs)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
