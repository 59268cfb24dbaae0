"""What is shown to people cannot drive their terminal."""

import pytest

from cbx_supervisor.client.failure import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("größe 大", "größe 大"),
        ("a\nb", r"a\nb"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), r"\xff\xfe"),
        ("tab\there", r"tab\there"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    """Escape sequences, line ends, direction overrides and bytes that are no UTF-8; letters stay."""
    assert printable(text) == shown
