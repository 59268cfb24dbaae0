"""How two commands get along."""

from __future__ import annotations

import pytest

from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.relations import relate


@pytest.mark.parametrize(
    ("first", "second", "relation", "code"),
    [
        ("ls", "cat notes.txt", "independent", None),
        ("cat notes.txt", "sort notes.txt", "independent", None),
        ("echo a > x", "echo b > y", "independent", None),
        ("echo a > x", "cat x", "dependent", "read-after-write"),
        ("cat x", "echo a > x", "conflicting", "write-after-read"),
        ("echo a > x", "echo b > x", "conflicting", "write-after-write"),
        ("echo a >> x", "echo b >> x", "conflicting", "append-append"),
        ("touch src/new", "make", "conflicting", "write-after-write"),
        ("make", "cat src/a.c", "dependent", "read-after-write"),
        ("cat src/*.c", "sed -i s/a/b/ src/a.c", "conflicting", "write-after-read"),
        ("cat src/*.h", "sed -i s/a/b/ src/a.c", "independent", None),
        ("cat x", "rm x", "dangerous", "delete"),
        ("rm x", "cat x", "dangerous", "delete"),
        ("echo a > x", "rm -r .", "dangerous", "create-delete"),
        ("touch $X", "cat src/a.c", "dependent", "read-after-write"),
        ("ls", "reboot", "dangerous", "machine"),
        ("systemctl restart x", "ip link set y down", "critical", "machine"),
        ("systemctl restart x", "systemctl stop y", "conflicting", "both-service"),
        ("ps aux", "kill 1", "dependent", "process"),
        ("git add a", "git commit -m x", "conflicting", "write-after-write"),
        ("cd /srv/a && make", "cd /srv/b && make", "independent", None),
    ],
)
def test_pairs(first: str, second: str, relation: str, code: str | None, facts) -> None:
    got, ties = relate(analyse(first, facts).effects, analyse(second, facts).effects)
    assert got == relation, ties
    assert code is None or code in {tie.code for tie in ties}


def test_caches_are_shared(facts) -> None:
    """Two projects may fill the same cache: the tool locks it."""
    first, second = analyse("cd /srv/a && npm ci", facts).effects, analyse("cd /srv/b && npm ci", facts).effects
    assert relate(first, second) == ("independent", ())
