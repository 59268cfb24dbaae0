# ruff: noqa: E501 -- tables of commands, a row a line
"""The reader accepts what bash accepts, refuses what bash refuses, and two witnesses watch it."""

from __future__ import annotations

import shutil

import pytest
from tests.fuzz.readings import bash_accepts

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.expansions import Expansions
from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.syntax import Case, For, Group, If, Loop, Pipeline, Sequence, Simple, Unreadable, Word
from cbx_sandbox.shell.witness import unseen

VALID = [
    "a | b |& c && d || e; f & g",
    "if a; then b; elif c; then d; else e; fi > out",
    "while a; do b; done < in | c",
    "until a\ndo\nb\ndone",
    "for x in a b; do c; done",
    "for x; do c; done",
    "for ((i = 0; i < 3; i++)); do a; done",
    "for ((;;)) { a; }",
    "select x in a b; do break; done",
    "case $x in (a|b) c ;; *) d ;& e) f ;;& esac",
    "case x in esac",
    "f() { a; }; function g { b; }; h() (c)",
    "coproc NAME { a; }; coproc b",
    "[[ -f a && ! ( $b == c* || d =~ ^(x|y z)$ ) ]]",
    "(( a += b[2] << 3 )) && echo $(( (1 + 2) * $(c) )) $[4/2]",
    "a=(1 $(b) [3]=c) d+=e f[1+1]=g h",
    "x=${a:-b} ${a:?} ${#a} ${!a} ${a[@]:1:2} ${a//x/y} ${a^^} ${a@Q} ${a%%*.} ${#} ${?}",
    "cat <<A <<-'B' | c\nx $(y)\nA\n\tz\n\tB\nd",
    "cat <<'A'\n$(no)\nA\n",
    "cat <<A\nnever ends",
    "a <<< b 2>&1 &> c &>> d >| e <> f 3>&- {fd}> g >& h",
    "diff <(a) >(b)",
    'echo `a \\`b\\` c` "`d`"',
    "echo $'a\\n\\x41\\'' $\"b $c\" \"${d:-'e'}\"",
    "! a; ! ! b; time -p c; time",
    "a \\\n  b # c\n# d",
    "echo {a,b{c,d}}e {1..3} ~ ~user/x",
    "a=1 b=2",
    "> out",
    'echo a#b $# "#"',
    "{ a; } 2> b; (c) > d",
    "if [ a ]; then :; fi; [ b ]",
    "echo }",
    "echo if then; echo {",
    "shopt -s extglob\nls !(a|b)",
    "time; ! ; a | time b; if time; then a; fi",
    "x[a b]c; x[1]=(a); for $x in a; do b; done; for x\n{ a; }",
    "[[ a =~ b|c && ! -n d\n]]; [[ -a b ]]",
    "echo $(cat <<E\nx\nE)",
    "cat <<$v <<`a`\n1\n$v\n2\n`a`",
    "case x in # a\nb) c;; esac; r=(#a\nb)",
    "for x in <(a); do b; done",
]
INVALID = [
    "a |", "&& a", "a ;; b", "if a; then; fi", "if a; then b", "while a; do done", "for in x; do a; done; done", "(a", "a)", "()",
    "{ a;", "} a", "a &&", "case x in a) b", "echo $(a", "echo ${a", "echo 'a", 'echo "a', "echo `a", "a > ", "a (b)", "f() a", "[[ a", "[[ ]]",
    "a <(", "echo ${}", "ls !(a)", "done", "a=(b", "esac", "x() { }", "a\x00b",
    "a | !", "a | ! b", "time &", "(time)", "{ ! }", "! && a", "a <#b", "case #x in a) b;; esac", "[[ -n ]]; a", "[[ a\n]]; b", "[[ a == #b ]]",
    "for ((a;b)); do c; done", "for x { a; }", "for x in<(a); do b; done", "]]", "r=()r=()", "x[a", "a $(time { b; })", "a $(r=(b\\;))",
    "[[ a =~ b;c ]]; d",
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
def test_reads_what_bash_reads(text: str) -> None:
    parse(text)


@pytest.mark.parametrize("text", INVALID)
def test_refuses_what_bash_refuses(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


# Without running anything bash cannot know that extglob is on, and it finds these two wrong only when it runs them.
UNDECIDED = {"shopt -s extglob\nls !(a|b)", "[[ ]]", "echo ${}", "a\x00b"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("text", [text for text in [*VALID, *INVALID] if text not in UNDECIDED])
def test_bash_agrees(text: str) -> None:
    """The tables above are not our opinion."""
    assert bash_accepts([text]) == [text in VALID]


def test_structure() -> None:
    tree = parse("a; b | c; if d; then e; fi; for x in f; do g; done; (h); while i; do j; done; case k in l) m;; esac")
    kinds = [type(command) for command, _ in tree.items]
    assert kinds == [Simple, Pipeline, If, For, Group, Loop, Case]


def test_positions_are_those_of_the_text() -> None:
    text = "ls  -la | grep 'x y'"
    pipeline = parse(text).items[0][0]
    assert isinstance(pipeline, Pipeline)
    words = [word for command in pipeline.commands if isinstance(command, Simple) for word in command.words]
    assert [text[word.start : word.end] for word in words] == ["ls", "-la", "grep", "'x y'"]


def test_operators_stay_with_their_commands() -> None:
    tree = parse("a & b && c; d")
    assert [operator for _, operator in tree.items] == ["&", ";", ""]
    assert isinstance(tree.items[1][0], Sequence)


def test_heredoc_bodies_wait_for_their_line() -> None:
    command = parse("cat <<A | wc; ls\none $x\nA\n").items[0][0]
    assert isinstance(command, Pipeline)
    first = command.commands[0]
    assert isinstance(first, Simple)
    here = first.redirects[0].here
    assert here is not None
    assert isinstance(here.body, Word)
    assert here.expands


@pytest.mark.parametrize(
    "opener", ["$(", "${x:-", "(", "{ ", "`", '"$(', "$((", "if ", "while ", "[[ ( ", "case x in ", "<("]
)
def test_nesting_is_bounded(opener: str, facts) -> None:
    """A thousand levels end in a verdict."""
    assert analyse(opener * 1000, facts).tier == "DANGEROUS_ISOLATED"


# bash joins lines that end in a backslash before it looks at what they say, here-documents included, and inside $( … ) a
# here-document ends where its delimiter begins a line that could close the substitution.
JOINED = [
    'echo "$\\\n(rm -rf src)"',
    "echo $\\\n(rm -rf src)",
    "cat <<E\n$\\\n(rm -rf src)\nE",
    'echo "${x:-$\\\n(rm -rf src)}"',
    "echo $(( $\\\n(rm -rf src) ))",
    "cat <<E\nE\\\n\nrm -rf src\nE",
    "x=(ls); r\\\nm -rf src",
    "x=ls; x\\\n=rm; $x -rf src",
    "xy=rm; x=ls; $x\\\ny -rf src",
    "i\\\nf :; th\\\nen rm -rf src; f\\\ni",
    "ti\\\nme rm -rf src",
    "echo $(cat <<'E'\nE; rm -rf src)\n(\nE\n)",
    "echo $(cat <<-E\n\tErm\n\tE; rm -rf src)\n(\nE\n)",
]


@pytest.mark.parametrize("text", JOINED)
def test_lines_are_joined_as_bash_joins_them(text: str, facts) -> None:
    assert analyse(text, facts).tier == "DANGEROUS_ISOLATED"


@pytest.mark.parametrize(
    "text",
    ["echo '$\\\n(rm -rf src)'", "cat <<'E'\n$\\\n(rm -rf src)\nE\\\n\nE", "echo $(cat <<'E'\n E; rm -rf src)\nE\n)"],
)
def test_quoted_lines_are_not_joined(text: str, facts) -> None:
    """The control: the same words where they are text."""
    assert analyse(text, facts).tier == "SAFE_PARALLEL"


@pytest.mark.parametrize("text", ["ls\r", "ls \r\n-la", "ls\x00", "echo \ue000"])
def test_odd_characters_are_not_read_over(text: str, facts) -> None:
    analysis = analyse(text, facts)
    assert analysis.opaque
    assert analysis.tier == "DANGEROUS_ISOLATED"


@pytest.mark.parametrize("text", ["ls\u00a0-la", "git\u3000status", "rm\u200b x"])
def test_odd_blanks_belong_to_the_word(text: str, facts) -> None:
    """What only looks like a blank is part of the program's name, which nobody knows."""
    assert analyse(text, facts).tier.rank >= 2


def test_a_command_that_a_witness_finds_makes_the_text_opaque() -> None:
    assert unseen("ls; rm -rf /", frozenset({"ls", "rm"})) is None
    assert unseen("ls; rm -rf /", frozenset({"ls"})) == "rm"
    assert unseen("echo $(rm x)", frozenset({"echo"})) == "rm"


@pytest.mark.parametrize("text", ["\udcff\udcfe", "caf\udce9 -x", "ls; \udce9"], ids=["alone", "with a word", "after"])
def test_a_command_whose_name_is_no_text_is_seen_by_all(text: str) -> None:
    """Bytes that are no UTF-8 are not told from text by a witness that sees others in their place."""
    assert not analyse(text, StaticFacts()).opaque


def test_a_witness_that_cannot_parse_is_no_evidence() -> None:
    assert unseen("echo $(( 1 + 2 )) <<< x", frozenset({"echo"})) is None


def test_a_megabyte_is_answered(facts) -> None:
    assert analyse("echo " + "x " * 500_000, facts).tier == "DANGEROUS_ISOLATED"
    assert analyse("cat <<'EOF'\n" + "line\n" * 150_000 + "EOF\n", facts).tier == "SAFE_PARALLEL"


@pytest.mark.parametrize("text", ["(" * 80_000, "((" * 40_000, "((( " * 20_000, "echo $((" + "(" * 80_000])
def test_a_text_of_parentheses_is_not_read_to_its_end(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up where it gets too deep: what is read does not grow with the length."""
    read: list[int] = []
    count = Expansions._count

    def counted(reader: Expansions, char: str, opened: int, closer: str) -> int:
        read.append(reader.pos)
        return count(reader, char, opened, closer)

    monkeypatch.setattr(Expansions, "_count", counted)
    with pytest.raises(Unreadable):
        parse(text)
    assert max(read) < 1000
    assert len(read) < 1000


def test_parentheses_that_people_write_are_read() -> None:
    depth = 100
    parse(f"echo $(({'(' * depth}1{')' * depth}))")
    parse(f"(({'(' * depth}1{')' * depth}))")
