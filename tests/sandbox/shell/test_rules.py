"""The rule files are consistent, and their own examples hold."""

from __future__ import annotations

import ast
import importlib
import pathlib

import pytest

import cbx_sandbox.shell
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import rules
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.estimate import COSTS
from cbx_sandbox.shell.handlers import HANDLERS, MODULES
from cbx_sandbox.shell.rules import checking
from cbx_sandbox.shell.rules.catalogue import Definition
from cbx_sandbox.shell.rules.examples import of as examples_of
from cbx_sandbox.shell.tiers import SHORT

HERE = pathlib.Path(cbx_sandbox.shell.__file__).parent
ROLES = set(
    "read write append create delete text look tree list rewrite under prefix into tree-delete host run exec".split()
)


def all_rules() -> dict[int, rules.Rule]:
    found: dict[int, rules.Rule] = {}

    def add(rule: rules.Rule) -> None:
        found[id(rule)] = rule
        for sub in rule.subs.values():
            add(sub)

    for name in rules.names():
        rule = rules.find(name)
        assert rule is not None
        add(rule)
    return found


def examples() -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for rule in all_rules().values():
        found.update(rule.examples)
    return sorted(found.items())


@pytest.mark.parametrize(("command", "tier"), examples())
def test_examples_hold(command: str, tier: str) -> None:
    assert analyse(command, StaticFacts()).tier is SHORT[tier]


def test_every_file_counts() -> None:
    """None lies there that nobody reads."""
    found = {path.stem for path in (HERE / "rules").glob("*.toml")}
    assert found == {*rules.FAMILIES, rules.ENVIRONMENT.removesuffix(".toml")}


def test_enough_is_known() -> None:
    assert len(rules.names()) >= 400
    assert len(examples()) >= 100


def test_rules_name_only_what_exists() -> None:
    for rule in all_rules().values():
        assert {role.rstrip("*") for role in rule.operands} <= ROLES, rule.name
        assert not rule.handler or rule.handler in HANDLERS or rule.handler.startswith("as:"), rule.name
        assert not rule.host or HostKind(rule.host), rule.name
        assert not rule.cost or rule.cost in COSTS, rule.name
        assert sum(role.endswith("*") for role in rule.operands) <= 1, rule.name


@pytest.mark.parametrize("file", rules.own(), ids=lambda file: file.source)
def test_own_files_have_no_problem(file: rules.RuleFile) -> None:
    assert checking.problems(file.text, HANDLERS) == []


def test_system_packages_power_and_disks_are_never_less_than_dangerous() -> None:
    for name in ("apt", "dnf", "pacman", "mkfs.xfs", "reboot", "pkill", "iptables", "shred", "truncate"):
        rule = rules.find(name)
        assert rule is not None
        assert rule.worst() is SHORT["dangerous"]


def test_the_analysis_touches_nothing() -> None:
    """No module of the analysis can reach the machine; facts are handed in."""
    forbidden = {"os", "subprocess", "socket", "sqlite3", "time", "threading", "asyncio", "pathlib", "shutil"}
    for path in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & forbidden, path


@pytest.fixture
def drop_ins():
    yield rules.extend
    rules.forget()


def test_drop_ins_add_and_replace(drop_ins) -> None:
    assert analyse("housetool x", StaticFacts()).tier is SHORT["sequential"]
    drop_ins('[housetool]\ntier = "safe"\n["cat"]\ntier = "dangerous"\n')
    assert analyse("housetool x", StaticFacts()).tier is SHORT["safe"]
    assert analyse("cat x", StaticFacts()).tier is SHORT["dangerous"]
    rules.forget()
    assert analyse("cat x", StaticFacts()).tier is SHORT["safe"]


@pytest.mark.parametrize("text", ["[x", '[x]\ntier = "harmless"', '[x]\noptions = { "-o" = "explode" }'])
def test_a_broken_drop_in_is_refused(text: str, drop_ins) -> None:
    with pytest.raises((ValueError, KeyError)):
        drop_ins(text)
    assert rules.find("x") is None


def groups() -> list[Definition]:
    """The groups of programs that are in force, one of each."""
    found = {id(parts[-1]): parts[-1] for name in rules.names() if (parts := rules.definitions(name))}
    return list(found.values())


def can_differ(rule: rules.Rule) -> bool:
    """Whether a rule has more than a default: what makes its command lines differ in tier."""
    tiers = {rule.tier, *(sub.tier for sub in rule.subs.values())}
    tiers |= {option.tier for option in rule.options.values() if option.tier is not None}
    tiers |= {SHORT[when.changes["tier"]] for when in rule.whens if "tier" in when.changes}
    changes = {"write", "append", "create", "delete", "run", "exec", "attached-write", "attached-run"}
    if any(option.role in changes for option in rule.options.values()) and rule.tier is SHORT["safe"]:
        tiers.add(SHORT["sequential"])
    return len(tiers) > 1


@pytest.mark.parametrize("group", groups(), ids=lambda group: f"{group.source}:{group.line}")
def test_what_has_more_than_a_default_has_examples_both_ways(group: Definition) -> None:
    """At least one of a lower and one of a higher tier; code of its own at least one."""
    rule = rules.find(next(name for name in group.key.split() if rules.definitions(name)[-1] == group))
    assert rule is not None
    tiers = {example.tier for example in examples_of({group.key: group.table})}
    if can_differ(rule):
        assert len(tiers) >= 2
    elif rule.handler:
        assert tiers


def test_handlers_are_found_in_the_modules_that_have_them() -> None:
    for module, names in MODULES.items():
        here = importlib.import_module(f"cbx_sandbox.shell.handlers.{module}").HANDLERS
        assert set(names.split()) == here.keys()
        assert all(HANDLERS[name] is here[name] for name in here)
    assert len(HANDLERS) == len(set(HANDLERS))
    assert "nothing" not in HANDLERS
