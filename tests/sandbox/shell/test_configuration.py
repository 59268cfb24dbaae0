"""What programs read without being told to."""

from __future__ import annotations

import tomllib

import pytest

from cbx_sandbox.shell import configuration, rules
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.tiers import SAFE

STARTED = {"login-shell", "interactive-shell"}


def read(command: str, facts) -> dict[str, str]:
    """Return what a command is predicted to read, and how certainly."""
    analysis = analyse(command, facts)
    assert analysis.tier is SAFE, analysis.reasons
    return {effect.path: effect.certainty.value for effect in analysis.effects.paths if effect.access is Access.READ}


@pytest.mark.parametrize(
    ("command", "path", "certainty"),
    [
        ("git status", "/etc/gitconfig", "literal"),
        ("/usr/bin/git log", "/home/user/.config/git", "under"),
        ("curl -s https://example.org", "/home/user/.curlrc", "literal"),
        ("apt list", "/etc/apt", "under"),
        ("sudo git status", "/etc/gitconfig", "literal"),
        ("bash -lc ls", "/etc/profile.d", "under"),
        ("sh --login -c ls", "/home/user/.profile", "literal"),
        ("bash -ic ls", "/home/user/.bashrc", "literal"),
    ],
)
def test_a_program_reads_its_own_configuration(facts, command: str, path: str, certainty: str) -> None:
    assert read(command, facts)[path] == certainty


@pytest.mark.parametrize("command", ["ls", "bash -c ls", "echo git", "cat curl"])
def test_others_do_not(facts, command: str) -> None:
    """The control: what is in the home directory and in /etc is read by those alone that are known to."""
    assert not [path for path in read(command, facts) if path.startswith(("/etc/", "/home/user/."))]


def test_the_file_is_what_a_parser_of_toml_reads() -> None:
    """Read line by line, it must say the same; every program has a rule, or its configuration would never be met."""
    expected: dict[str, tuple[str, ...]] = {}
    for programs, places in tomllib.loads(configuration.text()).items():
        for program in programs.split():
            expected[program] = (*expected.get(program, ()), *places.split())
            assert program in STARTED or rules.find(program), program
        assert all(place.startswith(("/etc/", "~/")) for place in places.split())
    assert {program: configuration.places(program) for program in expected} == expected
