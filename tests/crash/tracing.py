"""A process whose n-th call of the kernel is its last, or fails: strace finds the calls, nothing here names them."""

import collections
import os
import re
import select
import subprocess
import tempfile

from tests.crash import child

from cbx_sandbox.linux import xattr

# No disk makes these fail: memory, signals, clocks, threads, ends, whose rights a thread has; and a close() fails on
# network file systems alone. Killed there, a process leaves what it leaves at the call before or after.
_NOT_OF_DISKS = re.compile(
    r"(mmap|munmap|brk|mprotect|madvise|mremap|rt_sig\w+|clock_\w+|futex|exit\w*|get\w+id|getrandom|gettid|set\w*id|"
    r"[gs]etgroups|close|capset|capget|prctl|clone\w*|sched_\w+|lseek|dup\w*|fcntl|restart_syscall|arch_prctl|poll|tgkill)"
)
# Between two of these nothing on a disk changes.
_CHANGES = re.compile(
    r"(mkdir\w*|rmdir|unlink\w*|rename\w*|link\w*|symlink\w*|mknod\w*|p?write\w*|fsync|fdatasync|syncfs|utime\w*|"
    r"f?chmod\w*|[fl]?chown\w*|f?truncate|[fl]?setxattr\w*|[fl]?removexattr\w*|copy_file_range|fallocate|ioctl)"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)")
_END = "getppid"  # what the process does next is no longer the work
KILLED = -9


class Call(tuple):
    """A call's name and which of that name it is, as strace counts them."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self[0]}#{self[1]}"


def calls(work) -> list[tuple[Call, bool]]:
    """Every call that ``work`` makes and that a disk could refuse, in order; whether it may change the disk.

    strace counts those of each thread by itself: the n-th of a name may come in another one first.
    """
    with tempfile.NamedTemporaryFile() as log:
        status, said = _traced(work, ["-o", log.name])
        assert status == 0, said
        lines = log.read().decode("utf-8", "replace").splitlines()
    counts: collections.Counter = collections.Counter()
    found = []
    for line in lines:
        if not (match := _LINE.match(line)):
            continue
        thread, name, rest = match.groups()
        if name == _END:
            break
        counts[thread, name] += 1
        if not _NOT_OF_DISKS.fullmatch(name):
            creates = name.startswith("open") and ("O_CREAT" in rest or "O_TMPFILE" in rest)
            found.append((Call((name, counts[thread, name])), creates or bool(_CHANGES.fullmatch(name))))
    return found


def killed_at(call, work) -> tuple[int, str]:
    """Run ``work`` in a process that is killed as it enters that call: the call is not made."""
    return _traced(work, ["-o", "/dev/null", "-e", f"inject={call[0]}:signal=KILL:when={call[1]}"])


def failed_at(call, error, work, *, path=None) -> tuple[int, str]:
    """Run ``work`` in a process whose ``call`` is not made and ends in ``error``, such as EIO.

    With ``path``, only the calls that are about it count.
    """
    of = [] if path is None else ["-P", path]
    return _traced(work, ["-o", "/dev/null", *of, "-e", f"inject={call[0]}:error={error}:when={call[1]}"])


def _traced(work, options) -> tuple[int, str]:
    """The exit status of a process that does ``work`` under strace, and what that returned or raised, in a word."""
    go, wait = os.pipe()[::-1]

    def body(writing) -> None:
        os.close(go)
        waiting = select.poll()
        waiting.register(wait, 0)  # its end is always told
        waiting.poll()
        xattr.by_directory = lambda: False  # strace before 6.13 has no name for those calls, and cannot fail them
        word = child.word_of(work)
        os.getppid()
        os.write(writing, word.encode("utf-8", "backslashreplace"))

    pid, reading = child.forked(body)
    os.close(wait)
    with subprocess.Popen(
        ["strace", "-f", *options, "-p", str(pid)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as strace:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        with os.fdopen(go, "wb"):  # closed: the child reads its end
            pass
        status, said = child.ended(pid, reading)
        strace.stderr.read()
    assert "attached" in attached, attached
    return status, said
