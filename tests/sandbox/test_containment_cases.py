"""Which of the containment cases are shown where: the list is kept here, and kept true by this test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Cases that are shown by tests which are not called after them: the file, and the test that fails if it does not hold.
ELSEWHERE: dict[int, str] = {
    8: "root/checkpoint/test_rights.py::test_new_privileges_are_reviewed",
    12: "root/checkpoint/test_attacks.py::test_redirect_that_leads_out",
    15: "root/checkpoint/test_attacks.py::test_parent_flipping_during_commits",
    29: "root/checkpoint/test_workloads.py::test_root_file_system",
    30: "root/checkpoint/test_sequences.py::test_any_sequence",
    31: "root/checkpoint/test_rollback.py::test_hostile_layer",
    32: "root/checkpoint/test_layers.py::test_sparse_files_stay_sparse",
    33: "root/checkpoint/test_workloads.py::test_other_file_systems",
    36: "root/checkpoint/test_conflicts.py::test_conflict",
    53: "root/box/test_kernel.py::test_case_118_only_six_devices_exist_and_none_can_be_made",
    78: "daemon/law/test_hanging.py::test_the_supervisor_ends_while_a_file_system_hangs",
    81: "root/box/test_processes.py::test_case_079_jobs_end_with_the_lease_of_their_client",
    86: "supervisor/cli/test_output.py::test_tables_align_and_escape",
    109: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    110: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    112: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    113: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    115: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    116: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    117: "root/box/test_syscalls.py::test_case_063_107_to_118_a_call_that_no_job_needs_is_refused",
    122: "root/box/test_kernel.py::test_case_063_privileged_system_calls_are_refused",
    159: "daemon/durable/test_adoption.py::test_of_another_boot_a_job_is_lost_whatever_was_left_of_it",
}

# Cases without a test, because there is nothing to attack, or because it is decided otherwise.
DECIDED: dict[int, str] = {
    39: "a host whose root is an overlay: ids are not shifted, which the launcher tries at its start; none had here",
    44: "overlays are mounted volatile: a figure for the bench, not a denial",
    54: "the box writes no attributes or settings through /proc",
    142: "locks on files that a job may read are shared with whoever may read them: not promised, docs/security.md",
    158: "by construction: pidfds and groups only, no number is kept to signal",
}


def shown() -> dict[int, list[str]]:
    """Every case number in the name of a test, and the tests."""
    found: dict[int, list[str]] = {}
    folders = (ROOT / "root" / "box", ROOT / "daemon", ROOT / "sandbox")
    for path in [path for folder in folders for path in folder.rglob("test_*.py")]:
        for name in re.findall(r"^ *def (test_case_\w+)", path.read_text(), re.MULTILINE):
            for number in re.findall(r"(?<=_)(\d{3})(?=_)", name):
                found.setdefault(int(number), []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


def places(test: str) -> set[str]:
    """Where a test runs, by its marks: on this host, in the guest, or in both."""
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text()
    of_all = re.search(r"^pytestmark = .*$", text, re.MULTILINE)
    above = text[: text.index(f"def {name}(")].rpartition("\n\n")[2]
    marks = above + (of_all[0] if of_all else "")
    if "mark.vm" not in marks:
        return {"host"}
    return {"host", "guest"} if "mark.root" in marks else {"guest"}


def test_every_case_is_shown_or_decided_otherwise():
    """All 160, each once: pytest -s prints the list, and where each is tried. Most are in both places."""
    cases = shown() | {number: [test] for number, test in ELSEWHERE.items()}
    everywhere = set()
    for number in range(1, 161):
        for test in cases.get(number, []):
            print(f"{number:3} {test}: {', '.join(sorted(places(test)))}")
        if number in DECIDED:
            print(f"{number:3} decided: {DECIDED[number]}")
        elif set().union(*map(places, cases[number])) == {"host", "guest"}:
            everywhere.add(number)
    print(f"{len(everywhere)} on this host and in the guest")
    assert len(everywhere) > 100
    assert sorted([*shown(), *ELSEWHERE, *DECIDED]) == list(range(1, 161))


def test_the_tests_that_show_cases_elsewhere_exist():
    """A test that is renamed or removed takes its case with it."""
    for number, place in ELSEWHERE.items():
        path, _, name = place.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), number
