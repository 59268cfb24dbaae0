# ruff: noqa: E501 -- tables of commands, a row a line
"""What holds for every text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse, analyse_argv
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.tiers import SAFE, SEQUENTIAL

PIECES = [
    "ls", "rm", "-rf", "cat", "echo", "eval", "find", ".", "-exec", "{}", ";", "\\;", "|", "||", "&&", "&", "\n", " ", "$(", ")", "`", '"', "'", "$x",
    "${x:-", "}", "{", "((", "))", "$((", "[[", "]]", "<<E\n", "\nE\n", "<<<", ">", ">>", "<(", ">&", "2>&1", "if", "then", "fi", "for", "in", "do", "done",
    "while", "case", "esac", "f()", "function", "coproc", "time", "!", "#", "\\", "*", "?", "[a]", "~", "=", "a=(", "+=", "sudo", "env", "xargs", "bash", "-c",
    "awk", "sed", "s/a/b/e", "python3", "print(1)", "git", "-c", "alias.x=!id", "\r", "\x00", "\u3000", "é", "\ue000", "\ud800",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join),
)
PLAIN = st.sampled_from(
    [
        "ls",
        "cat notes.txt",
        "grep x y | wc -l",
        "git status",
        "date; id",
        "echo hi",
        "sort a b",
        "find . -name x",
        "true",
    ]
)
DANGER = st.sampled_from(["rm -rf /", "dd if=/dev/zero of=/dev/sda", "kill -9 1", "reboot", "apt install x"])
WRAP = st.sampled_from(
    [
        "sudo {}",
        "env {}",
        "nice {}",
        "timeout 5 {}",
        "nohup {}",
        "command {}",
        " ( {} )",
        "{{ {}; }}",
        "ls; {}",
        "! {}",
        "$({})",
        "echo $({})",
        "if {}; then :; fi",
        "x=$({})",
    ]
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_every_text_gets_an_answer(text: str) -> None:
    analysis = analyse(text, StaticFacts())
    assert analysis.text == text
    assert analysis.reasons
    assert 1 <= analysis.priority <= 10
    size = len(text.encode("utf-8", "surrogatepass"))
    assert all(reason.span is None or 0 <= reason.span.start <= reason.span.end <= size for reason in analysis.reasons)
    assert all(effect.path.startswith("/") for effect in analysis.effects.paths)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=8))
def test_every_argv_gets_an_answer(argv: list[str]) -> None:
    assert analyse_argv(argv, StaticFacts()).reasons


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_an_answer_is_always_the_same(text: str) -> None:
    assert analyse(text, StaticFacts()) == analyse(text, StaticFacts())


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_safe_means_that_nothing_is_changed(text: str) -> None:
    """Never safe with a write, an effect on the host, or a part that could not be read."""
    analysis = analyse(text, StaticFacts())
    if analysis.tier is SAFE:
        assert all(effect.access is Access.READ for effect in analysis.effects.paths)
        assert not analysis.effects.host
        assert not analysis.opaque
    if analysis.tier.rank >= SEQUENTIAL.rank:
        effects = analysis.effects
        assert any(effect.access is not Access.READ for effect in effects.paths) or effects.host or effects.network


@settings(max_examples=100, deadline=None)
@given(
    PLAIN,
    st.sampled_from([">", ">>", ">|", "&>", "&>>", "2>", "1>", ">&"]),
    st.sampled_from(["out", "src/out", "~/out", "$X", "/tmp/x"]),
)
def test_a_redirection_to_a_file_is_never_safe(command: str, operator: str, target: str) -> None:
    assert analyse(f"{command} {operator} {target}", StaticFacts()).tier is not SAFE


@settings(max_examples=200, deadline=None)
@given(DANGER, st.lists(WRAP, max_size=5))
def test_wrapped_danger_is_never_below_sequential(command: str, wrappers: list[str]) -> None:
    for wrapper in wrappers:
        command = wrapper.format(command)
    assert analyse(command, StaticFacts()).tier.rank >= SEQUENTIAL.rank


@settings(max_examples=150, deadline=None)
@given(PLAIN, DANGER, st.sampled_from([";", "&&", "||", "|", "&", "\n"]))
def test_company_does_not_soften(plain: str, danger: str, operator: str) -> None:
    assert analyse(f"{plain} {operator} {danger}", StaticFacts()).tier.rank >= analyse(danger, StaticFacts()).tier.rank


@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet="abcdefghijklmnop", min_size=7, max_size=12),
    st.lists(st.sampled_from(["-x", "--help", "a", "b/c"]), max_size=3),
)
def test_unknown_programs_are_never_safe(name: str, args: list[str]) -> None:
    assert analyse(" ".join(["zz" + name, *args]), StaticFacts()).tier is not SAFE
