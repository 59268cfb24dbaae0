"""sed and awk: what their scripts and options run, read and rewrite."""

from __future__ import annotations

import pytest
from tests.sandbox.shell.inner.support import changed, look, read, tier


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("sed -n '1,5p' a", "safe"),
        ("sed 's/e/w/g' a", "safe"),
        ("sed -e 'w /dev/stdout' a", "safe"),
        ("sed --sandbox -e 'e rm -rf src' a", "safe"),
        ("sed -f s.sed a", "safe"),
        ("sed -f - a <<< 's/a/b/'", "safe"),
        ("sed -f - a <<< 'w out'", "sequential"),
        ("sed -f w.sed a", "sequential"),
        ("sed -i s/a/b/ a", "sequential"),
        ("sed 'W out' a", "sequential"),
        ("sed 's/a/b/w out' a", "sequential"),
        ("sed -f e.sed a", "dangerous"),
        ("sed '1e rm -rf src' a", "dangerous"),
        ("sed 's/a/b/e' a", "dangerous"),
        ("sed e a", "dangerous"),
        ("awk '{ print $1 }' a", "safe"),
        ("awk -f p.awk a", "safe"),
        ("awk -f /dev/stdin a <<< '{ print }'", "safe"),
        ("awk 'BEGIN { while ((getline l < \"a\") > 0) print l }'", "safe"),
        ("awk '{ print > \"/dev/stderr\" }' a", "safe"),
        ("awk 'BEGIN { \"date\" | getline d; print d }'", "safe"),
        ("awk -i inplace 1 a", "sequential"),
        ("awk -l readdir 1 a", "sequential"),
        ("awk '{ print >> $1 }' a", "sequential"),
        ("awk -f w.awk a", "sequential"),
        ("awk 'BEGIN { system(\"rm -rf src\") }'", "dangerous"),
        ("awk '{ print | \"sh\" }' a", "dangerous"),
        ("awk '{ $1 | getline x }' a", "dangerous"),
        ("awk -f s.awk a", "dangerous"),
    ],
)
def test_tiers(command: str, expected: str) -> None:
    files = {
        "s.sed": "# comment\ns/a/b/\n",
        "w.sed": "w out\n",
        "e.sed": "1e rm -rf src\n",
        "p.awk": "{ print }\n",
        "w.awk": '{ print > "out" }\n',
        "s.awk": 'BEGIN { system("rm -rf src") }\n',
    }
    assert tier(command, files) == expected, look(command, files).reasons


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("sed -i s/a/b/ d/f", {"/work/project/d/f"}),
        ("sed -i.bak s/a/b/ d/f", {"/work/project/d/f", "/work/project/d/f.bak"}),
        ("sed -i'old-*' s/a/b/ d/f", {"/work/project/d/f", "/work/project/d/old-f"}),
        ("sed --in-place=/srv/* s/a/b/ d/f", {"/work/project/d/f", "/srv/f"}),
        ("awk -i inplace 1 d/f", {"/work/project/d/f"}),
        ("sed 's/a/b/w /srv/x' f", {"/srv/x"}),
        ("awk '{ print > \"/srv/x\" }' f", {"/srv/x"}),
    ],
)
def test_what_is_written_is_named(command: str, paths: set[str]) -> None:
    assert set(changed(look(command))) == paths


def test_what_is_read_is_named() -> None:
    assert read(look("sed -f s.sed -e 'r /srv/x' a", {"s.sed": "p"})) == {
        "/work/project/s.sed",
        "/work/project/a",
        "/srv/x",
    }
    assert read(look("awk '{ getline l < \"/srv/x\" }' a")) == {"/work/project/a", "/srv/x"}
