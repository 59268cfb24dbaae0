"""Variables that make programs run, load or write something, however they come to be set."""

from __future__ import annotations

import shlex

import pytest

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import environment, rules
from cbx_sandbox.shell.analysis import analyse, analyse_argv
from cbx_sandbox.shell.tiers import SHORT

FORMS = (
    "{name}={value} {command}",
    "export {name}={value}; {command}",
    "export {name}\n{name}={value}\n{command}",
    "{name}={value}; export {name}; {command}",
    "declare -x {name}={value}; {command}",
    "typeset -x {name}={value} && {command}",
    "readonly {name}={value}; {command}",
    "env {name}={value} {command}",
    "env -u A {name}={value} B=1 {command}",
    "sudo {name}={value} {command}",
    "sudo env {name}={value} {command}",
    "timeout 5 env {name}={value} {command}",
    "f() {{ local -x {name}={value}; {command}; }}; f",
    "for {name} in {value}; do {command}; done",
    'eval "export {name}={value}"; {command}',
    'bash -c "{name}={value} {command}"',
)

# What runs something: a harmful value, a harmless one, and a program that reads it and is safe without.
RUNS = (
    ("GIT_PAGER", "git log"),
    ("PAGER", "git log"),
    ("MANPAGER", "man ls"),
    ("EDITOR", "git log"),
    ("GIT_EXTERNAL_DIFF", "git diff"),
    ("GIT_SSH_COMMAND", "git ls-remote"),
    ("RSYNC_RSH", "rsync --list-only a"),
    ("LESSOPEN", "less notes.txt"),
    ("SYSTEMD_PAGER", "journalctl"),
    ("FZF_DEFAULT_COMMAND", "fzf -f x"),
)  # fmt: skip
# What loads something, whatever it is.
LOADS = (
    ("LD_PRELOAD", "ls"),
    ("LD_AUDIT", "ls"),
    ("DYLD_INSERT_LIBRARIES", "ls"),
    ("BASH_ENV", "bash -c ls"),
    ("ENV", "sh -c ls"),
    ("ZDOTDIR", "zsh -c ls"),
    ("PERL5OPT", "git log"),
    ("PYTHONSTARTUP", "python3 -c 'print(1)'"),
    ("PYTHONPATH", "python3 -c 'print(1)'"),
    ("NODE_OPTIONS", "npm ls"),
    ("RUBYOPT", "gem list"),
    ("GIT_CONFIG_GLOBAL", "git status"),
    ("GIT_CONFIG_COUNT", "git status"),
    ("npm_config_userconfig", "npm ls"),
    ("JAVA_TOOL_OPTIONS", "java -version"),
    ("GOFLAGS", "go version"),
    ("KUBECONFIG", "kubectl get pods"),
    ("APT_CONFIG", "apt list"),
)  # fmt: skip


def tier(command: str, **variables: str) -> str:
    return analyse(command, StaticFacts(env=variables)).tier


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "command"), RUNS)
def test_what_it_runs_counts(form: str, name: str, command: str) -> None:
    assert tier(form.format(name=name, value="'rm -rf /srv/x'", command=command)) is SHORT["dangerous"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "command"), RUNS)
def test_what_it_runs_harmlessly_does_not(form: str, name: str, command: str) -> None:
    assert tier(form.format(name=name, value="cat", command=command)) is SHORT["safe"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "command"), LOADS)
def test_what_it_loads_is_not_safe(form: str, name: str, command: str) -> None:
    assert tier(form.format(name=name, value="./x", command=command)) is SHORT["sequential"]
    assert tier(command) is SHORT["safe"]


@pytest.mark.parametrize(("name", "command"), [*RUNS, *LOADS])
def test_what_is_inherited_counts_for_the_programs_that_read_it(name: str, command: str) -> None:
    facts = StaticFacts(env={name: "rm -rf /srv/x"})
    assert analyse_argv(shlex.split(command), facts).tier is not SHORT["safe"]
    variable = environment.known(name)
    assert variable is not None
    without = analyse_argv(["env", f"{name}=", *shlex.split(command)], facts).tier
    assert (without is SHORT["safe"]) is ("*" not in variable.programs)  # which env itself reads


def test_what_is_inherited_counts_for_no_others() -> None:
    others = {name: "rm -rf /srv/x" for name, _ in RUNS}
    assert tier("ls -l; wc -l a; sort b", **others) is SHORT["safe"]


def test_the_shell_itself_reads_variables_first() -> None:
    """It is started for a line, and not for a program that is executed as it is."""
    facts = StaticFacts(env={"BASH_ENV": "./x"})
    assert analyse("wc -l a", facts).tier is SHORT["sequential"]
    assert analyse_argv(["wc", "-l", "a"], facts).tier is SHORT["safe"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        # What runs the project's code may load more of it.
        ("PYTHONPATH=src pytest", "conditional"),
        ("NODE_OPTIONS=--max-old-space-size=4096 npm run build", "conditional"),
        ("GOFLAGS=-mod=vendor go build ./...", "conditional"),
        ("JAVA_HOME=/usr/lib/jvm/17 mvn test", "conditional"),
        ("CC=clang make", "conditional"),
        ("CC='rm -rf /srv/x' make", "dangerous"),
        ("export JAVA_HOME=/usr/lib/jvm/17", "safe"),
        ("HOME=/tmp/x git status", "sequential"),
        ("HOME=/tmp/x ls", "safe"),
        ("LESSOPEN='| cat %s' less notes.txt", "safe"),
        ("LESSOPEN='||-cat %s' less notes.txt", "safe"),
        ("LESSOPEN='| /usr/bin/lesspipe %s' less notes.txt", "sequential"),
        ("PS4='+ ' bash -xc ls", "safe"),
        ("PS4='$(rm -rf /srv/x)' bash -xc ls", "dangerous"),
        ("GIT_TRACE=1 git status", "safe"),
        ("GIT_TRACE=/work/project/trace git status", "sequential"),
        ("GIT_TRACE=/etc/profile git status", "dangerous"),
        ("GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.pager GIT_CONFIG_VALUE_0='rm -rf /srv/x' git log", "dangerous"),
        ("env 'BASH_FUNC_ls%%=() { rm -rf /srv/x; }' bash -c ls", "dangerous"),
        ("env 'BASH_FUNC_ls%%=() { true; }' bash -c ls", "sequential"),
        ("env a.b=1 ls", "safe"),
        ('env "$unknown=1" ls', "sequential"),
        ("env -iS rm -rf x", "dangerous"),
        ("env -S'rm -rf' x", "dangerous"),
        ("env -u A --split-string='-i B=1 rm -rf' x", "dangerous"),
        ("env -i -S '-u B A=1 ls' -l", "safe"),
        ("env -S '-S -S'", "safe"),
        ("awk 'BEGIN { system(\"ls # c\\nrm -rf x\") }'", "dangerous"),
        ("awk 'BEGIN { system(\"ls # c\\tx\\\"\\\"\") }'", "safe"),
        ("env $unknown=1 ls", "dangerous"),
        ("read -r GIT_SSH_COMMAND < conf; git log", "sequential"),
        ("read -r line < conf; git log", "safe"),
        ("SHELL=/bin/zsh vim x", "sequential"),
    ],
)  # fmt: skip
def test_single_cases(command: str, expected: str) -> None:
    assert tier(command) is SHORT[expected]


def test_the_usual_environment_of_a_login_makes_nothing_of_a_safe_command() -> None:
    usual = {
        "SHELL": "/bin/bash", "HOME": "/home/user", "LANG": "C.UTF-8", "TERM": "xterm", "LS_COLORS": "di=1",
        "PATH": "/usr/bin:/bin", "PAGER": "less", "GIT_PAGER": "cat", "CC": "clang", "LESS": "",
    }  # fmt: skip
    for command in ("git log", "less notes.txt", "ls -l", "man ls", "python3 -c 'print(1)'", "journalctl"):
        assert tier(command, **usual) is SHORT["safe"], command


def test_the_file_names_kinds_that_exist_and_programs_that_have_rules() -> None:
    table = rules.environment()
    assert set(table) == {environment.AT_ONCE, environment.WHEN_READ, "standard_path"}
    unknown = set()
    for moment in (environment.AT_ONCE, environment.WHEN_READ):
        assert set(table[moment]) <= set(environment.KINDS)
        for entries in table[moment].values():
            for programs in entries.values():
                unknown |= {name for name in programs.split() if name != "*" and rules.find(name) is None}
    assert len(unknown) <= 40, sorted(unknown)  # the rest is unknown in any case, and never safe
