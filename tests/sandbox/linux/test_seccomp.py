"""The compiler's bytes, run by a small interpreter of classic BPF: what the kernel would decide for every call."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sandbox.linux.bpf import ABSENT, decide, instructions

from cbx_sandbox.linux import seccomp
from cbx_sandbox.linux.seccomp import ALLOW, Check, Condition, Verdict

OTHERS = (0x40000003, 0x40000028, 0xC00000B7, 0xC000003E, 0xC00000F3, 0x80000016, 0)  # i386, arm, …
X32_BIT = 0x40000000
REFUSE = seccomp.answer(errno.EPERM)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
ARGUMENTS = st.tuples(*[U64] * 6)
MACHINES = st.sampled_from(sorted(seccomp.MACHINES))
ACTIONS = st.sampled_from([ALLOW, seccomp.LOG, REFUSE, seccomp.answer(0)])
SMALL = st.sampled_from([0, 1, 2, 0x5412, 2**31, 2**32 - 1])

NARROW = st.builds(
    Condition,
    st.integers(0, 5),
    st.lists(SMALL, min_size=1, max_size=4, unique=True).map(tuple),
    none_of=st.booleans(),
    mask=st.sampled_from([0xFFFFFFFF, 0xF000, 1]),
)
WIDE = st.builds(Condition, st.integers(0, 5), st.tuples(U64 | st.just(0)), none_of=st.booleans(), wide=st.just(True))
CHECKS = st.builds(Check, st.lists(NARROW | WIDE, max_size=3).map(tuple), ACTIONS)
VERDICTS = st.dictionaries(
    st.integers(0, 480), st.builds(Verdict, ACTIONS, st.lists(CHECKS, max_size=3).map(tuple)), max_size=200
)


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    """What the words of a condition mean."""
    found = arguments[condition.arg]
    if not condition.wide:
        found = found % 2**32 & condition.mask
    return (found in condition.values) != condition.none_of


def expected(verdicts: dict[int, Verdict], default: int, number: int, arguments: tuple[int, ...]) -> int:
    """What the data say of a call."""
    verdict = verdicts.get(number, Verdict(default))
    for check in verdict.checks:
        if all(holds(condition, arguments) for condition in check.conditions):
            return check.action
    return verdict.action


@given(verdicts=VERDICTS, default=ACTIONS, machine=MACHINES, data=st.data())
def test_a_filter_decides_what_its_data_say(verdicts, default, machine, data):
    """For any profile, any call and any arguments; those near the compared values are drawn often."""
    program = seccomp.compiled(machine, verdicts, default)
    number = data.draw(st.sampled_from(sorted(verdicts)) | st.integers(0, 600) if verdicts else st.integers(0, 600))
    arguments = data.draw(st.tuples(*[U64 | SMALL | SMALL.map(lambda low: low | 1 << 32)] * 6))
    architecture = seccomp.MACHINES[machine]
    assert decide(program, number, architecture, arguments) == expected(verdicts, default, number, arguments)


@given(verdicts=VERDICTS, default=ACTIONS, machine=MACHINES)
def test_every_path_ends_and_every_jump_lands_inside(verdicts, default, machine):
    """What the kernel checks when a filter is installed (bpf_check_classic)."""
    program = instructions(seccomp.compiled(machine, verdicts, default))
    for at, (code, if_true, if_false, value) in enumerate(program):
        if code == 0x05:
            assert at + 1 + value < len(program)
        elif code & 7 == 5:
            assert at + 1 + max(if_true, if_false) < len(program)
    assert program[-1][0] == 0x06


def test_a_jump_that_is_too_far_for_a_comparison_is_made_in_two():
    """A comparison reaches 255 instructions: a program of thousands decides the same."""
    verdicts = {
        number: Verdict(ALLOW, (Check((Condition(1, tuple(range(number, number + 40))),), REFUSE),))
        for number in range(200)
    }
    program = seccomp.compiled("x86_64", verdicts, ABSENT)
    assert len(instructions(program)) > 4096
    own = seccomp.MACHINES["x86_64"]
    for number in range(200):
        assert decide(program, number, own, (0, number + 39, 0, 0, 0, 0)) == REFUSE
        assert decide(program, number, own, (0, number + 40, 0, 0, 0, 0)) == ALLOW
    assert decide(program, 200, own) == ABSENT


@given(machine=MACHINES, architecture=st.sampled_from(OTHERS) | U32, number=U32, verdicts=VERDICTS, default=ACTIONS)
def test_another_architecture_s_calls_are_absent(machine, architecture, number, verdicts, default):
    """Their numbers mean other calls: none is let through, and none kills the process."""
    if architecture != seccomp.MACHINES[machine]:
        assert decide(seccomp.compiled(machine, verdicts, default), number, architecture) == ABSENT


@given(number=st.integers(X32_BIT, 2**32 - 1), arguments=ARGUMENTS, verdicts=VERDICTS, default=ACTIONS)
def test_x32_calls_are_absent(number, arguments, verdicts, default):
    """They come with the architecture of x86-64 and a bit in the number."""
    program = seccomp.compiled("x86_64", verdicts, default)
    assert decide(program, number, seccomp.MACHINES["x86_64"], arguments) == ABSENT


@pytest.mark.parametrize("machine", sorted(seccomp.MACHINES))
def test_the_table_of_numbers(machine):
    """Each number once; the oldest and the newest are where the kernel has them."""
    numbers = seccomp.numbers(machine)
    assert len(set(numbers.values())) == len(numbers)
    read, ioctl, clone = {"x86_64": (0, 16, 56)}.get(machine, (63, 29, 220))
    assert (numbers["read"], numbers["ioctl"], numbers["clone"]) == (read, ioctl, clone)
    assert (numbers["clone3"], numbers["statmount"], numbers["open_tree_attr"]) == (435, 457, 467)
    assert ("riscv_flush_icache" in numbers) == (machine == "riscv64")


def test_a_machine_without_a_table():
    """No filter is made up for it."""
    with pytest.raises(KeyError):
        seccomp.compiled("pdp11", {}, ALLOW)
    with pytest.raises(KeyError):
        seccomp.numbers("pdp11")


def test_the_size_of_an_instruction():
    """struct sock_filter has eight bytes."""
    assert struct.calcsize("=HBBI") == 8
    assert len(seccomp.compiled("x86_64", {}, ALLOW)) % 8 == 0
