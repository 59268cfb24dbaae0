# ruff: noqa: E501, Q003 -- tables of commands
"""AC8: a name is not trusted where it may be another program's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tests.bench.accuracy.goals import Failure, Goal, Measured, count
from tests.bench.accuracy.hidden import simple
from tests.bench.accuracy.material import Material, tier

from cbx_sandbox.shell.tiers import SAFE

# {n}: the program's name, {a}: its arguments with a blank before them.
STRANGERS = (
    "./{n}{a}", "../{n}{a}", "bin/{n}{a}", "./bin/../{n}{a}", "~/bin/{n}{a}", "~/{n}{a}", "$HOME/{n}{a}", "\"$PWD/{n}\"{a}", "/tmp/{n}{a}", "/home/user/bin/{n}{a}",
    "/opt/x/bin/{n}{a}", "/work/project/{n}{a}", "/var/tmp/{n}{a}", "/usr/bin/../../tmp/{n}{a}", "/dev/shm/{n}{a}", "/proc/self/cwd/{n}{a}", ".\\/{n}{a}", "'./{n}'{a}", "./\"{n}\"{a}",
    "PATH=.:$PATH {n}{a}", "PATH=/tmp/x {n}{a}", "PATH=$PWD/bin:$PATH {n}{a}", "export PATH=./bin:$PATH; {n}{a}", "PATH=\"$HOME/x:$PATH\"; {n}{a}", "env PATH=/tmp {n}{a}",
    "sudo PATH=/tmp {n}{a}", "declare -x PATH=/tmp; {n}{a}", "PATH+=:/tmp; PATH=/tmp/a:$PATH; {n}{a}", "LD_PRELOAD=./x.so {n}{a}", "LD_LIBRARY_PATH=. {n}{a}",
    "export LD_PRELOAD=/tmp/x.so\n{n}{a}", "env LD_AUDIT=./x.so {n}{a}", "BASH_ENV=./x bash -c {n}", "hash -p ./x {n}; {n}{a}", "alias {n}=./x\n{n}{a}", "{n}() {{ ./x; }}; {n}{a}",
    "function {n} {{ touch y; }}; {n}{a}", "cd bin; ./{n}{a}", "sudo ./{n}{a}", "env ./{n}{a}", "timeout 5 ./{n}{a}", "exec ./{n}{a}", "command ./{n}{a}", "nice -n 5 ./{n}{a}",
    "xargs ./{n}{a}", "find . -exec ./{n} {{}} \\;", "ls | ./{n}{a}", "echo $(./{n}{a})", "bash ./{n}{a}", "source ./{n}", ". bin/{n}", "bash -c './{n}{a}'", "./{n}{a} | head",
    "cbx-no-such-{n}{a}", "{n}-next{a}", "my{n}{a}", "{n}.sh{a}", "/usr/lib/x/{n}-helper{a}", "x={n}; ./$x{a}", "cp /bin/true {n}; ./{n}{a}", "ln -s x {n} && ./{n}{a}",
    "chroot . {n}{a}", "/usr/bin/{n}.old{a}", "time ./{n}{a}", "! ./{n}{a}", "( ./{n}{a} )", "if ./{n}{a}; then ls; fi", "./{n} --version", "./{n} --help", "cbx-no-such-{n} --version",
)  # fmt: skip
# Builtins and keywords are found before PATH is looked at; wrappers hand the question on.
_NOT_FOUND_IN_PATH = frozenset(
    """alias bg bind break builtin cd command compgen complete continue declare dirs disown echo enable eval exec exit
    export false fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read readarray
    readonly return set shift shopt source suspend test times trap true type typeset ulimit umask unalias unset wait
    time for case coproc if while until select function sudo env""".split()
)


def texts(command: str) -> Iterator[str]:
    """Yield the ways in which a read-only command's name may be somebody else's program."""
    name, _, rest = command.partition(" ")
    if not simple(command) or name in _NOT_FOUND_IN_PATH or not name.replace("-", "").isalnum():
        return
    arguments = f" {rest}" if rest else ""
    for template in STRANGERS:
        yield template.format(n=name, a=arguments)


@lru_cache(maxsize=4)
def _all(material: Material) -> tuple[str, ...]:
    by_name: dict[str, str] = {}
    for command in material.safe:
        by_name.setdefault(command.partition(" ")[0], command)
    return tuple(dict.fromkeys(text for command in by_name.values() for text in texts(command)))


def strangers(material: Material) -> Measured:
    """Count the strangers that are called safe."""
    return count([Failure(text, tier(text)) for text in _all(material) if tier(text) is SAFE], len(_all(material)))


GOALS = (Goal("AC8", "an unknown program is never SAFE", 0, "rows", True, strangers),)
