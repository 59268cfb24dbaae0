"""The audit trail's chain: whatever is done to a trail afterwards is found, and the entry is named."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_supervisor.model import chain


def trail(count, seed=""):
    links, previous = [], chain.GENESIS
    for number in range(1, count + 1):
        entry = chain.Entry(number, 1000.25 + number, 0, 7, "ended", f"job {number}{seed}", '{"status":0}')
        links.append(chain.Link(entry, previous, chain.digest(previous, entry)))
        previous = links[-1].hash
    return links


def named(links, **more):
    return [problem.id for problem in chain.verify(links, **more).problems]


def test_what_was_written_down_is_intact():
    """The control: an untouched trail has no problem, and a head to note down."""
    links = trail(5)
    verdict = chain.verify(links, last=5, anchors=[chain.Anchor(3, links[2].hash)])
    assert verdict == chain.Verdict(5, 1, chain.Anchor(5, links[4].hash), ())
    assert chain.verify([], last=0) == chain.Verdict(0, None, None, ())


def test_the_canonical_record_is_documented():
    """Other programs can compute it: the bytes are fixed."""
    entry = chain.Entry(7, 1.5, None, 3, "ended", "job \u00e9", '{"a":1}')
    expected = (
        b'{"action":"ended","at_us":1500000,"detail":"{\\"a\\":1}","id":7,"pid":3,"subject":"job \\u00e9","uid":null}'
    )
    assert chain.canonical(entry) == expected


FIELDS = [("at", 5.0), ("uid", 1), ("pid", None), ("action", "x"), ("subject", "job 9"), ("detail", '{"status":1}')]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_changed_entry_is_named(field, value):
    """Whichever field it was."""
    links = trail(9)
    links[3] = dataclasses.replace(links[3], entry=dataclasses.replace(links[3].entry, **{field: value}))
    (problem,) = chain.verify(links).problems
    assert (problem.id, "was changed" in problem.text) == (4, True)


@given(st.data())
def test_removed_entries_are_named(data):
    """At the beginning, in the middle and at the end."""
    count = data.draw(st.integers(2, 12))
    first = data.draw(st.integers(1, count))
    last = data.draw(st.integers(first, count))
    links = [link for link in trail(count) if not first <= link.entry.id <= last]
    verdict = chain.verify(links, last=count)
    assert [problem.id for problem in verdict.problems] == [first]
    assert "missing" in verdict.problems[0].text


def test_reordered_entries_are_named():
    """Two that changed their numbers, and all that depends on them."""
    links = trail(6)
    third, fourth = links[2], links[3]
    links[2] = dataclasses.replace(fourth, entry=dataclasses.replace(fourth.entry, id=3))
    links[3] = dataclasses.replace(third, entry=dataclasses.replace(third.entry, id=4))
    texts = {problem.id: problem.text for problem in chain.verify(links).problems}
    assert texts[3] == "entry 3 was entry 4: they were reordered"
    assert texts[4] == "entry 4 was entry 3: they were reordered"


def test_a_trail_that_was_written_anew_is_found_by_an_anchor():
    """Its own hashes fit, so nothing else can tell; the control is the one without an anchor."""
    noted = chain.Anchor(4, trail(6)[3].hash)
    forged = trail(6, seed=" forged")
    assert named(forged) == []
    assert named(forged, anchors=[noted]) == [4]
    assert named(trail(3), anchors=[noted]) == [4]  # missing


def test_a_beginning_may_go_that_is_said_to_be_gone():
    """An entry that names the last hash that was removed lets the rest stand; without it the gap is a problem."""
    links = trail(6)
    text = f'{{"up_to":3,"hash":"{links[2].hash}"}}'
    entry = chain.Entry(7, 2000.0, 0, None, chain.TRIMMED, "audit", text)
    said = chain.Link(entry, links[5].hash, chain.digest(links[5].hash, entry))
    assert named([*links[3:], said], last=7, anchors=[chain.Anchor(3, links[2].hash)]) == []
    assert named([*links[4:], said], last=7) == [1]
    assert named(links[3:], last=6) == [1]
