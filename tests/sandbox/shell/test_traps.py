# ruff: noqa: E501 -- tables of commands, a row a line
"""Texts that are not what they seem, each once."""

from __future__ import annotations

import pytest

from cbx_sandbox.shell.analysis import analyse

NEVER_SAFE = [
    # names and functions that may or may not be what they were
    "alias rm=echo; rm -rf /",
    "alias ls='rm -rf /'; ls",
    "false && rm() { :; }; rm -rf /",
    "rm() { echo; }; unset -f rm; rm -rf /",
    "ls() { rm -rf /; }; ls",
    "X=echo; true && X=rm; $X -rf /",
    "X=echo; if a; then X=rm; fi; $X -rf /",
    "X=echo; for i in 1 2; do $X -rf /; X=rm; done",
    "f() { local X=echo; }; X=rm; f; $X -rf /",
    "IFS=_; X=rm_-rf_/; $X",
    'set -- rm -rf /; "$@"',
    'a=(rm -rf /); "${a[@]}"',
    "printf -v X rm; $X -rf /",
    "read X <<< rm; $X -rf /",
    "cd /; rm -rf *",
    "while read c; do $c; done < list",
    # subscripts and arithmetic that execute
    "test -v 'a[$(rm -rf /)]'",
    "[ 'a[$(rm -rf /)]' -eq 1 ]",
    "[[ 'a[$(rm -rf /)]' -eq 1 ]]",
    "let 'x=a[$(rm -rf /)]'",
    "declare 'a[$(rm -rf /)]=1'",
    "unset 'a[$(rm -rf /)]'",
    "printf -v 'a[$(rm -rf /)]' x",
    "x='a[$(rm -rf /)]'; (( x ))",
    "x='a[$(rm -rf /)]'; echo ${!x}",
    "x='$(rm -rf /)'; echo ${x@P}",
    # options that run or write
    "date 010112002030",
    "less '+!rm x' notes.txt",
    "man -P 'rm -rf /' ls",
    "ldd ./program",
    "ss -K dst 10.0.0.1",
    "tar tf a.tar --checkpoint=1 --checkpoint-action=exec='rm -rf /'",
    "tar tFf 'rm -rf /' a.tar",
    "sort --compress-pro=./x notes.txt",
    "sort -uo out notes.txt",
    "git log --outp=x",
    "git --exec-path=/tmp/x status",
    "git -c diff.external=./x diff",
    "git -c core.fsmonitor=./x status",
    "git grep -O./x foo",
    "git -C $DIR $SUB",
    "rg --pre=./x foo",
    "fd -x rm",
    "find . -fls out",
    "find . -exec env sh -c 'rm -rf /' {} +",
    "find . -name x -exec sed -i s/a/b/ {} +",
    "awk -i inplace 1 notes.txt",
    "awk 'BEGIN { i++ / system(\"rm -rf /\") / 2 }'",
    "awk '/a/ { \"rm -rf /\" | getline }'",
    "awk '{ print $1, $2 > $3 }' notes.txt",
    'awk "$PROGRAM" notes.txt',
    'sed "$SCRIPT" notes.txt',
    "sed -n '/x/{s/a/b/w out\n}' notes.txt",
    "sed --expression='1w out' notes.txt",
    "env -S 'rm x'",
    "env --split-string='rm x'",
    "xargs -I{} sh -c '{}'",
    "xargs -n1 sh -c",
    "watch -n1 'touch x'",
    "timeout 5 bash",
    "curl -w '%output{x}' https://example.org",
    "curl -K conf",
    "openssl x509 -in a -out b",
    "openssl s_client -engine ./x",
    "yq -i .a=1 f",
    "dmesg -C",
    "hostname x",
    "ip -batch f",
    "journalctl --vacuum-size=1",
    # variables that run or load
    "LESSOPEN='|touch x' less f",
    "GIT_SSH_COMMAND='touch x' git ls-remote",
    "export BASH_ENV=./x; bash -c ls",
    "PERL5OPT=-Mx perl -v",
    "LD_LIBRARY_PATH=. ls",
    "PATH=.; ls",
    "env PATH=/work/project/bin ls",
    # Python that reaches further than it looks
    "python3 -c 'import random; random._os.system(\"x\")'",
    'python3 -c \'import json.decoder as d; d.scanner.sys.modules["os"].remove("x")\'',
    "python3 -c 'print.__self__.eval(\"1\")'",
    "python3 -c '().__class__.__base__.__subclasses__()'",
    "python3 -c 'import os.path as p; p.os.mkdir(\"x\")'",
    "python3 -c 'from os import system as s; s(\"touch x\")'",
    "python3 -c 'from os import *; mkdir(\"x\")'",
    "python3 -c 'import os; f = os; f.mkdir(\"x\")'",
    'python3 -c \'import pathlib; pathlib.Path("x").write_text("")\'',
    'python3 -c \'getattr(__builtins__, "ev" + "al")("1")\'',
    'python3 -c \'open("x", mode="w")\'',
    'python3 -c \'open(*["x", "w"])\'',
    "python3 -c 'import importlib; importlib.import_module(\"x\")'",
    "python3 -ic 'print(1)'",
    "python3 <<E\nimport os\nos.mkdir('x')\nE",
    # redirections in other spellings
    "ls >| x",
    "ls >& x",
    "ls &>> x",
    "ls 1<> x",
    "{ ls; } > x",
    "ls {fd}> x",
    "while :; do ls; break; done > x",
    "ls > $X",
    "cat <<E > x\na\nE",
    # second readings
    "echo `ls` `rm -rf /`",
    'echo "`rm -rf /`"',
    "cat <<E\n`rm -rf /`\nE",
    "cat <<E; rm -rf /\ntext\nE",
    "# comment\\\nrm -rf /",
    "ls;rm -rf /",
    "ls&rm -rf /",
    "ls\nrm -rf /",
    "l''s; r'm' -rf /",
    "$'\\x72\\x6d' -rf /",
    "r\\m -rf /",
    "{rm,-rf,/}",
    "/bin/r? -rf /",
]


@pytest.mark.parametrize("command", NEVER_SAFE)
def test_never_safe(command: str, facts) -> None:
    analysis = analyse(command, facts)
    assert analysis.tier != "SAFE_PARALLEL"


@pytest.mark.parametrize(
    "command", [command for command in NEVER_SAFE if "rm -rf" in command and "rm x" not in command]
)
def test_what_deletes_trees_is_isolated(command: str, facts) -> None:
    analysis = analyse(command, facts)
    assert analysis.tier == "DANGEROUS_ISOLATED", analysis.reasons


def test_own_children_may_be_ended(facts) -> None:
    """A job that ends what it started touches no process of the host."""
    analysis = analyse("sleep 9 & P=$!; kill $P; kill $!; kill %1", facts)
    assert analysis.tier == "SEQUENTIAL_REQUIRED"
    assert analysis.effects.host == ()


@pytest.mark.parametrize(
    "command",
    [
        "yay -S x", "xbps-install --sync", "makepkg", "ctr images pull x", "ctr images rm x", "uv version 1.2", "poetry version minor",
        "s3cmd get s3://b/x", "nmcli general hostname x", "nvidia-smi mig -cgi 0", "dmidecode --dump-bin out", "pip check --log out",
        "gcov a.c", "echo x | dc", "coredumpctl dump x", "docker image rm x", "docker network create x", "kubectl config use-context x",
        "git remote add a b", "git bisect start", "npm config set a b", "pip config set a b", "helm repo add a b", "nmcli radio wifi off",
        "aws s3 rm s3://b/x", "aws ec2 terminate-instances --instance-ids i", "gcloud compute instances delete x", "az group delete -n x",
        "terraform state rm x", "gh api -X DELETE x", "gh repo delete x", "cargo publish", "brew cleanup", "systemd-analyze log-level debug",
    ],
)  # fmt: skip
def test_changes_among_commands_that_look(command: str, facts) -> None:
    """The same tool looks and changes; only the subcommand tells."""
    assert analyse(command, facts).tier.rank >= 1
