"""What a launcher leaves that ends in order: good for the next one, in the same boot, once."""

from __future__ import annotations

import json
import os

from cbx_sandbox.box import testament


def test_the_next_launcher_knows_what_was_started_and_only_the_next_one(tmp_path):
    """What that one starts itself, the word does not name: it must not be there for a third."""
    path = str(tmp_path / "launcher.sock")
    testament.leave(path, ["1", "2-3"])
    assert testament.take(path) == ["1", "2-3"]
    assert testament.take(path) is None
    assert os.listdir(tmp_path) == []


def test_a_launcher_that_was_killed_leaves_no_word(tmp_path):
    """Nobody knows then: that is not the same as that nothing was started."""
    assert testament.take(str(tmp_path / "launcher.sock")) is None


def test_the_word_of_another_boot_says_nothing(tmp_path):
    """A job of this boot could have the same number as one of that."""
    path = str(tmp_path / "launcher.sock")
    testament.leave(path, ["1"])
    left = tmp_path / f"launcher.sock{testament.SUFFIX}"
    left.write_text(json.dumps(json.loads(left.read_text()) | {"boot": "another"}))
    assert testament.take(path) is None
    assert not left.exists()


def test_half_a_word_says_nothing(tmp_path):
    """Whatever broke it."""
    path = str(tmp_path / "launcher.sock")
    testament.leave(path, ["1"])
    left = tmp_path / f"launcher.sock{testament.SUFFIX}"
    left.write_bytes(left.read_bytes()[:-5])
    assert testament.take(path) is None
    assert not left.exists()


def test_a_word_that_cannot_be_written_is_none(tmp_path):
    """The launcher ends all the same."""
    path = str(tmp_path / "gone" / "launcher.sock")
    testament.leave(path, ["1"])
    assert testament.take(path) is None


def test_what_a_crash_left_of_an_earlier_word_does_not_matter(tmp_path):
    """A launcher that was killed while it wrote: the next one's word is whole."""
    path = str(tmp_path / "launcher.sock")
    unfinished = tmp_path / f"launcher.sock{testament.SUFFIX}.new"
    unfinished.write_text("half a w")
    unfinished.chmod(0o400)
    testament.leave(path, ["7"])
    assert testament.take(path) == ["7"]
    assert not unfinished.exists()
