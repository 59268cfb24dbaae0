# ruff: noqa: E501, Q003 -- tables of commands
"""AC3: danger stays danger however it is wrapped.

A wrapper either takes the words of a command (``sudo {}``), or a text that some shell reads (``bash -c {q}``), or it is
a place in a script where commands stand (``echo $({})``). They nest. The generator is seeded: every run measures the
same texts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tests.bench.accuracy.goals import Failure, Goal, Measured, count, share
from tests.bench.accuracy.material import Material, tier
from tests.bench.accuracy.parsing import unread

from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL

# The words of a command follow.
WORDS = (
    "sudo {}", "sudo -n -u root -- {}", "sudo -E A=1 {}", "doas {}", "doas -u root {}", "pkexec {}", "env {}", "env -i A=1 {}",
    "env -u X -C / {}", "/usr/bin/env {}", "A=1 B=$HOME {}", "nice {}", "nice -n 19 {}", "nice -5 {}", "ionice -c3 {}", "ionice -c 2 -n 7 {}",
    "timeout 9 {}", "timeout -k 5s --signal=KILL 1m {}", "nohup {}", "setsid -f {}", "stdbuf -oL -e 0 {}", "time {}", "time -p {}",
    "/usr/bin/time -f %e {}", "command {}", "command -p {}", "builtin command {}", "exec {}", "exec -a name {}", "! {}", "chrt -b 0 {}",
    "taskset -c 0 {}", "numactl -N 0 {}", "unshare -m {}", "setarch -R {}", "prlimit --nofile=9 {}", "strace -f -o /tmp/t {}", "ltrace {}",
    "flock /tmp/l {}", "flock -w 5 -x /tmp/l {}", "xargs {}", "xargs -r -0 -n1 -P4 {}", "xargs -I% {}", "find . -exec {} \\;",
    "find . -maxdepth 1 -type f -exec {} {{}} +", "find . -execdir {} ';'", "find . -exec echo x \\; -exec {} \\;",
    "find . -name x -o -exec {} \\;", "busybox {}", "watch -n 1 {}", "systemd-run --wait {}", "systemd-inhibit {}", "parallel {} ::: a",
    "fakeroot {}", "unknown-launcher {}", "unknown-launcher --flag -- {}", "coproc {}", "xvfb-run -a {}", "chroot / {}", "nsenter -t 1 -m {}",
    "runuser -u bob -- {}", "docker exec -it c {}", "docker run --rm -v /:/h image {}", "kubectl exec p -c d -- {}", "ssh -p 22 u@h {}",
    "catchsegv {}", "dbus-run-session -- {}", "cgexec -g cpu:x {}", "proot -r / {}", "fd -x {}", "entr {}", "gdb --args {}", "uv run {}",
    "npx -c {q}", "poetry run {}", "bundle exec {}", "conda run -n e {}", "hyperfine {q}",
)  # fmt: skip
# A text follows that a shell, or something like one, reads.
TEXTS = (
    "bash -c {q}", "sh -ec {q}", "/bin/sh -c {q}", "dash -c {q}", "zsh -lic {q}", "bash --norc -o pipefail -c {q} name arg", "eval {q}",
    "eval -- {q}", "su - root -c {q}", "su -c {q}", "runuser -l bob -c {q}", "bash <<< {q}", "bash -s <<< {q}", "echo {q} | sh",
    "printf '%s\\n' {q} | bash -s", "echo {q} | sudo bash", "echo {q} > /tmp/s; sh /tmp/s", "trap {q} EXIT", "trap {q} INT TERM",
    "env -S {q}", "X={q}; eval \"$X\"", "X={q}; $X", "X={q}; bash -c \"$X\"", "alias z={q}\nz", "source <(echo {q})", ". /dev/stdin <<< {q}",
    "bash <(printf %s {q})", "ssh h {q}", "ssh -t u@h -- sudo sh -c {qq}", "script -qec {q} /dev/null", "watch {q}", "parallel {q} ::: x",
    "find . -exec sh -c {q} \\;", "xargs -I@ sh -c {q}", "flock /tmp/l -c {q}", "git -c alias.z={g} z", "git -c core.pager={q} log",
    "GIT_SSH_COMMAND={q} git fetch", "GIT_EXTERNAL_DIFF={q} git diff", "PAGER={q} man ls", "LESSOPEN={l} less f",
    "tar cf a.tar --checkpoint=1 --checkpoint-action=exec={q} src", "tar xf a.tar --to-command={q}", "tar -I {q} -xf a", "rsync -e {q} a h:b",
    "ssh -o ProxyCommand={q} h", "git rebase -x {q} main", "git bisect run sh -c {q}", "git submodule foreach {q}",
    "git filter-branch --tree-filter {q} HEAD", "python3 -c {p}", "python3 -c {s}", "python3 - <<'PY'\nimport os\nos.system({j})\nPY",
    "perl -e {e}", "ruby -e {e}", "node -e {n}", "awk {a}", "sed {d} f", "vim -c {v}",  "docker exec c sh -c {q}",
    "kubectl exec p -- bash -lc {q}", "unknown-runner --run {q}", "mapfile -C {q} -c 1 x", "bash -ic {q} <&-", "PROMPT_COMMAND={q} bash -i",
    "bash -c 'eval \"$1\"' _ {q}", "find . -print0 | xargs -0 -I{{}} bash -c {q}", "nohup sh -c {q} >/dev/null 2>&1 &", "timeout 5 bash -c {q}",
    "bash <<EOF\n{}\nEOF", "bash <<'EOF'\n{}\nEOF", "sh -s <<-EOF\n\t{}\n\tEOF", "cat <<'EOF' | sh\n{}\nEOF", "cat > /tmp/s <<'EOF'\n{}\nEOF\nbash /tmp/s",
    "ssh h 'bash -s' <<'EOF'\n{}\nEOF", "tee /tmp/s <<< {q} >/dev/null; chmod +x /tmp/s; /tmp/s", "xargs -0 bash -c <<< {q}",
)  # fmt: skip
# Places where commands stand.
PLACES = (
    "{}; ls", "ls; {}", "ls && {}", "ls || {}", "ls | {}", "ls |& {}", "{} | cat", "{} &", "ls & {}", "ls\n{}", "\n\n{}\n", "( {} )", "( ( {} ) )", "{{ {}; }}",
    "{{\n{}\n}}", "$( {} )", "`{b}`", "echo $( {} )", 'echo "a$( {} )b"', "echo `{b}`", 'echo "`{b2}`"', "echo x$( {} )y", "x=$( {} )", 'x="$( {} )"', "x+=$( {} )",
    "a=(1 $( {} ) 3)", "a[$( {} )]=1", "declare -A m=([k]=$( {} ))", "echo ${{x:-$( {} )}}", "echo \"${{x:=$( {} )}}\"", "echo ${{x:+$( {} )}}", "echo ${{x#$( {} )}}",
    "echo ${{x/$( {} )/y}}", "echo ${{x:$( {} ):1}}", "echo ${{a[$( {} )]}}", "echo $(( 1 + $( {} ) ))", "echo $[ $( {} ) ]", "(( n = $( {} ) ))", "let n=$( {} )",
    "[[ a == $( {} ) ]]", "[[ -f $( {} ) && 1 ]]", "[ \"$( {} )\" ]", "test -n \"$( {} )\"", "ls > $( {} )", "ls >> \"$( {} )\"", "cat < $( {} )", "ls 2> $( {} )", "ls &> $( {} )",
    "(ls) > $( {} )", "while read x; do :; done < <( {} )", "diff <( {} ) <(ls)", "ls | tee >( {} )", "cat <<E\n$( {} )\nE", "cat <<-E\n\t`{b}`\n\tE",
    "cat <<E\n${{x:-$( {} )}}\nE", "cat <<E\n$(( $( {} ) ))\nE", "cat <<< $( {} )", 'cat <<< "$( {} )"', "if {}; then :; fi", "if :; then {}; fi",
    "if false; then :; else {}; fi", "if false; then :; elif {}; then :; fi", "while {}; do break; done", "until {}; do break; done", "while :; do {}; done",
    "for i in $( {} ); do :; done", "for i in 1 2; do {}; done", "set -- a; for i; do {}; done", "for ((i=$( {} ); i<1; i++)); do :; done", "for ((;;)); do {}; done",
    "case $( {} ) in *) ;; esac", "case x in $( {} )) ;; esac", "case x in x) {} ;; esac", "case x in a) ;;& *) {} ;& b) ;; esac", "select x in 1; do {}; done",
    "f() {{ {}; }}; f", "f() ( {} ); f", "function f {{ {}; }}; f", "function f() {{\n{}\n}}\nf x", "f() {{ {}; }}; trap f EXIT", "f() {{ {}; }}; g() {{ f; }}; g",
    "export X=$( {} )", "local X=$( {} )", "readonly X=\"$( {} )\"", "declare -i X=$( {} )", "coproc {{ {}; }}", "coproc N {{ {}; }}", "set -- $( {} )", "# quiet\n{}", "ls # c\n{}",
    "cat <<'E'; {}\ntext\nE", "cat <<'E' && {}\n$(x)\nE", "cat <<A <<'B'; {}\na\nA\nb\nB", "ls \\\n  $( {} )", "time {{ {}; }}", "! ( {} )", "{{ ls; {}; }} > /dev/null 2>&1",
    "printf '%s' \"$( {} )\"", "echo $(echo $(echo $( {} )))", "echo \"$(echo \"$(echo \"$( {} )\")\")\"", "exec 3< <( {} )", "exec > >( {} )", "return $( {} )", "X=$( {} ) ls",
    "ls ${{HOME:+`{b}`}}", "echo ~$( {} )", "echo {{a,$( {} )}}", "echo $'x\\n'$( {} )", "printf -v x %s $( {} )", "read x < <( {} )", "mapfile -t a < <( {} )", "echo \"${{x:-`{b2}`}}\"",
)  # fmt: skip
# These join the words to a text that a shell reads once more, or (env -S) take it apart without one.
_JOINS = ("watch", "ssh", "parallel", "busybox", "hyperfine")
_META = set("'\"`$|&;<>(){}*?[]#~\\!\n")
DEPTHS = (1, 1, 2, 2, 3)  # how often a text is wrapped, in turns
EACH = 12  # how many wrappings of one depth a command gets


def quote(text: str) -> str:
    """Quote a text as one shell word."""
    return "'" + text.replace("'", "'\\''") + "'"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A text that executes a command, and the way it was made."""

    text: str
    simple: bool  # made of words only, so that a command that takes words may stand before it


def simple(command: str) -> bool:
    """Whether a command is made of plain words."""
    return not set(command) & _META and "=" not in command.split(" ", 1)[0]


def wrap(template: str, command: str) -> str:
    """Put a command into a wrapper, quoted as that needs."""
    back = command.replace("\\", "\\\\").replace("`", "\\`")
    return template.format(
        command,
        q=quote(command),
        qq=quote(quote(command)),
        g=quote("!" + command),
        l=quote("|" + command),
        j=json.dumps(command),
        p=quote(f"import os; os.system({json.dumps(command)})"),
        s=quote(f"import subprocess as s; s.run({json.dumps(command)}, shell=True)"),
        e=quote(f"system({json.dumps(command).replace('$', chr(92) + '$').replace('@', chr(92) + '@')})"),
        n=quote(f"require('child_process').execSync({json.dumps(command)})"),
        a=quote(f"BEGIN {{ system({json.dumps(command)}) }}"),
        d=quote(f"1e {command}"),
        v=quote(f":!{command}"),
        b=back,
        b2=back.replace('"', '\\"'),
    )


def fits(template: str, command: Wrapped) -> bool:
    """Whether a wrapper means what it says with this command."""
    if template in WORDS and command.text.startswith("exec "):
        return False  # the shell's own: no program can start it
    if template in WORDS:
        return simple(command.text) if template.startswith(_JOINS) else command.simple or "{q}" in template
    if "\n" in command.text and any(mark in template for mark in ("{d}", "{v}", "<<-", "alias", "# ")):
        return False
    if template.endswith("$X") or "alias" in template or "env -S" in template:
        return simple(command.text)  # the value is split into words, quotes and operators are not seen again
    if "\n" in command.text and "<<" in template and template in PLACES:
        return False
    if "<<" in template and ("EOF" in command.text or "\nE\n" in command.text or command.text.endswith("\nE")):
        return False
    if "<<" in command.text and not template.startswith(("bash -c", "eval", "({}", "{{\n", "\n\n")):
        return False  # a here-document ends with its line, so not every place can take one
    if "`" in command.text and "{b" in template:
        return False
    return "#" not in command.text or template in TEXTS


def once(command: Wrapped, random_: random.Random) -> Wrapped:
    """Wrap once, by a wrapper that fits."""
    kinds = [kind for kind in (WORDS, TEXTS, PLACES) if any(fits(template, command) for template in kind)]
    kind = random_.choice(kinds)
    template = random_.choice([template for template in kind if fits(template, command)])
    text = wrap(template, command.text)
    plain = (
        kind is WORDS
        and "\\;" not in text
        and ";" not in text
        and "$" not in text
        and not text.startswith(("A=", "!", "coproc", "time"))
    )
    quoted = kind is TEXTS and template.count(" ") == 2 and template.endswith(("sh -c {q}", "sh -ec {q}"))
    return Wrapped(text, plain or quoted)


def wrappings(commands: tuple[str, ...], each: int = EACH) -> Iterator[tuple[str, str]]:
    """Yield pairs of a command and a text that executes it."""
    for number, command in enumerate(commands):
        seeded = random.Random(f"{number}:{command}")  # the same in every run
        for turn in range(each):
            wrapped = Wrapped(command, simple(command))
            for _ in range(DEPTHS[turn % len(DEPTHS)]):
                wrapped = once(wrapped, seeded)
            yield command, wrapped.text


def each_wrapper(commands: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield every wrapper once, around one command after the other."""
    for number, template in enumerate((*WORDS, *TEXTS, *PLACES)):
        for turn in range(len(commands)):
            command = commands[(number + turn) % len(commands)]
            if fits(template, Wrapped(command, simple(command))):
                yield command, wrap(template, command)
                break


def literal(material: Material) -> tuple[str, ...]:
    """Choose the danger that stands in the text as it is: short, one line, isolated when it stands alone."""
    return tuple(
        command
        for command in material.danger
        if not unread(command)
        if len(command) < 80
        and "\n" not in command
        and "$" not in command
        and tier(command) is DANGEROUS
        and "&" not in command
    )


@lru_cache(maxsize=4)
def _texts(material: Material) -> tuple[str, ...]:
    danger = literal(material)
    pairs = [*wrappings(danger[:: max(1, len(danger) // 300)]), *each_wrapper(danger), *each_wrapper(danger[::-1])]
    return tuple(dict.fromkeys(text for _, text in pairs))


def hidden(material: Material) -> Measured:
    """Measure how much of the wrapped danger is isolated."""
    texts = _texts(material)
    return share([Failure(text, tier(text)) for text in texts if tier(text) is not DANGEROUS], len(texts))


def floor(material: Material) -> Measured:
    """Count the wrapped danger below sequential."""
    texts = _texts(material)
    return count([Failure(text, tier(text)) for text in texts if tier(text).rank < SEQUENTIAL.rank], len(texts))


GOALS = (
    Goal("AC3", "wrapped danger is DANGEROUS_ISOLATED", 95, "%", False, hidden),
    Goal("AC3 floor", "wrapped danger below SEQUENTIAL_REQUIRED", 0, "rows", True, floor),
)
