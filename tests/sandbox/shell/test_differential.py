"""Nowhere fewer commands than other parsers see; what they make up is named, with the reason."""

from __future__ import annotations

import random

import pytest
from tests.fuzz import differential, readings
from tests.fuzz.grammar import generate


def test_no_peer_sees_a_command_more() -> None:
    """The committed sample, against three peers."""
    texts = differential.sample()
    compared, differences = differential.compare(texts)
    assert compared > 0.8 * len(texts)
    assert [one for one in differences if one.reason is None] == []


@pytest.mark.parametrize("misreading", differential.misreadings(), ids=lambda one: f"{one.peer}: {one.name}")
def test_each_class_of_misreadings_is_real(misreading: differential.Misreading) -> None:
    """Its own example shows it, and bash takes the example."""
    _, differences = differential.compare([misreading.example])
    assert (misreading.peer, misreading.reason) in {(one.peer, one.reason) for one in differences}
    assert readings.bash_accepts([misreading.example]) == [True]


def test_shfmt_sees_no_command_more_in_generated_texts() -> None:
    texts = [generate(random.Random(seed).randrange, depth=1) for seed in range(200)]
    pairs = zip(texts, readings.shfmt(texts), map(readings.ours, texts), strict=True)
    assert [text for text, peer, own in pairs if readings.missing(peer, own)] == []


def test_a_command_less_would_be_noticed() -> None:
    """The control: the comparison fails when cbx lacks what a peer has."""
    peer = readings.shfmt(["a; b $(c)"])[0]
    assert readings.missing(peer, readings.ours("a; b")) == {"c": 1}
    assert readings.missing(peer, readings.ours("a; b `c`")) == {}


def test_many_texts_in_one_process_are_told_apart() -> None:
    """Texts that reach beyond their end, or end the batch, are read alone."""
    texts = ["a", "cat <<E\nb", "'", "c \\", "d; e", "f <<E\n$(g)\nE", "cbx_differential_mark 3", "(", "h"] * 9
    alone = [readings.shfmt([text])[0] for text in texts]
    assert readings.shfmt(texts) == alone
