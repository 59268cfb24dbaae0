"""The profiles as data: every name is known, every tier refuses what it must and lets through what programs need."""

import errno
import os

import pytest
from tests.sandbox.linux.bpf import ABSENT, decide

from cbx_sandbox.box import profiles
from cbx_sandbox.box.spec import LOGGED, RULES
from cbx_sandbox.linux import seccomp
from cbx_sandbox.shell.tiers import Tier

ALLOW, LOG = seccomp.ALLOW, seccomp.LOG
EPERM, DONE = seccomp.answer(errno.EPERM), seccomp.answer(0)
NO_FAMILY, NO_PROTOCOL = seccomp.answer(errno.EAFNOSUPPORT), seccomp.answer(errno.EPROTONOSUPPORT)
TIERS = [tier.value for tier in Tier]
SAFE, DANGEROUS = Tier.SAFE_PARALLEL.value, Tier.DANGEROUS_ISOLATED.value


@pytest.fixture(scope="module", params=sorted(seccomp.MACHINES))
def ask(request):
    """What the filter of a tier decides for a call by name, on each architecture; None where it has no such call."""
    machine, numbers, programs = request.param, seccomp.numbers(request.param), {}

    def decided(tier, call, *arguments):
        if tier not in programs:
            bare, logged = tier.removesuffix(LOGGED), tier.endswith(LOGGED)
            programs[tier] = seccomp.compiled(machine, *profiles.judged(profiles.data(), bare, numbers, logged=logged))
        if call not in numbers:
            return None
        given = (*arguments, *[0] * (6 - len(arguments)))
        return decide(programs[tier], numbers[call], seccomp.MACHINES[machine], given)

    return decided


def test_every_name_is_a_call():
    """Of some architecture: a name that is misspelt would be passed over."""
    known = {name for machine in seccomp.MACHINES for name in seccomp.numbers(machine)}
    data = profiles.data()
    named = [names.split() for table in ("groups", "refused", "placed") for names in data[table].values()]
    named += [entry["calls"] for entry in data["checks"]]
    assert {name for names in named for name in names} - known == set()


def test_every_tier_has_a_profile_and_every_group_a_user():
    """And nothing is listed twice."""
    data = profiles.data()
    assert sorted(data["tiers"]) == sorted(TIERS)
    assert {group for groups in data["tiers"].values() for group in groups} == set(data["groups"])
    names = [name for group in data["groups"].values() for name in group.split()]
    assert len(names) == len(set(names))


def test_the_programs_of_this_machine():
    """For each tier, with packet rules and without, logging and not; installing one takes a tenth of a millisecond."""
    programs = profiles.programs()
    assert set(programs) == {tier + rules + log for tier in TIERS for rules in ("", RULES) for log in ("", LOGGED)}
    assert max(len(program) // 8 for program in programs.values()) < 200


@pytest.mark.parametrize("tier", TIERS)
def test_what_every_program_does(ask, tier):
    """Reading, writing, memory, threads, sockets: the ground of every tool."""
    for call in (
        "read", "write", "open", "openat", "openat2", "mmap", "mprotect", "brk", "execve", "exit_group", "futex",
        "clone", "vfork", "wait4", "rt_sigreturn", "restart_syscall", "getrandom", "rseq", "statx", "getdents64",
        "epoll_pwait2", "pidfd_open", "close_range", "renameat2", "copy_file_range", "faccessat2", "fchmodat2", "mseal",
        "cachestat", "futex_waitv", "landlock_restrict_self", "seccomp", "arch_prctl", "riscv_flush_icache", "prctl",
        "unshare",
    ):  # fmt: skip
        assert ask(tier, call) in {ALLOW, None}, call


@pytest.mark.parametrize("tier", TIERS)
def test_the_inside_of_the_kernel(ask, tier):
    """Refused in every tier, in its own words: not permitted, or not there so that programs fall back."""
    for call in (
        "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr",
        "open_tree_attr", "setns", "bpf", "perf_event_open", "kexec_load", "init_module", "finit_module", "reboot",
        "swapon", "settimeofday", "sethostname", "iopl", "acct", "open_by_handle_at", "userfaultfd", "process_madvise",
        "memfd_secret", "pidfd_getfd",
    ):  # fmt: skip
        assert ask(tier, call) in {EPERM, None}, call
    for call in (
        "io_uring_setup", "io_uring_enter", "add_key", "keyctl", "request_key", "clone3", "statmount", "listmount",
        "lsm_set_self_attr", "lsm_list_modules", "listns", "uselib", "nfsservctl",
    ):  # fmt: skip
        assert ask(tier, call) in {ABSENT, None}, call


@pytest.mark.parametrize("tier", TIERS)
def test_a_call_that_no_table_knows_is_absent(tier):
    """What a newer kernel brings is not let in by not having been thought of."""
    program, own = profiles.programs()[tier], seccomp.MACHINES[os.uname().machine]
    assert decide(program, seccomp.numbers(os.uname().machine)["read"], own) == ALLOW
    assert {decide(program, number, own) for number in range(471, 700)} == {ABSENT}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_terminals_namespaces_and_devices_whatever_the_high_bits(ask, tier, high):
    """The kernel takes these arguments as 32 bits: what is above them decides nothing."""
    for command in (0x5412, 0x541C, 0x5423):
        assert ask(tier, "ioctl", 0, high | command) == EPERM
    assert ask(tier, "ioctl", 0, high | 0x5401) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert ask(tier, "clone", high | flag | 17) == EPERM
        assert ask(tier, "unshare", high | flag) == EPERM
    assert ask(tier, "unshare", high | 0x80) == EPERM  # CLONE_NEWTIME
    assert ask(tier, "clone", high | 0x3D0F00) == ALLOW  # a thread
    assert ask(tier, "unshare", high | 0x400) == ALLOW
    for kind, said in ((0x2000, EPERM), (0x6000, EPERM), (0x1000, ALLOW), (0x8000, ALLOW), (0xC000, ALLOW), (0, ALLOW)):
        assert ask(tier, "mknodat", 0, 0, high | kind | 0o666) == said
        assert ask(tier, "mknod", 0, high | kind | 0o666) in {said, None}


def test_families_of_sockets(ask):
    """A named local socket is refused where a job only reads; nobody gets packet, vsock, alg and the like."""
    for tier in TIERS:
        assert ask(tier, "socket", 1, 1) == (NO_FAMILY if tier == SAFE else ALLOW)
        assert ask(tier, "socketpair", 1, 1) == ALLOW
        assert ask(tier, "socketpair", 30, 1) == NO_FAMILY
        for family in (2, 10):
            assert {ask(tier, "socket", family, 1, protocol) for protocol in (0, 6, 17, 262)} == {ALLOW}
            assert {ask(tier, "socket", family, 1, protocol) for protocol in (33, 115, 132)} == {NO_PROTOCOL}
        assert ask(tier, "socket", 16, 3, 0) == ask(tier, "socket", 16, 3, 4) == ALLOW
        assert {ask(tier, "socket", 16, 3, protocol) for protocol in (7, 9, 12, 15, 16)} == {NO_PROTOCOL}
        assert {ask(tier, "socket", family, 3) for family in (0, 3, 17, 29, 31, 38, 40, 43, 44, 99)} == {NO_FAMILY}


@pytest.mark.parametrize("tier", TIERS)
def test_core_dumps_and_ways_to_run(ask, tier):
    """The limit that keeps crashes from the host's handler stays; asking for it, and other limits, work."""
    pointer = 0x7FFF_0000_0000  # its low half is zero
    assert ask(tier, "prlimit64", 0, 4, pointer) == DONE
    assert ask(tier, "prlimit64", 0, 4, 8) == DONE
    assert ask(tier, "prlimit64", 0, 4, 0, pointer) == ALLOW
    assert ask(tier, "prlimit64", 0, 7, pointer) == ALLOW
    assert ask(tier, "setrlimit", 4, pointer) in {DONE, None}
    assert ask(tier, "setrlimit", 7, pointer) in {ALLOW, None}
    for persona in (0, 8, 0x20000, 0xFFFFFFFF):
        assert ask(tier, "personality", persona) == ALLOW
    for persona in (0x40000, 0x400000, 0x100000):  # no random addresses, readable is executable, the page at 0
        assert ask(tier, "personality", persona) == EPERM


def test_debuggers_work_where_programs_are_built_and_tested(ask):
    """And nowhere else; chroot only where there is a root to do it."""
    for tier in TIERS:
        debugs = tier in {Tier.CONDITIONAL_PARALLEL.value, Tier.SEQUENTIAL_REQUIRED.value}
        for call in ("ptrace", "process_vm_readv", "process_vm_writev", "kcmp"):
            assert ask(tier, call) == (ALLOW if debugs else EPERM)
        assert ask(tier, "chroot") == (ALLOW if tier == DANGEROUS else EPERM)


@pytest.mark.parametrize("tier", TIERS)
def test_logging_lets_through_what_no_profile_has_and_nothing_else(ask, tier):
    """Ways out stay shut: what is judged by its arguments, and clone3, which would get around that."""
    logged = tier + LOGGED
    for call in ("mount", "keyctl", "io_uring_setup", "statmount", "bpf"):
        assert ask(logged, call) == LOG
    assert ask(logged, "read") == ALLOW
    assert ask(logged, "clone3") == ABSENT
    assert ask(logged, "ioctl", 0, 0x5412) == ask(logged, "unshare", 0x10000000) == EPERM
    assert ask(logged, "socket", 17, 3) == NO_FAMILY
    assert ask(logged, "prlimit64", 0, 4, 8) == DONE
