"""How a job's place is written, and what its weights are worth: CPUs, memory nodes, nice values. Pure.

The launcher has it, too: nothing is imported.

Lists are written as the kernel writes them in ``Cpus_allowed_list``: ``0-3,8`` (cpuset(7), "List Format").
"""

from __future__ import annotations

LARGEST = 1 << 16  # a CPU or a node beyond that is a slip, and would take memory for nothing
NICEST, LEAST_NICE = 19, -20
IDLE = 0  # the weight of who gets only what nobody else wants
HEAVIEST, USUAL_WEIGHT = 10_000, 100  # cpu.weight and io.weight (Documentation/admin-guide/cgroup-v2.rst)

# sched_prio_to_weight of kernel/sched/core.c: what a nice value is worth as cpu.shares.
SHARES = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501,
    1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
)  # fmt: skip


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list such as ``0-3,8``, in order and each once. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low = _number(first)
        high = _number(last) if dash else low
        if high < low:
            raise ValueError(f"{part.strip()} ends before it begins")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) >= LARGEST:
        raise ValueError("write numbers and ranges with commas between them, e.g. 0-3,8")
    return int(text)


def text_of(found: tuple[int, ...]) -> str:
    """The numbers as a list."""
    runs: list[list[int]] = []
    for number in found:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def weight(text: str) -> int:
    """A weight from 1 to 10000, or ``idle``. Raises ValueError."""
    if text == "idle":
        return IDLE
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or not 1 <= int(text) <= HEAVIEST:
        raise ValueError(f"write a weight from 1 to {HEAVIEST}, or idle; {USUAL_WEIGHT} is usual")
    return int(text)


def niceness(text: str) -> int:
    """A nice value from -20 to 19. Raises ValueError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 2 or not LEAST_NICE <= int(text) <= NICEST:
        raise ValueError(f"write a whole number from {LEAST_NICE} to {NICEST}")
    return int(text)


def bfq(weight_: int) -> int:
    """A weight as BFQ takes it, from 1 to 1000: its usual one is 100, too."""
    if weight_ <= USUAL_WEIGHT:
        return max(1, weight_)
    return USUAL_WEIGHT + (weight_ - USUAL_WEIGHT) * (1000 - USUAL_WEIGHT) // (HEAVIEST - USUAL_WEIGHT)


def level(weight_: int) -> int:
    """A weight as one of the eight levels of an I/O priority: 0 is the first, 4 the usual one, 7 the last."""
    if weight_ >= USUAL_WEIGHT:
        return max(0, 4 - (weight_ // USUAL_WEIGHT).bit_length() + 1)
    return min(7, 4 + (USUAL_WEIGHT // max(1, weight_)).bit_length() - 1)
