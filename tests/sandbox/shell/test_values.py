"""What is known of names that a command works out: each prediction holds for every value that they can have."""

from __future__ import annotations

import pytest

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import marks
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Access, Certainty, PathEffect
from cbx_sandbox.shell.marks import DEEP, HOLE, OWN, PART
from cbx_sandbox.shell.overlaps import overlap
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE

PROJECT = "/work/project"
TEXTS = {"names": "a.c\nb c\n", "one": "a.c\n", "empty": "", "odd": "a\\tb\n", "CMakeLists.txt": "project(x)\n"}
FACTS = StaticFacts(
    env={"PATH": "/usr/bin:/bin", "HOME": "/home/user", "TMPDIR": "/run/tmp"},
    files={
        **{f"{PROJECT}/{name}": "file" for name in (*TEXTS, "a.tar", "a.zip")},
        **dict.fromkeys([PROJECT, *(f"{PROJECT}/{name}" for name in ("src", "out", ".git"))], "dir"),
    },
    texts={
        **{f"{PROJECT}/{name}": text for name, text in TEXTS.items()},
        f"{PROJECT}/sub/CMakeLists.txt": "add_library(x x.c)\n",
        f"{PROJECT}/bad/CMakeLists.txt": "file(WRITE x y)\n",
    },
    archives={f"{PROJECT}/a.tar": ("d", "d/x"), f"{PROJECT}/a.zip": ("y", "z")},
    trees={
        (f"{PROJECT}/.git", "v1", ""): ("src/a.c", "new/", "new/x"),
        (f"{PROJECT}/.git", "topic", ""): ("src/a.c",),
        (f"{PROJECT}/.git", "topic", "topic"): ("src/a.c", "src/b.c"),
        (f"{PROJECT}/.git", "HEAD", ""): (),
        (f"{PROJECT}/.git",): ("src/a.c", "notes"),
    },
)


def written(command: str) -> dict[str, str]:
    """Return what is changed, below the project, by how certain that is."""
    return {
        one.path.removeprefix(PROJECT).lstrip("/"): one.certainty.value
        for one in analyse(command, FACTS).effects.paths
        if one.access is not Access.READ
    }


L, P, U, X = (kind.value for kind in (Certainty.LITERAL, Certainty.PATTERN, Certainty.UNDER, Certainty.UNKNOWN))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        # parts of names: numbers and the like have no slash in them
        ("touch out/$RANDOM.txt", {"out/*.txt": P}),
        ("touch out/$$", {"out/*": P}),
        ("touch $x$RANDOM", {"": X}),
        ("touch out/$RANDOM/$x", {"out": X}),
        ("touch out/x$((1 + $y)).txt", {"out/x*.txt": P}),
        ("touch out/$(date +%F).log", {"out/*.log": P}),
        ("touch out/$(date +%Y-%m-%d).log", {"out/*.log": P}),
        ("touch out/$(date +%D).log", {"out": X}),
        ("x=a; [ -e y ] && x=b; touch out/$x", {"out/*": P}),
        ("x=a; [ -e y ] && x=../b; touch out/$x", {"out": X}),
        ("x=$RANDOM; touch out/${x%1}", {"out": X}),
        ("echo $RANDOM/x | { read y; touch out/$y; }", {"out": X}),
        ("select x in a b; do touch out/$x; done", {"out/a": L, "out/b": L, "out": L}),
        ("t=$(mktemp); echo x > $t", {"/run/tmp/tmp.*".lstrip("/"): P}),
        ("t=$(mktemp -p out); echo x > $t", {"out/tmp.*": P}),
        # what programs print
        ("touch $(basename src/x.c .c).o", {"x.o": L}),
        ("touch $(dirname src/x.c)/y", {"src/y": L}),
        ("for i in $(seq 2); do touch $i; done", {"1": L, "2": L}),
        ("seq 9 2 4 | xargs touch", {"": X}),
        ("printf -v p '%03d' 7; touch $p", {"007": L}),
        ("printf '%s\\0' a 'b c' | xargs -0 touch", {"a": L, "b c": L}),
        ("printf 'a b\\nc\\n' | xargs -d '\\n' touch", {"a b": L, "c": L}),
        ("seq 3 | xargs -n1 touch", {"1": L, "2": L, "3": L}),
        # names that are written down in files
        ("while read -r x; do touch $x; done < one", {"a.c": L}),
        ('while IFS= read -r x; do touch "$x"; done < names', {"a.c": L, "b c": L}),
        ("cat one | while read x; do touch $x; done", {"a.c": L}),
        ("while read -r x; do touch $x; done < empty", {"": X}),
        ("while read -r x y; do touch $x; done < one", {"": X}),
        ("while read x; do touch $x; done < odd", {"": X}),
        ("while read -r x; do touch $x; echo $x.o >> one; done < one", {"a.c": L, "one": L, "": X}),
        ("cat one; while read -r x; do touch $x; done", {"": X}),
        ("cat < one; echo $y | while read -r x; do touch $x; done", {"": X}),
        ("echo z > one; while read -r x; do touch $x; done < one", {"one": L, "z": L}),
        ("touch $(cat one)", {"a.c": L}),
        ("cat names | xargs -d '\\n' touch", {"a.c": L, "b c": L}),
        ('mapfile -t m < names; touch "${m[@]}"', {"a.c": L, "b c": L}),
        ('a=(src/*.c); rm "${a[0]}"', {"src/*.c": P}),
        ('a=(src/*.c); touch "${a[@]}"', {"src/*.c": P}),
        ("a=(x y); touch ${a[1]}", {"y": L}),
        # what find finds
        ("find src -name '*.o' -exec touch {} +", {"src/**.o": P}),
        ("find src -name '*.o' | xargs touch", {"src/**.o": P}),
        ("find src -name '*.o' -o -name x -exec touch {} +", {"src": X}),
        ("find src ! -name '*.o' -exec touch {} +", {"src": X}),
        ("find -L src -name '*.o' -exec touch {} +", {"": X}),
        ("find one -name 'o*' -exec touch {} +", {"one": X}),
        ("find src out -name '*.o' -exec touch {} +", {"": X}),
        ("for x in $(find src -name '*.o'); do touch $x; done", {"": X}),
        # a cd that did not fail
        ("cd src || exit 1; touch x", {"src/x": L}),
        ("cd src || { echo no; exit 1; }; touch x", {"src/x": L}),
        ("cd src || exit 1 & touch x", {"x": L}),
        ("exit() { :; }; cd src || exit; touch x", {"": X}),
        ("cd src || return; touch x", {"": X}),
        # archives
        ("tar xf a.tar", {"d": L, "d/x": L}),
        ("tar xf a.tar -C out --strip-components=1", {"out/x": L}),
        ("tar xf a.tar --transform s,d,e,", {"": U}),
        ("tar xf b.tar", {"": U}),
        ("cp x a.tar; tar xf a.tar", {"a.tar": L, "": U}),
        ("unzip a -d out", {"out/y": L, "out/z": L}),
        # git
        ("git checkout v1", {"src/a.c": L, "new": L, "new/x": L, ".git": U}),
        ("git checkout -f v1", {"": U, ".git": U}),
        ("git checkout v2", {"": U, ".git": U}),
        ("git reset --hard", {"src/a.c": L, "notes": L, ".git": U}),
        ("git merge topic", {"src/a.c*": P, ".git": U}),
        ("git merge v1", {"": U}),  # it may take a renamed directory along
        ("git rebase topic", {"src/a.c*": P, "src/b.c*": P, ".git": U}),
        ("git commit -am x; git checkout v1", {".git": U, "": U}),
        # builds
        ("cmake -S . -B out", {"out": U}),
        ("cmake -S sub -B out -DX=1", {"out": U}),
        ("cmake -S bad -B out", {"": U}),
        ("cmake -S . -B out -DCMAKE_TOOLCHAIN_FILE=x", {"": U}),
    ],
)  # fmt: skip
def test_what_is_written(command: str, expected: dict[str, str]) -> None:
    found = written(command)
    assert {path.removeprefix("/"): certainty for path, certainty in found.items()} == expected


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (f"a{HOLE}{PART}.c", "a*.c"),
        (f"{HOLE}{OWN}", "*"),
        (f"src/{HOLE}{DEEP}.c", "src/**.c"),
        (f"{HOLE}/{HOLE}{PART}", None),
        (f"{HOLE}{HOLE}{PART}", None),
    ],
)
def test_a_name_is_a_pattern_only_where_all_of_it_is_known(text: str, pattern: str | None) -> None:
    assert marks.pattern(text) == pattern
    assert marks.pattern(marks.squeeze(text)) == pattern


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("/p/**.o", "/p/a/b.o", True),
        ("/p/**.o", "/p/b.o", True),
        ("/p/**.o", "/p/b.c", False),
        ("/p/**.o", "/q/b.o", False),
        ("/p/*.zzz", "/p/*.py", False),
        ("/p/*.py", "/p/a*", True),
        ("/p/**.o", "/p/**.c", False),
        ("/p/**.o", "/p/x/*.o", True),
    ],
)
def test_patterns_meet_by_how_they_end(one: str, other: str, meet: bool) -> None:
    kind = Certainty.PATTERN if "*" in other else Certainty.LITERAL
    first, second = PathEffect(Access.WRITE, one, Certainty.PATTERN), PathEffect(Access.WRITE, other, kind)
    assert overlap(first, second) is meet
    assert overlap(second, first) is meet


def test_whoever_deletes_what_is_found_takes_what_lies_in_it() -> None:
    deleted = PathEffect(Access.DELETE, "/p/**.d", Certainty.PATTERN)
    assert overlap(deleted, PathEffect(Access.READ, "/p/x.d/y", Certainty.LITERAL))
    assert not overlap(deleted, PathEffect(Access.READ, "/p/x.e/y", Certainty.LITERAL))


@pytest.mark.parametrize(
    ("command", "dangerous"),
    [
        ("find / -name x -exec chmod +s {} +", True),
        ("find /etc -type f -exec sed -i s/a/b/ {} +", True),
        ("cp x /etc/$name", True),
        ("find . -type f -exec sed -i s/a/b/ {} +", False),
        ("mv x /dev/null", True),
        ("ln -sf x /dev/null", True),
        ("cp x /dev/null", False),
    ],
)
def test_parts_of_the_system_that_cannot_be_told(command: str, dangerous: bool) -> None:
    assert (analyse(command, FACTS).tier is DANGEROUS) is dangerous


def test_what_is_read_from_a_file_still_decides_the_tier() -> None:
    """A list in the project is trusted as a script in it is; what is not there to be read is not."""
    assert analyse("cat one | xargs cat", FACTS).tier is SAFE
    assert analyse("cat missing | sh", FACTS).tier is DANGEROUS
