"""A copy on another file system has the rights that the job gave it, not those that its new directory hands down."""

import os
import struct

import pytest
from tests.root.checkpoint import harness

from cbx_sandbox.checkpoint.copying import Copier

pytestmark = pytest.mark.root

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# acl(5) as the kernel stores it: version, then tag, permissions and id of each entry; user 1234 may all.
ENTRIES = [(0x01, 7, 2**32 - 1), (0x02, 7, 1234), (0x04, 5, 2**32 - 1), (0x10, 7, 2**32 - 1), (0x20, 0, 2**32 - 1)]
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_no_rights_come_from_the_target(mounted, kind, tmp_path):
    """Nothing of a default ACL is left on files and directories without one; an ACL of the job's own is kept."""
    target = f"{mounted(kind)}/target-{os.getpid()}"
    source = tmp_path / "source"
    os.mkdir(target)
    os.setxattr(target, DEFAULT, ACL)
    os.makedirs(source / "tree/inner")
    for name in ("file", "tree/file", "tree/own"):
        (source / name).write_text("x")
        (source / name).chmod(0o640)
    os.setxattr(source / "tree/own", ACCESS, ACL)
    harness.write(f"{target}/control")
    assert ACCESS in os.listxattr(f"{target}/control"), "the control: what is just made there takes it over"
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target)]
    try:
        with Copier(*fds) as copier:
            copier.copy(b"file", b"1")
            copier.copy(b"tree", b"2")
    finally:
        for fd in fds:
            os.close(fd)
    for name in ("1", "2", "2/inner", "2/file"):
        assert not {ACCESS, DEFAULT} & set(os.listxattr(f"{target}/{name}")), name
    assert os.stat(f"{target}/2/file").st_mode & 0o777 == 0o640
    assert os.getxattr(f"{target}/2/own", ACCESS) == os.getxattr(source / "tree/own", ACCESS)
