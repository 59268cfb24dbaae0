"""Which names an archive holds: what tar and unzip would make of it, or nothing at all."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox import archives
from cbx_sandbox.facts import HostFacts

NAMES = ("src", "src/a.c", "docs/odd name.txt")


def packed(mode: str, members: list[tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size) if member.size else None)
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_names_of_a_tar_archive(mode: str) -> None:
    members = [entry("src", tarfile.DIRTYPE), entry("./src/a.c", size=9), entry("docs/odd name.txt")]
    assert archives.members(io.BytesIO(packed(mode, members))) == NAMES


def test_names_of_a_zip_archive() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("src/", *NAMES[1:]):
            archive.writestr(name, "x")
    assert archives.members(io.BytesIO(out.getvalue())) == NAMES


@pytest.mark.parametrize(
    "members",
    [
        [entry("a", tarfile.SYMTYPE, "/etc"), entry("a/passwd")],  # what lies behind a link goes elsewhere
        [entry("../x")],
        [entry("a/../../x")],
        [entry(f"f{number}") for number in range(archives.MAX_MEMBERS + 1)],
    ],
)
def test_of_what_may_lead_elsewhere_or_is_much_nothing_is_said(members: list[tarfile.TarInfo]) -> None:
    assert archives.members(io.BytesIO(packed("w", members))) is None


class Watched(io.BytesIO):
    """Notes how much was asked for at once."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.largest = max(self.largest, len(self.getbuffer()) if size is None or size < 0 else size)
        return super().read(size)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_name_of_a_size_that_nobody_has_is_not_read(kind: bytes) -> None:
    """The library reads as much as the archive says."""
    claims = entry("././@LongLink", kind)
    claims.size = 8 << 30
    file = Watched(claims.tobuf() + b"x" * 4096)
    assert archives.members(file) is None
    assert file.largest <= archives.MAX_TABLE


def test_a_large_table_of_a_zip_archive_is_not_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(6000):
            archive.writestr(f"{number:0>100}", "")
    file = Watched(out.getvalue())
    assert archives.members(file) is None
    assert file.largest <= archives.MAX_TABLE + 1


def test_what_unpacks_to_much_is_not_unpacked() -> None:
    assert archives.members(io.BytesIO(packed("w:gz", [entry("a", size=archives.MAX_UNPACKED + 1)]))) is None
    assert archives.members(io.BytesIO(packed("w:gz", [entry("a", size=1000)]))) == ("a",)


@given(st.binary(max_size=2000), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0"]))
def test_any_bytes_are_an_archive_or_none(data: bytes, head: bytes) -> None:
    found = archives.members(io.BytesIO(head + data))
    assert found is None or all(not name.startswith("/") and ".." not in name.split("/") for name in found)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.tar").write_bytes(packed("w", [entry("a")]))
    facts = HostFacts(str(tmp_path), {})
    assert facts.members(str(tmp_path / "pipe")) is None
    assert facts.members(str(tmp_path / "missing")) is None
    assert facts.members(str(tmp_path / "a.tar")) == ("a",)
