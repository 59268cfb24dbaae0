"""A small interpreter of classic BPF, as far as seccomp(2) knows it."""

import errno
import struct

import pytest

ABSENT = 0x00050000 | errno.ENOSYS


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, value) of each."""
    return list(struct.iter_unpack("=HBBI", program))


def decide(program: bytes, number: int, architecture: int, arguments: tuple[int, ...] = (0,) * 6) -> int:
    """Run ``program`` over struct seccomp_data: nr, arch, instruction_pointer, args[6]."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    decoded = instructions(program)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = decoded[at]
        at += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                assert value % 4 == 0, "the kernel wants aligned words"
                assert value + 4 <= len(data)
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:  # BPF_ALU | BPF_AND | BPF_K
                accumulator &= value
            case 0x05:  # BPF_JMP | BPF_JA
                at += value
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                at += if_true if accumulator == value else if_false
            case 0x35:  # BPF_JMP | BPF_JGE | BPF_K
                at += if_true if accumulator >= value else if_false
            case 0x06:  # BPF_RET | BPF_K
                return value
            case _:
                pytest.fail(f"instruction {code:#x} is not one that these filters should need")
