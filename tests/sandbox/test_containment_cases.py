"""Which of the containment cases are shown where: the list is kept here, and kept true by this test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

# The cases of which this release shows nothing yet, and what they wait for.
SECCOMP = "the system call filter of a later release"
CHECKPOINT = "the checkpoint's tests (tests/root/checkpoint, tests/crash): diff, commit and rollback"
DAEMON = "the daemon's tests (tests/daemon): the client, recovery, logs and locks between jobs"
LATER: dict[int, str] = {
    8: CHECKPOINT,
    12: "layers are always made anew: tests/root/checkpoint",
    15: CHECKPOINT,
    18: "protected names that do not exist yet are kept by rounding up the lock set and by holding at commit",
    29: CHECKPOINT,
    30: CHECKPOINT,
    31: CHECKPOINT,
    32: CHECKPOINT,
    33: CHECKPOINT,
    36: CHECKPOINT,
    39: "a host whose root is an overlay: the launcher tries it at start (`unshifted`), the guest has none",
    44: "overlays are mounted volatile: a figure for the bench, not a denial",
    53: "no code of a job runs before the box is built, and /dev is cbx's own: test_case_118",
    54: "the box writes no attributes or settings through /proc",
    78: "needs a hung file system: chaos, a later release",
    81: "init holds a lease instead of a death signal",
    86: DAEMON,
    109: "no /proc/PID/ns of the host's can be opened: test_case_056, test_case_066",
    110: SECCOMP,
    112: SECCOMP,
    113: SECCOMP,
    115: SECCOMP,
    116: SECCOMP,
    117: SECCOMP,
    119: SECCOMP,
    122: "test_case_063 tries both",
    142: SECCOMP,
    143: "per-user limits of inotify: a later release",
    146: "with swap in the guest: a later release; test_case_145 has memory.swap.max in force",
    158: "by construction: pidfds and groups only, no number is kept",
    159: DAEMON,
    160: DAEMON,
}


def shown() -> dict[int, list[str]]:
    """Every case number in the name of a test, and the tests."""
    found: dict[int, list[str]] = {}
    folders = (ROOT / "root" / "box", ROOT / "daemon" / "network", ROOT / "sandbox")
    for path in [path for folder in folders for path in folder.rglob("test_*.py")]:
        for name in re.findall(r"^ *def (test_case_\w+)", path.read_text(), re.MULTILINE):
            for number in re.findall(r"(?<=_)(\d{3})(?=_)", name):
                found.setdefault(int(number), []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


def test_every_case_is_shown_or_waits_for_something():
    """All 160, each once: pytest -s prints the list."""
    cases = shown()
    for number in range(1, 161):
        for line in cases.get(number, [f"later: {LATER.get(number, '')}"]):
            print(f"{number:3} {line}")
    assert sorted(cases) == sorted(set(range(1, 161)) - set(LATER))
    assert not set(LATER) & set(cases), "a case that waits is shown after all"
