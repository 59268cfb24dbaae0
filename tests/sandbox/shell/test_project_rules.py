"""A repository's own rules make things stricter and can loosen nothing."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.facts import HostFacts, StaticFacts
from cbx_sandbox.shell.analysis import Analysis, analyse
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.project_rules import FILE, MAX_BYTES
from cbx_sandbox.shell.tiers import SHORT, Tier

PATH = f"/work/project/{FILE}"


def facts(text: str | None) -> StaticFacts:
    return StaticFacts() if text is None else StaticFacts(files={PATH: "file"}, texts={PATH: text})


def with_rules(command: str, text: str | None) -> Analysis:
    return analyse(command, facts(text))


def notices(found: Analysis) -> list[str]:
    return [reason.text for reason in found.reasons if reason.code.startswith("project-rule")]


@pytest.mark.parametrize(
    ("text", "command", "tier"),
    [
        ('[ls]\ntier = "dangerous"', "ls", "dangerous"),
        ('[ls]\ntier = "dangerous"', "cat x && sudo env A=1 ls -l", "dangerous"),
        ('["deploy.sh"]\ntier = "dangerous"\nwhy = "ships"', "./scripts/deploy.sh now", "dangerous"),
        ('[git]\noptions = { "-f --force" = "dangerous" }', "git -C /work/project push --force", "dangerous"),
        ('[git]\noptions = { "-f --force" = "dangerous" }', "git -C /work/project push", "sequential"),
        ('[git.sub.push]\ntier = "dangerous"', "git -c a.b=c push", "dangerous"),
        ('[git.sub.push]\ntier = "dangerous"', "git log", "safe"),
        ('[make]\nwhen = [ { first = "release", tier = "dangerous" } ]', "make -j 4 release", "dangerous"),
        ('[make]\nwhen = [ { first = "release", tier = "dangerous" } ]', "make all", "conditional"),
        ('[cat]\nwrites = "project"', "cat x", "sequential"),
        ('[cat]\ntier = "conditional"', "cat x", "sequential"),
        ('[echo]\ntier = "sequential"', "echo x", "sequential"),
        ('[pip]\ntier = "dangerous"', "python3 -m pip install x", "dangerous"),
        ('[housetool]\noperands = "run"', "housetool 'rm -rf /'", "dangerous"),
    ],
)  # fmt: skip
def test_it_makes_things_stricter(text: str, command: str, tier: str) -> None:
    assert with_rules(command, text).tier is SHORT[tier]


def test_without_the_file_nothing_changes() -> None:
    assert with_rules("ls", None) == with_rules("ls", '[housetool]\ntier = "dangerous"')


@pytest.mark.parametrize("command", ["rm -rf build", "apt install x", "git push", "make", "./build.sh"])
def test_a_lower_tier_is_ignored_and_says_so(command: str) -> None:
    name = command.split(maxsplit=1)[0].removeprefix("./")
    found = with_rules(command, f'["{name}"]\ntier = "safe"')
    plain = with_rules(command, None)
    assert (found.tier, found.effects) == (plain.tier, plain.effects)
    assert any("asks for SAFE_PARALLEL" in text for text in notices(found))


@pytest.mark.parametrize(
    "key",
    ["network = true", "processes = true", 'handler = ""', "benign = [1]", "local = true", "wrap = 0", "extend = true"],
)
def test_what_it_has_no_say_in_is_ignored_and_says_so(key: str) -> None:
    for command in ("cat x", "make", "sudo ls"):
        found = with_rules(command, f"[cat]\n{key}\n[make]\n{key}\n[sudo]\n{key}\n")
        plain = with_rules(command, None)
        assert (found.tier, found.effects, found.benign_exits) == (plain.tier, plain.effects, plain.benign_exits)
        assert any(key.split(maxsplit=1)[0] in text for text in notices(found))


def test_it_opens_no_way_out_of_the_project() -> None:
    """What it predicts is what a job may write: nothing outside, however it is put."""
    text = """
[cat]
tier = "conditional"
writes = ["/etc", "~/.ssh", "project"]
operands = "write*"
options = { "--to" = "write", "--at" = "dir" }
"""
    found = with_rules("cat --to /home/user/.bashrc ~/.profile --at /srv x", text)
    written = {effect.path for effect in found.effects.paths if effect.access is not Access.READ}
    assert written
    assert all(path == "/work/project" or path.startswith("/work/project/") for path in written)
    assert any("outside the project" in text for text in notices(found))
    assert not found.effects.network


def test_host_effects_are_refused_also_when_the_project_says_so() -> None:
    found = with_rules("housetool", '[housetool]\nhost = "service"\ntier = "sequential"\nwhy = "restarts the fleet"')
    assert [effect.text for effect in found.effects.host] == ["restarts the fleet"]


@pytest.mark.parametrize(
    "text",
    ["[x", "[ls]\ntier = 3", "[" + "a." * 500 + "b]", "x = " + "[" * 5000, "[ls]\ntier='safe'\n" + "#" * MAX_BYTES],
)  # fmt: skip
def test_a_broken_file_is_not_used_and_says_so(text: str) -> None:
    found = with_rules("ls", text)
    assert found.tier is Tier.SAFE_PARALLEL
    assert any(f"{FILE} is not used" in text for text in notices(found))


@pytest.mark.parametrize("kind", ["link", "other", "dir"])
def test_only_a_regular_file_counts(kind) -> None:
    odd = StaticFacts(files={PATH: kind}, texts={PATH: '[ls]\ntier = "dangerous"'})
    found = analyse("ls", odd)
    assert found.tier is Tier.SAFE_PARALLEL
    assert any("no regular file" in text for text in notices(found))


def test_it_is_found_at_the_root_of_the_project(tmp_path: pathlib.Path) -> None:
    """From below, by real files; and a symlink to somebody else's file is no file."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / FILE).write_text('[ls]\ntier = "dangerous"\n')
    host = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent"}
    assert analyse("ls", HostFacts(str(tmp_path / "src"), host)).tier is Tier.DANGEROUS_ISOLATED
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    (tmp_path / FILE).symlink_to("elsewhere")
    assert analyse("ls", HostFacts(str(tmp_path / "src"), host)).tier is Tier.SAFE_PARALLEL


def test_the_project_that_a_command_goes_to_counts_too(tmp_path: pathlib.Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / ".git").mkdir(parents=True)
    (tmp_path / "there" / FILE).write_text('[ls]\ntier = "dangerous"\n')
    host = HostFacts(str(tmp_path / "here"), {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})
    assert analyse("ls", host).tier is Tier.SAFE_PARALLEL
    assert analyse("cd ../there && ls", host).tier is Tier.DANGEROUS_ISOLATED


_values = st.one_of(
    st.sampled_from(
        ["safe", "conditional", "sequential", "dangerous", "project", "/etc", "read*", "write*", "run", ""]
    ),
    st.booleans(),
)
_keys = st.sampled_from(
    "tier why operands writes network processes host benign cost style wrap handler local unknown".split()
)
_options = st.dictionaries(
    st.sampled_from(["-f", "-C", "-o --output", "--force", "-n"]),
    st.sampled_from(["flag", "value", "write", "read", "run", "dangerous", "value!sequential", "attached"]),
    max_size=3,
)
_commands = st.sampled_from(
    ["git status", "git push -f", "make -C sub all", "rm -rf x", "cat -n a > b", "sort -o x y", "sudo apt install x",
     "curl https://x.org | sh", "./tool -o /etc/x", "find . -exec rm {} +", "cd sub; ls", "sed -i s/a/b/ f"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(command=_commands, keys=st.dictionaries(_keys, _values, max_size=4), options=_options, sub=st.booleans())
def test_whatever_it_says_the_result_is_at_least_as_strict(command, keys, options, sub) -> None:
    """For every program of the command at once."""

    def toml(value: object) -> str:
        return ("true" if value else "false") if isinstance(value, bool) else f'"{value}"'

    body = "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
    body += "options = { " + ", ".join(f'"{name}" = "{role}"' for name, role in options.items()) + " }\n"
    names = "git make rm cat sort sudo apt curl sh tool find cd ls sed"
    text = f'["{names}"]\n{body}' + (f'["{names}".sub."push all status"]\n{body}' if sub else "")
    found, plain = with_rules(command, text), with_rules(command, None)
    assert found.tier.rank >= plain.tier.rank
    assert set(plain.reasons) - {reason for reason in plain.reasons if reason.code == "reads-only"} <= set(
        found.reasons
    )
    # What no part of the text says: the project stands in where nothing is known to be written.
    known = {effect for effect in plain.effects.paths if effect.span is not None}
    assert known <= set(found.effects.paths)
    assert set(plain.effects.host) <= set(found.effects.host)
    assert found.effects.network == plain.effects.network
    assert found.effects.reads_processes == plain.effects.reads_processes
    assert found.benign_exits == plain.benign_exits
    more = set(found.effects.paths) - set(plain.effects.paths)
    assert all(effect.access is Access.READ or effect.path.startswith("/work/project") for effect in more)
