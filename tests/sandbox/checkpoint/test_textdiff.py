"""The bounded text diff: right on any two texts, and quick on hostile ones."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.checkpoint import textdiff

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30)


def patched(old, hunks):
    """Apply a unified diff, by its own words."""
    result, at = [], 0
    for line in hunks:
        if line.startswith("@@"):
            start, _, length = line.split()[1][1:].partition(",")
            start = int(start) - (1 if int(length or 1) else 0)
            result += old[at:start]
            at = start
            continue
        if line[0] in " -":
            assert old[at] == line[1:]
            at += 1
        if line[0] in " +":
            result.append(line[1:])
    return result + old[at:]


@given(LINES, LINES, st.integers(0, 4))
def test_patch_gives_the_new_text(old, new, context):
    """Applying the hunks to the old text gives the new one, and equal texts have none."""
    hunks = list(textdiff.unified(old, new, context))
    assert patched(old, hunks) == new
    assert bool(hunks) == (old != new)


@given(LINES, LINES)
@settings(max_examples=50, deadline=None)
def test_no_more_edits_than_diff(old, new):
    """The script of edits is a shortest one: as many lines as diff(1) --minimal has."""
    ours = [line for line in textdiff.unified(old, new) if line[0] in "+-"]
    script = 'diff --minimal <(printf "%s" "$1") <(printf "%s" "$2")'
    texts = ["".join(f"{line}\n" for line in lines) for lines in (old, new)]
    theirs = subprocess.run(["bash", "-c", script, "-", *texts], capture_output=True, text=True, check=False).stdout
    assert len(ours) == sum(line[0] in "<>" for line in theirs.splitlines())


@pytest.mark.timeout(120)
def test_hostile_texts_come_to_an_end():
    """Texts that have little in common do not cost their product: the middle is then replaced as a whole."""
    old = [f"{i % 7}" for i in range(100_000)]
    new = [f"{i % 5}" for i in range(100_000)]
    hunks = list(textdiff.unified(old, new))
    assert patched(old, hunks) == new
