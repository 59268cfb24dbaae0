# ruff: noqa: E501  # shell lines are read better whole
"""Every file type and all metadata: what a job makes of them lands as it is natively, can be undone, and done again."""

import collections
import os
import subprocess
import time

import pytest
from tests.root.checkpoint import checkpoint, harness

from cbx_sandbox.checkpoint.undo import redo, undo

pytestmark = pytest.mark.root

WHOLE = bool(os.environ.get("CBX_CRASH"))
KINDS = ["ext4-root", "xfs", "btrfs"]

SETUP = r"""
mkdir -p d/sub t/in empty; echo a > a; echo b > b; echo h > h1; ln h1 h2; echo x > d/x; echo y > d/sub/y; echo i > t/in/i
ln -s a link; ln -s d dirlink; mkfifo fifo; mknod null c 1 3; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('sock')"
cp /bin/true capable; setcap cap_net_raw+ep capable; cp /bin/true suid; chmod 4755 suid
setfattr -n user.k -v 1 a; setfattr -n trusted.k -v 1 d; setfattr -h -n trusted.k -v 1 link
setfacl -m u:1234:r b; setfacl -m u:1234:rx d; setfacl -d -m u:1234:rwx d
head -c 200000 /dev/urandom > full; truncate -s 4M holes; printf mid | dd of=holes bs=1 seek=2M conv=notrunc status=none
echo fixed > fixed; echo log > log; mkdir closed; echo c > closed/c; chmod 000 closed b; : > none
touch -d '2001-02-03 04:05:06.789012345' a b full holes fixed log h1 d/x d/sub t/in t empty capable suid closed; touch -h -d '2001-02-03' link dirlink
"""
FLAGS = "chattr +i fixed; chattr +a log"
PYTHON = 'python3 -c "import os, mmap, ctypes, fcntl; libc = ctypes.CDLL(None); {}"'

ROWS = {
    "links: another name": "ln h1 h3; mkdir k; ln h2 k/h4",
    "links: one name less": "rm h2",
    "links: all names gone": "rm h1 h2; echo n > h1",
    "links: a new group": "echo n > n1; ln n1 n2; mkdir k; ln n1 k/n3; ln a d/sub/a-too",
    "links: metadata of a group": "chmod 600 h1; setfattr -n user.k -v v h1",
    "links: a fifo's": "ln fifo fifo2; echo n > t/in/n; ln t/in/n t/n",
    "xattrs": "setfattr -x user.k a; setfattr -n user.new -v x a; setfattr -n trusted.k -v 2 d; setfattr -n security.k -v s t; setfattr -h -x trusted.k link; setfattr -h -n trusted.m -v m dirlink",
    "xattrs: overlay's own names": "setfattr -n trusted.overlay.opaque -v y t; setfattr -n trusted.overlay.redirect -v /etc a; setfattr -n user.overlay.origin -v o b",
    "acls: changed": "setfacl -m u:4321:rw a; setfacl -m u:1234:rw b; setfacl -d -m g:99:rx t; setfacl -d -x u:1234 d",
    "acls: removed": "setfacl -b b; setfacl -b d; setfacl -k d",
    "acls: inherited": "echo n > d/n; mkdir d/m; echo n > d/m/n",
    "capabilities: set and removed": "setcap -r capable; cp /bin/true other; setcap cap_chown+ep other; setcap cap_kill+p suid",
    "capabilities: cleared by writing": "echo x >> capable",
    "capabilities: kept by a change of mode": "chmod 700 capable",
    "setuid: with another owner": "chown 5:6 suid; chmod 4755 suid; chown 7 capable",
    "setuid: written": "echo x >> suid",
    "sparse: holes filled": "printf s | dd of=holes bs=1 conv=notrunc status=none; printf e | dd of=holes bs=1 seek=3M conv=notrunc status=none; truncate -s 6M holes",
    "sparse: new": "truncate -s 1G n; printf e | dd of=n bs=1 seek=700M conv=notrunc status=none; cp --sparse=always holes copy",
    "sparse: punched": "fallocate -p -o 65536 -l 65536 full; truncate -s 100000 full; fallocate -l 1M none",
    "times": "touch -d '1999-09-09 09:09:09.987654321' a d/sub t; touch -h -d '1998-08-08 08:08:08.000000001' link; touch -m -d 1997-07-07 fifo null",
    "times: same bytes": "cat full > full.new; touch -r full full.new; chmod --reference=full full.new; mv full.new full",
    "immutable: refused": "echo x >> fixed; rm -f fixed; mv fixed n; chmod 600 fixed; echo x > log; rm -f log; :",
    "immutable: set": "echo n > n; chattr +i n a; chattr +a b; mkdir k; echo n > k/n; chattr +i k/n",
    "immutable: cleared": "chattr -i fixed; echo x >> fixed; chattr -a log; rm log",
    "immutable: cleared and set again": "chattr -i fixed; echo x >> fixed; chattr +i fixed; chattr -a log; chmod 600 log; chattr +a log",
    "immutable: moved": "chattr -i fixed; mv fixed t/fixed; chattr +i t/fixed; chattr -a log; mv log fixed; chattr +a fixed",
    "immutable: other marks": "chattr -i fixed; chattr +a fixed; chattr -a log; chattr +i log; chattr +i d; chattr +a t",
    "append-only: appended": "echo x >> log",
    "special: made": "mkfifo n; mknod n2 b 7 0; mknod n3 c 1 5; mkdir k; mkfifo k/f; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('k/s')\"",
    "special: over a file": "rm a b full; mkfifo a; mknod b c 1 3; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('full')\"",
    "special: over a directory": "rm -r d t empty; mkfifo d; mknod t c 1 3; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('empty')\"",
    "special: over a symlink": "rm link dirlink; mkfifo link; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('dirlink')\"",
    "special: replaced": "rm fifo null sock; echo n > fifo; mkdir null; ln -s a sock",
    "special: metadata": "chmod 600 fifo null; chown 5:6 sock fifo; setfattr -h -n trusted.k -v v fifo",
    "symlinks": "ln -s $(printf 'x%.0s' $(seq 4000)) longest; ln -s ../../../../etc out; ln -s '' e 2>/dev/null; ln -sfn nowhere link; chown -h 5:6 dirlink",
    "symlinks: over others": "rm a; ln -s b a; rm -r d; ln -s t d; rm fifo; ln -s a fifo",
    "directories: opaque in an opaque one": "rm -r t; mkdir t; mkdir t/in; echo n > t/in/n; rm -r t/in; mkdir t/in; echo m > t/in/m",
    "directories: the same name again": "rmdir empty; mkdir empty; rm -r d; mkdir d",
    "directories: emptied": "rm t/in/i; rm -r d/sub; mkdir empty/n; rmdir empty/n",
    "directories: closed": "chmod 300 d; echo n > closed/n; chmod 100 t; rm closed/c",
    "renames: exchanged": PYTHON.format(
        "libc.renameat2(-100, b'a', -100, b'd', 2); libc.renameat2(-100, b'link', -100, b'fifo', 2)"
    ),
    "renames: back to what was removed": "rm b; mv a b; rm -r t; mv d t; echo n > t/n",
    "renames: again and again": "mv a m1; mv m1 m2; mv b a; mv m2 b; mv d m3; mkdir d; mv m3/sub d/sub; echo n >> d/sub/y",
    "renames: only case, and twins": "mv a A; printf 1 > \"$(printf '\\303\\251')\"; printf 2 > \"$(printf 'e\\314\\201')\"",
    "renames: then removed": "mv d m; rm -r m; mv t/in in; rm -r in t",
    "data: stored through a mapping": PYTHON.format(
        "f = open('full', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[100000:100005] = b'store'; os._exit(0)"
    ),
    "data: linked from nowhere": PYTHON.format(
        "f = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640); os.write(f, b'n'); os.link('/proc/self/fd/%d' % f, 'n', src_dir_fd=os.open('/', 0), follow_symlinks=True)"
    ),
    "data: removed while open": "exec 3>>full; rm full; echo x >&3; echo n > full; exec 3>&-",
    "data: read while it is written": "exec 3<full; printf start | dd of=full bs=1 conv=notrunc status=none; cat <&3 > copy",
    "data: appended by many": "for i in 1 2 3 4; do echo line >> none & done; wait",
    "data: ranges moved": "fallocate -c -o 65536 -l 65536 full; fallocate -i -o 4096 -l 4096 holes; :",
    "data: names of other tools' marks": "echo n > .wh.a; echo n > .wh..wh..opq; mkdir .cbx-0; echo n > .cbx-0/stage; mkdir k; echo n > k/.cbx",
}
NOTHING = {
    "times: same bytes",
    "immutable: refused",
    "data: ranges moved",
}  # the last where there is no such call (btrfs)
UNTIMED = {"append-only: appended"}


def uncounted(found):
    """Without the numbers of names: as long as a commit can be undone or done again, the stage has one, too."""
    groups = collections.Counter(value[6][1] for value in found.values() if value[6])
    return {
        path: (*value[:6], value[6][1] if value[6] and groups[value[6][1]] > 1 else b"", *value[7:])
        for path, value in found.items()
    }


def tree(path, since=None):
    return uncounted(harness.manifest(path, times_since=since))


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_each_row(mounted, kind, part):
    """Rolled back, the tree is what it was; committed, what the row makes of it natively; undone; and done again."""
    rows = list(ROWS)[part::3]
    # Each row on one of the file systems; on all of them in a full run.
    for row in rows if WHOLE else rows[KINDS.index(kind) :: 3]:
        with harness.box(mounted(kind)) as box:
            box.shell(SETUP)
            native = f"{box.base}/native"
            harness.copy_bytes(box.live, native)
            box.shell(FLAGS)
            box.shell(FLAGS, cwd=native)
            before = harness.manifest(box.live)
            assert harness.manifest(native) == before
            checkpoint.discard(box.run(ROWS[row]))
            assert harness.manifest(box.live) == before, row
            start = time.time_ns() - 20_000_000
            session = box.run(ROWS[row])
            result = checkpoint.commit(session, allow_privileged=True, keep=True)
            subprocess.run(
                ["sh", "-c", ROWS[row]], cwd=native, check=False, capture_output=True, stdin=subprocess.DEVNULL
            )
            if result.state is checkpoint.State.EMPTY:
                assert row in NOTHING
                assert harness.manifest(box.live) == before, row
                continue
            wanted, got = tree(native, start), tree(box.live, start)
            differing = {path: (wanted.get(path), got.get(path)) for path in wanted.keys() | got.keys()}
            assert {path: pair for path, pair in differing.items() if pair[0] != pair[1]} == {}, row
            # What is append-only has the time of its writing, whoever does it.
            since = start if row in UNTIMED else None
            after = tree(box.live, since)
            undo(session)
            assert tree(box.live) == uncounted(before), row
            redo(session)
            assert tree(box.live, since) == after, row
