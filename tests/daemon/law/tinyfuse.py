"""A file system with one file, served by this process: stop the process, and every look at the mount waits.

``python3 -I tinyfuse.py DIRECTORY`` mounts it there, says so on stdout and serves. Nothing may be remembered of it, so
that each look asks (linux/include/uapi/linux/fuse.h, protocol 7.31).
"""

import ctypes
import errno
import os
import stat
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = (
    1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 28, 29,
)  # fmt: skip
BATCH_FORGET, INTERRUPT = 42, 36
ROOT, FILE = 1, 2
CONTENT = b"from afar\n"


def attributes(node):
    mode, size, links = (stat.S_IFDIR | 0o777, 0, 2) if node == ROOT else (stat.S_IFREG | 0o666, len(CONTENT), 1)
    # ino, size, blocks, three times, their nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags
    return struct.pack("=6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 512, 0)


def entry(index, node, name, kind):
    raw = struct.pack("=QQII", node, index + 1, len(name), kind) + name
    return raw + bytes(-len(raw) % 8)


def answer(operation, node, body):
    """The body of the answer, an errno, or None where there is no answer."""
    if operation == INIT:
        major, minor = struct.unpack_from("=II", body)
        return struct.pack("=4IHHIIHH7I", major, min(minor, 31), 0, 0, 8, 6, 1 << 16, 1, 16, 0, *[0] * 7)
    if operation == LOOKUP:
        if node == ROOT and body.rstrip(b"\0") == b"file":
            return struct.pack("=QQQQII", FILE, 0, 0, 0, 0, 0) + attributes(FILE)
        return errno.ENOENT
    if operation == GETATTR:
        return struct.pack("=QII", 0, 0, 0) + attributes(node)
    if operation in {OPEN, OPENDIR}:
        return struct.pack("=QII", 1, 1, 0)  # FOPEN_DIRECT_IO
    if operation == READ:
        _, offset, size = struct.unpack_from("=QQI", body)
        return CONTENT[offset : offset + size]
    if operation == READDIR:
        offset = struct.unpack_from("=QQI", body)[1]
        return b"" if offset else entry(0, FILE, b"file", stat.S_IFREG >> 12)
    if operation == STATFS:
        return struct.pack("=5Q4I24x", 8, 8, 8, 8, 8, 512, 255, 512, 0)
    if operation in {RELEASE, RELEASEDIR, FLUSH}:
        return b""
    return None if operation in {FORGET, BATCH_FORGET, INTERRUPT} else errno.ENOSYS


def main(directory):
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tiny", os.fsencode(directory), b"fuse", 6, options.encode()):  # nosuid, nodev
        sys.exit(os.strerror(ctypes.get_errno()))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        request = os.read(fd, 1 << 17)
        _, operation, unique, node = struct.unpack_from("=IIQQ", request)
        said = answer(operation, node, request[40:])
        if said is None:
            continue
        error, body = (-said, b"") if isinstance(said, int) else (0, said)
        os.write(fd, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


if __name__ == "__main__":
    main(sys.argv[1])
