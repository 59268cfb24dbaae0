# ruff: noqa: E501 -- tables of commands, a row a line
"""Which files a patch changes is read from the patch, where that can be had."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.inner.patches import files

PLAIN = "--- a/src/a.c\t2024-05-01\n+++ b/src/a.c\n@@ -1 +1 @@\n-x\n+y\n"
NEW = "--- /dev/null\n+++ b/src/new.c\n@@ -0,0 +1 @@\n+x\n"
RENAME = "diff --git a/src/a.c b/src/c.c\nrename from src/a.c\nrename to src/c.c\n"
CONTEXT = "*** a/src/a.c\n--- b/src/a.c\n***************\n*** 1,2 ****\n! x\n"


@pytest.mark.parametrize(
    ("text", "strip", "expected"),
    [
        (PLAIN, 1, ("src/a.c",)),
        (PLAIN, 0, ("a/src/a.c", "b/src/a.c")),
        (PLAIN, None, ("a/src/a.c", "a.c", "b/src/a.c")),
        (NEW, 1, ("src/new.c",)),
        (RENAME, 1, ("src/a.c", "src/c.c")),
        (CONTEXT, 1, ("src/a.c",)),
        (PLAIN + NEW, 1, ("src/a.c", "src/new.c")),
        ("no patch at all\n", 1, None),
        ("--- a/../../etc/passwd\n+++ b/../../etc/passwd\n", 1, None),
        ('--- "a/odd\\tname"\n+++ "b/odd\\tname"\n', 1, None),
    ],
)
def test_a_patch_names_its_files(text: str, strip: int | None, expected: tuple[str, ...] | None) -> None:
    assert files(text, strip) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("patch -p1 < fix.patch", {"/work/project/src/a.c": "literal"}),
        ("patch -p1 -i fix.patch", {"/work/project/src/a.c": "literal"}),
        ("patch -b notes.txt fix.patch", {"/work/project/notes.txt": "literal", "/work/project/notes.txt.orig": "literal"}),
        ("patch -o out notes.txt fix.patch", {"/work/project/out": "literal"}),
        ("patch -d src -p2 -i ../fix.patch", {"/work/project/src/a.c": "literal"}),
        ("patch -p1 --dry-run -i fix.patch", {}),
        ("git apply fix.patch", {"/work/project/src/a.c": "under"}),
        ("git apply --cached fix.patch", {"/work/project/.git": "under"}),
        ("git apply --check fix.patch", {}),
        # What is not known, or only later, stays anywhere in the project.
        ("patch -p1 < $X", {"/work/project": "under"}),
        ("patch -p1 -i missing.patch", {"/work/project": "under"}),
        ("sed -i s/a/b/ fix.patch; patch -p1 < fix.patch",
         {"/work/project/fix.patch": "literal", "/work/project": "under"}),
        ("git apply -p$N fix.patch", {"/work/project": "under"}),
    ],
)  # fmt: skip
def test_what_a_patch_changes(command: str, expected: dict[str, str], facts: StaticFacts) -> None:
    facts = replace(
        facts, files=facts.files | {"/work/project/fix.patch": "file"}, texts={"/work/project/fix.patch": PLAIN}
    )
    effects = analyse(command, facts).effects.paths
    assert {one.path: one.certainty.value for one in effects if one.access is not Access.READ} == expected
