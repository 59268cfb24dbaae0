"""The filter's own bytes, run by a small interpreter of classic BPF: what the kernel would decide for every call."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.linux import seccomp

ALLOW = 0x7FFF0000
DENY, FOREIGN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
MACHINES = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29), "riscv64": (0xC00000F3, 29)}
OTHERS = (0x40000003, 0x40000028, 0xC00000B7, 0xC000003E, 0xC00000F3, 0x80000016, 0)  # i386, arm, …
X32_BIT = 0x40000000
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def decide(program: bytes, number: int, architecture: int, arguments: tuple[int, ...] = (0,) * 6) -> int:
    """Run ``program`` over struct seccomp_data: nr, arch, instruction_pointer, args[6]."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at, steps = 0, 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        steps += 1
        assert steps <= len(instructions), "classic BPF only jumps forward"
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert value % 4 == 0, "the kernel wants aligned words"
            assert value + 4 <= len(data)
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            at += if_true if accumulator == value else if_false
        elif code == 0x35:  # BPF_JMP | BPF_JGE | BPF_K
            at += if_true if accumulator >= value else if_false
        elif code == 0x06:  # BPF_RET | BPF_K
            return value
        else:
            pytest.fail(f"instruction {code:#x} is not one that this filter should need")


@pytest.fixture(params=MACHINES)
def machine(request):
    """(program, AUDIT_ARCH, number of ioctl)."""
    return seccomp.terminal_filter(request.param), *MACHINES[request.param]


def test_every_path_ends_and_every_jump_lands_inside(machine):
    """What the kernel checks when a filter is installed (bpf_check_classic)."""
    program, _, _ = machine
    count = len(program) // 8
    assert len(program) % 8 == 0
    for at in range(count):
        code, if_true, if_false, _ = struct.unpack_from("=HBBI", program, at * 8)
        if code & 7 == 5:
            assert at + 1 + max(if_true, if_false) < count
    assert struct.unpack_from("=HBBI", program, (count - 1) * 8)[0] == 0x06


@given(number=st.integers(0, X32_BIT - 1), arguments=st.tuples(*[U64] * 6), which=st.sampled_from(sorted(MACHINES)))
def test_every_call_but_ioctl_is_allowed(number, arguments, which):
    """Whatever its arguments."""
    architecture, ioctl = MACHINES[which]
    if number != ioctl:
        assert decide(seccomp.terminal_filter(which), number, architecture, arguments) == ALLOW


@given(
    which=st.sampled_from(sorted(MACHINES)),
    command=st.one_of(st.sampled_from([seccomp.TIOCSTI, seccomp.TIOCLINUX, 0x5401, 0x5413, 0]), U32),
    high=U32,
    rest=st.tuples(U64, U64),
)
def test_an_ioctl_is_judged_by_the_low_half_of_its_command(which, command, high, rest):
    """The kernel looks at 32 bits; high bits neither hide a refused command nor refuse another."""
    architecture, ioctl = MACHINES[which]
    arguments = (rest[0], high << 32 | command, rest[1], 0, 0, 0)
    expected = DENY if command in {0x5412, 0x541C} else ALLOW
    assert decide(seccomp.terminal_filter(which), ioctl, architecture, arguments) == expected


@given(which=st.sampled_from(sorted(MACHINES)), architecture=st.one_of(st.sampled_from(OTHERS), U32), number=U32)
def test_another_architecture_s_calls_are_refused(which, architecture, number):
    """Their numbers mean other calls: none is let through, and none kills the process."""
    own, _ = MACHINES[which]
    if architecture != own:
        assert decide(seccomp.terminal_filter(which), number, architecture) == FOREIGN


@given(number=st.integers(X32_BIT, 2**32 - 1), arguments=st.tuples(*[U64] * 6))
def test_x32_calls_are_refused(number, arguments):
    """They come with the architecture of x86-64 and a bit in the number."""
    assert decide(seccomp.terminal_filter("x86_64"), number, MACHINES["x86_64"][0], arguments) == FOREIGN
