"""Which paths of a git repository differ between revisions: read from its objects, with bounded work.

The repository may be anybody's, and may be changed at any time: what is odd, large, or not as git itself writes it is
not read, and the answer is None. The formats are those of git's documentation: gitformat-pack, gitrepository-layout.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Opener = Callable[[str], AbstractContextManager[IO[bytes]]]

MAX_OBJECT = 1 << 20  # bytes of one object
MAX_OBJECTS = 1000  # that are read for one answer
MAX_BYTES = 16 << 20  # of all of them, unpacked, and of what they are made from
MAX_PATHS = 256
MAX_COMMITS = 50  # on the way from one revision to another
_DELTAS = 50  # one upon the other
_MAX_REFS = 1 << 20
_REVISION = re.compile(r"(@|[A-Za-z0-9][\w./-]*)((?:~\d*|\^\d?)*)$", re.ASCII)
_STEP = re.compile(r"([~^])(\d*)")
_ID = re.compile(r"[0-9a-f]{40}$")
_COMMIT, _TREE, _TAG, _OFFSET, _REFERENCE = 1, 2, 4, 6, 7
_KINDS = {b"commit": _COMMIT, b"tree": _TREE, b"blob": 3, b"tag": _TAG}
_DIRECTORY, _MODULE = b"40000", b"160000"


class _OddError(Exception):
    """The repository cannot be read: nothing is said of it."""


def differing(git: str, revisions: tuple[str, ...], opened: Opener, *, through: str = "") -> tuple[str, ...] | None:
    """Return the paths that are not the same in HEAD and in each of the revisions; None where that cannot be told.

    ``through`` is a revision: the commits that HEAD has and it has not count as well, as they do for a rebase.
    Directories are named where one revision lacks them; they end with a slash.
    """
    repository = _Repository(git, opened)
    try:
        head = repository.commit("HEAD")
        others = [repository.commit(name) for name in revisions]
        if through:
            others += repository.between(repository.commit(through), head)
        found: dict[str, None] = {}
        for other in others:
            repository.compare(repository.tree_of(head), repository.tree_of(other), "", found)
    except (_OddError, OSError, ValueError, struct.error, zlib.error, IndexError, KeyError, RecursionError):
        return None
    return tuple(found)


def tracked(git: str, opened: Opener) -> tuple[str, ...] | None:
    """Return the paths in the index, versions 2 and 3; None where that cannot be told, or there are many."""
    try:
        with opened(f"{git}/index") as file:
            return _index(file.read(MAX_OBJECT))
    except (_OddError, OSError, ValueError, struct.error):
        return None


def _index(data: bytes) -> tuple[str, ...]:
    signature, version, count = struct.unpack(">4sII", data[:12])
    if signature != b"DIRC" or version not in {2, 3} or count > MAX_PATHS:
        raise _OddError
    names, at = [], 12
    for _ in range(count):
        (flags,) = struct.unpack(">H", data[at + 60 : at + 62])
        begin = at + (64 if flags & 0x4000 else 62)
        end = data.index(b"\0", begin)
        names.append(os.fsdecode(data[begin:end]))
        at += (end - at + 8) // 8 * 8
    return tuple(dict.fromkeys(names))


class _Repository:
    def __init__(self, git: str, opened: Opener) -> None:
        self._git = git
        self._opened = opened
        self._left = MAX_OBJECTS
        self._bytes = MAX_BYTES
        self._indexes: list[str] | None = None
        self._trees: dict[str, dict[bytes, tuple[bytes, str]]] = {}

    # -- revisions ----------------------------------------------------------------------------------------------

    def commit(self, name: str) -> str:
        """Return the id of the commit that a revision means."""
        found = _REVISION.match(name)
        if found is None or ".." in name:
            raise _OddError
        commit = self._peeled(self._reference("HEAD" if found[1] == "@" else found[1]))
        for sign, digits in _STEP.findall(found[2]):
            number = int(digits or 1)
            if number > MAX_COMMITS:
                raise _OddError
            if sign == "^":
                commit = self._parents(commit)[number - 1] if number else commit
            else:
                for _ in range(number):
                    commit = self._parents(commit)[0]
        return commit

    def between(self, base: str, head: str) -> list[str]:
        """Return the commits that can be reached from one and not from the other, the two themselves left out."""
        known, waiting = {base}, [base]
        while waiting and len(known) <= MAX_COMMITS:
            parents = [parent for parent in self._parents(waiting.pop()) if parent not in known]
            known.update(parents)
            waiting += parents
        found: dict[str, None] = {}
        ways = [head]
        while ways:
            for parent in self._parents(ways.pop()):
                if parent not in found:
                    found[parent] = None
                    if len(found) > MAX_COMMITS:
                        raise _OddError
                    if parent not in known:
                        ways.append(parent)
        return list(found)

    def _reference(self, name: str) -> str:
        if _ID.match(name):
            return name
        places = ("{}", "refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}")
        packed = None
        for place in places:
            path = place.format(name)
            text = self._small(path)
            for _ in range(5):
                if text is None or not text.startswith("ref: "):
                    break
                path = text[5:].strip()
                if not path.startswith("refs/") or ".." in path:
                    raise _OddError
                text = self._small(path)
            if text is None and path.startswith("refs/"):
                packed = self._packed() if packed is None else packed
                text = packed.get(path)
            if text is not None and _ID.match(text.strip()):
                return text.strip()
        raise _OddError

    def _packed(self) -> dict[str, str]:
        lines = (line.split(" ") for line in (self._small("packed-refs") or "").splitlines() if line[:1] not in "#^")
        return {words[1]: words[0] for words in lines if len(words) == 2}

    def _small(self, name: str) -> str | None:
        try:
            with self._opened(f"{self._git}/{name}") as file:
                data = file.read(_MAX_REFS + 1)
        except (OSError, ValueError):
            return None
        if len(data) > _MAX_REFS:
            raise _OddError
        return data.decode("ascii", "replace")

    def _peeled(self, name: str) -> str:
        kind, data = self._object(name)
        for _ in range(5):
            if kind == _COMMIT:
                return name
            if kind != _TAG or not data.startswith(b"object "):
                break
            name = data[7:47].decode("ascii")
            kind, data = self._object(name)
        raise _OddError

    def _header(self, commit: str) -> list[bytes]:
        kind, data = self._object(commit)
        if kind != _COMMIT:
            raise _OddError
        return data.partition(b"\n\n")[0].split(b"\n")

    def _parents(self, commit: str) -> list[str]:
        return [line[7:47].decode("ascii") for line in self._header(commit) if line.startswith(b"parent ")]

    def tree_of(self, commit: str) -> str:
        """Return the id of a commit's tree."""
        return self._header(commit)[0].removeprefix(b"tree ").decode("ascii")

    # -- trees --------------------------------------------------------------------------------------------------

    def compare(self, one: str | None, other: str | None, prefix: str, found: dict[str, None]) -> None:
        """Add the paths that differ between two trees, either of which may be missing."""
        if one == other:
            return
        left, right = self._tree(one), self._tree(other)
        for name in left.keys() | right.keys():
            sides = left.get(name), right.get(name)
            if sides[0] == sides[1]:
                continue
            path = prefix + os.fsdecode(name)
            if any(side is not None and side[0] == _MODULE for side in sides):
                raise _OddError
            trees = [side[1] if side is not None and side[0] == _DIRECTORY else None for side in sides]
            if None in trees:
                found[path if trees == [None, None] else path + "/"] = None
            if len(found) > MAX_PATHS:
                raise _OddError
            if trees != [None, None]:
                self.compare(trees[0], trees[1], path + "/", found)

    def _tree(self, name: str | None) -> dict[bytes, tuple[bytes, str]]:
        if name is None:
            return {}
        if name not in self._trees:
            kind, data = self._object(name)
            if kind != _TREE:
                raise _OddError
            entries: dict[bytes, tuple[bytes, str]] = {}
            at = 0
            while at < len(data):
                end = data.index(b"\0", at)
                mode, _, entry = data[at:end].partition(b" ")
                if b"/" in entry or entry in {b"", b".", b".."}:
                    raise _OddError
                entries[entry] = mode, data[end + 1 : end + 21].hex()
                at = end + 21
            self._trees[name] = entries
        return self._trees[name]

    # -- objects ------------------------------------------------------------------------------------------------

    def _object(self, name: str, deltas: int = _DELTAS) -> tuple[int, bytes]:
        self._left -= 1
        if self._left < 0 or not _ID.match(name):
            raise _OddError
        try:
            with self._opened(f"{self._git}/objects/{name[:2]}/{name[2:]}") as file:
                kind, body = _loose(file)
        except FileNotFoundError:
            return self._from_packs(bytes.fromhex(name), deltas)
        self._spend(len(body))
        return kind, body

    def _spend(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise _OddError

    def _from_packs(self, name: bytes, deltas: int) -> tuple[int, bytes]:
        if self._indexes is None:
            folder = f"{self._git}/objects/pack"
            self._indexes = [f"{folder}/{entry}" for entry in os.listdir(folder) if entry.endswith(".idx")]
        for index in self._indexes[:32]:
            with self._opened(index) as file:
                offset = _offset(file, name)
            if offset is not None:
                with self._opened(index.removesuffix(".idx") + ".pack") as file:
                    return self._packed_object(file, offset, deltas)
        raise _OddError

    def _packed_object(self, file: IO[bytes], offset: int, deltas: int) -> tuple[int, bytes]:
        file.seek(offset)
        data = file.read(64)
        kind, size, at = (data[0] >> 4) & 7, data[0] & 15, 1
        shift = 4
        while data[at - 1] & 0x80:
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
        if size > MAX_OBJECT or deltas == 0:
            raise _OddError
        self._spend(size)
        if kind == _OFFSET:
            back, at = _distance(data, at)
            of, base = self._packed_object(file, offset - back, deltas - 1)
        elif kind == _REFERENCE:
            of, base = self._object(data[at : at + 20].hex(), deltas - 1)
            at += 20
        else:
            return kind, _inflated(file, offset + at, size)
        made = _applied(base, _inflated(file, offset + at, size))
        self._spend(len(made))
        return of, made


def _loose(file: IO[bytes]) -> tuple[int, bytes]:
    packed = file.read(MAX_OBJECT + 1)
    data = zlib.decompressobj().decompress(packed, MAX_OBJECT)
    head, nul, body = data.partition(b"\0")
    kind, _, size = head.partition(b" ")
    if not nul or int(size) != len(body):
        raise _OddError
    return _KINDS[kind], body


def _offset(index: IO[bytes], name: bytes) -> int | None:
    """Look a name up in a pack's index of version 2."""
    head = index.read(8 + 1024)
    if head[:8] != b"\xfftOc\0\0\0\2":
        raise _OddError
    fan = struct.unpack(">256I", head[8:])
    low, high, total = fan[name[0] - 1] if name[0] else 0, fan[name[0]], fan[255]
    while low < high:
        middle = (low + high) // 2
        index.seek(1032 + 20 * middle)
        entry = index.read(20)
        if entry == name:
            index.seek(1032 + 24 * total + 4 * middle)
            (offset,) = struct.unpack(">I", index.read(4))
            if offset & 0x80000000:
                raise _OddError
            return int(offset)
        low, high = (middle + 1, high) if entry < name else (low, middle)
    return None


def _distance(data: bytes, at: int) -> tuple[int, int]:
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1


def _inflated(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    unpacker = zlib.decompressobj()
    data = b""
    while len(data) < size and (packed := file.read(4096)):
        data += unpacker.decompress(packed, size - len(data) + 1)
    if len(data) != size:
        raise _OddError
    return data


def _applied(base: bytes, delta: bytes) -> bytes:
    """Make an object of another one and of what changed."""
    _, at = _length(delta, 0)
    size, at = _length(delta, at)
    if size > MAX_OBJECT:
        raise _OddError
    out = bytearray()
    while at < len(delta):
        code = delta[at]
        at += 1
        if not code:
            raise _OddError
        if not code & 0x80:
            out += delta[at : at + code]
            at += code
            continue
        numbers = [0] * 7
        for bit in range(7):
            if code & (1 << bit):
                numbers[bit] = delta[at]
                at += 1
        begin = int.from_bytes(bytes(numbers[:4]), "little")
        length = int.from_bytes(bytes(numbers[4:]), "little") or 0x10000
        out += base[begin : begin + length]
        if len(out) > MAX_OBJECT:
            raise _OddError
    if len(out) != size:
        raise _OddError
    return bytes(out)


def _length(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
