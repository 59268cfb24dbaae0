"""Seccomp filters compiled to classic BPF (seccomp(2), linux/filter.h): no library, and calls newer than any library.

A call is found by a binary search over ranges of numbers, in about eight comparisons. Since Linux 5.11 the kernel works
out once which numbers are always allowed and never runs the filter for them.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import struct
import tomllib
from collections.abc import Mapping, Sequence

from cbx_sandbox.linux import libc

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD_WORD, _AND, _JUMP, _JUMP_EQUAL, _JUMP_GE, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets into struct seccomp_data (little-endian)
_X32_BIT = 0x40000000
_ALL_BITS = 0xFFFFFFFF
_FARTHEST = 255  # instructions that a conditional jump can leave out

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000  # allowed, and written to the audit log


def answer(number: int) -> int:
    """The action that ends a call with this errno without making it; 0 looks like success."""
    return 0x00050000 | number


ABSENT = answer(errno.ENOSYS)

# AUDIT_ARCH constants of linux/audit.h, and the column of the table of numbers.
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """What the argument ``arg`` (0-5), reduced to the bits of ``mask``, is compared with.

    Holds if it is one of ``values``, or, with ``none_of``, if it is not. The kernel takes most arguments as 32 bits
    wide: then high bits are not looked at, so that setting them does not get around a check. ``wide`` compares all 64
    bits with one value.
    """

    arg: int
    values: tuple[int, ...]
    none_of: bool = False
    mask: int = _ALL_BITS
    wide: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """The action for a call of which all ``conditions`` hold."""

    conditions: tuple[Condition, ...]
    action: int


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one call: the action of the first check that holds, else ``action``."""

    action: int
    checks: tuple[Check, ...] = ()


def numbers(machine: str) -> dict[str, int]:
    """The system calls of an architecture by name. Raises KeyError for a machine that has no table here."""
    column = {"x86_64": 0, "aarch64": 1, "riscv64": 1}[machine]
    with open(os.path.join(os.path.dirname(__file__), "syscalls.toml"), "rb") as file:
        table = tomllib.load(file)
    found = {name: both[column] for name, both in table["calls"].items() if both[column] >= 0}
    more: dict[str, int] = table.get(machine, {})
    return found | more


def compiled(machine: str, verdicts: Mapping[int, Verdict], default: int) -> bytes:
    """The filter: ``verdicts`` by number of the call, ``default`` for all others.

    Another architecture's calls are absent (ENOSYS): their numbers mean something else. On x86-64 that is i386 by its
    own mark, and x32 by a bit in the number.
    """
    writer = _Writer()
    tree = writer.search([*_ranges(verdicts, default), (_X32_BIT, Verdict(ABSENT))])
    loaded = writer.load(_NR, tree)
    own = writer.branch(_JUMP_EQUAL, MACHINES[machine], loaded, writer.end(ABSENT))
    writer.load(_ARCH, own)
    return writer.program()


def _ranges(verdicts: Mapping[int, Verdict], default: int) -> list[tuple[int, Verdict]]:
    """(first number, verdict) of each run of numbers that have the same verdict."""
    otherwise = Verdict(default)
    found: list[tuple[int, Verdict]] = []
    for number in range(max(verdicts, default=0) + 2):
        verdict = verdicts.get(number, otherwise)
        if not found or found[-1][1] != verdict:
            found.append((number, verdict))
    return found


class _Writer:
    """Writes a program from its end to its beginning: jumps lead forward, so their targets are always known.

    Every method returns the label of what it wrote: how many instructions there are from there to the end.
    """

    def __init__(self) -> None:
        self._backwards: list[bytes] = []
        self._ends: dict[int, int] = {}

    def program(self) -> bytes:
        """All of it, as the kernel takes it."""
        return b"".join(reversed(self._backwards))

    def end(self, action: int) -> int:
        """Return ``action``: where that stands already, if a jump can reach it."""
        label = self._ends.get(action)
        if label is None or self._distance(label) > _FARTHEST - 2:
            label = self._ends[action] = self._write(_RETURN, action)
        return label

    def search(self, ranges: Sequence[tuple[int, Verdict]]) -> int:
        """Find the range that the number in the accumulator lies in, and decide."""
        if len(ranges) == 1:
            return self._decide(ranges[0][1])
        middle = len(ranges) // 2
        above = self.search(ranges[middle:])
        below = self.search(ranges[:middle])
        return self.branch(_JUMP_GE, ranges[middle][0], above, below)

    def branch(self, code: int, value: int, if_true: int, if_false: int) -> int:
        """Compare the accumulator with ``value``."""
        near_true, near_false = self._near(if_true), self._near(if_false)
        return self._write(code, value, self._distance(near_true), self._distance(near_false))

    def load(self, offset: int, then: int) -> int:
        """Load a word of struct seccomp_data; what ``then`` labels must be what was written last."""
        assert self._distance(then) == 0
        return self._write(_LOAD_WORD, offset)

    def _decide(self, verdict: Verdict) -> int:
        label = self.end(verdict.action)
        for check in reversed(verdict.checks):
            otherwise, label = label, self.end(check.action)
            for condition in reversed(check.conditions):
                label = self._compare(condition, label, otherwise)
        return label

    def _compare(self, condition: Condition, holds: int, fails: int) -> int:
        low = _ARGS + 8 * condition.arg
        if_equal, if_not = (fails, holds) if condition.none_of else (holds, fails)
        if condition.wide:
            (value,) = condition.values
            high = self.load(low + 4, self.branch(_JUMP_EQUAL, value >> 32, if_equal, if_not))
            return self.load(low, self.branch(_JUMP_EQUAL, value & _ALL_BITS, high, if_not))
        label = if_not
        for value in reversed(condition.values):
            label = self.branch(_JUMP_EQUAL, value, if_equal, label)
        if condition.mask != _ALL_BITS:
            label = self._write(_AND, condition.mask)
        return self.load(low, label)

    def _near(self, label: int) -> int:
        """``label``, or a jump there where a comparison would not reach it."""
        # The other target may become such a jump, too.
        return label if self._distance(label) < _FARTHEST else self._write(_JUMP, self._distance(label))

    def _distance(self, label: int) -> int:
        return len(self._backwards) - label

    def _write(self, code: int, value: int, if_true: int = 0, if_false: int = 0) -> int:
        self._backwards.append(struct.pack("=HBBI", code, if_true, if_false, value))
        return len(self._backwards)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(program: bytes) -> None:
    """Put ``program`` on this process and its children; no_new_privs must be set (PR_SET_SECCOMP)."""
    argument = _Program(len(program) // 8, program)
    libc.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0)
