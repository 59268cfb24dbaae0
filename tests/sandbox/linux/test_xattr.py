"""Extended attributes as the kernel has them, by whichever of its calls."""

import os

import pytest

from cbx_sandbox.linux import xattr

LONG = b"user." + b"n" * 200


@pytest.fixture(params=["by directory", "through /proc"])
def way(request, monkeypatch):
    """Both ways of asking; a kernel before 6.13 has only the second."""
    if request.param == "through /proc":
        monkeypatch.setattr(xattr, "by_directory", lambda: False)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.usefixtures("way")
def test_every_attribute_is_read(directory):
    """Empty values, values of any bytes, and more than any buffer holds."""
    wanted = {b"user.a": b"", b"user.b": b"\0\xff\n", b"user.long": b"x" * 2000}
    wanted |= {LONG + b"%d" % number: b"y" for number in range(6)}
    for key, value in wanted.items():
        xattr.put(directory, b"file", key, value)
        assert xattr.every(directory, b"file").get(key) == value
    found = xattr.every(directory, b"file")
    assert {key: found[key] for key in wanted} == wanted
    xattr.remove(directory, b"file", b"user.a")
    assert b"user.a" not in xattr.every(directory, b"file")


@pytest.mark.usefixtures("way")
def test_a_link_is_not_followed(directory):
    xattr.put(directory, b"file", b"user.a", b"1")
    assert b"user.a" not in xattr.every(directory, b"link")


@pytest.mark.usefixtures("way")
def test_what_is_missing_is_an_error(directory):
    with pytest.raises(FileNotFoundError):
        xattr.every(directory, b"missing")


def test_a_descriptor_s_own(directory):
    xattr.put(directory, b"", b"user.a", b"1")
    assert xattr.every(directory)[b"user.a"] == b"1"


def test_no_attributes_where_the_file_system_has_none():
    fd = os.open("/proc", os.O_PATH)
    try:
        assert xattr.every(fd, b"version") == {}
    finally:
        os.close(fd)
