# ruff: noqa: E501, Q003 -- tables of commands
"""AC5: text about commands is not a command."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tests.bench.accuracy.goals import Failure, Goal, Measured, count
from tests.bench.accuracy.hidden import quote
from tests.bench.accuracy.material import Material, tier

from cbx_sandbox.shell.tiers import DANGEROUS

# {q}: the text as one quoted word; {r}: as it is, between quoted delimiters; {l}: its first line; {x}: escaped for a
# here-document that is expanded.
TALK = (
    "echo {q}", "echo -e {q}", "printf '%s\\n' {q}", "printf %q {q}", "grep -rn {q} src", "grep -F -e {q} notes.txt", "egrep -c {q} notes.txt",
    "rg -n {q}", "rg -e {q} src", "ag {q}", "git grep -n {q}", "git commit -m {q}", "git commit -am {q}", "git commit --message={q}",
    "git commit -m 'docs: warn' -m {q}", "git tag -a v1 -m {q}", "git stash push -m {q}", "git log --grep={q}", "git log -S {q}", "git log -G{q}",
    "git notes add -m {q}", "git merge --no-ff -m {q} topic", "gh issue create --title x --body {q}", "gh pr create -t {q} -b x", "gh pr comment 3 --body {q}",
    "glab mr note 3 -m {q}", "cat <<'EOF'\n{r}\nEOF", "cat <<\"EOF\"\n{r}\nEOF", "cat <<\\EOF\n{r}\nEOF", "cat <<EOF\n{x}\nEOF", "cat <<'EOF' > notes.md\n{r}\nEOF",
    "cat > run.sh <<'EOF'\n{r}\nEOF", "tee notes.md <<'EOF'\n{r}\nEOF", "tee -a notes.md > /dev/null <<'EOF'\n{r}\nEOF", "git commit -F - <<'EOF'\n{r}\nEOF",
    "git commit -m \"$(cat <<'EOF'\n{r}\nEOF\n)\"", "wc -l <<'EOF'\n{r}\nEOF", "grep -c x <<'EOF'\n{r}\nEOF", "sort <<< {q}", "cat <<< {q}", "read -r x <<< {q}",
    "X={q}", "X={q}; echo \"$X\"", "local X={q}", "export MESSAGE={q}", "declare -r X={q}", "a=({q} b)", "a[0]={q}", "test {q} = x", "[ {q} != x ]", "[[ {q} == x ]]",
    "case {q} in x) ls;; esac", "case x in {q}) ls;; esac", "for i in {q}; do echo \"$i\"; done", "# {l}\nls", "ls # {l}", "ls src # {l}\nwc notes.txt", ": {q}",
    "true {q}", "jq --arg a {q} . f.json", "jq -n --arg a {q} '{{a: $a}}'", "awk -v x={q} 'NR == 1' notes.txt", "sed -n {sed} notes.txt", "find . -name {q}",
    "find . -path {q} -prune -o -print", "ls {q}", "basename {q}", "dirname {q}", "expr {q} : x", "echo {q} > notes.md", "echo {q} >> notes.md", "echo {q} | grep x",
    "echo {q} | tee notes.md | wc -l", "echo {q} | sort | uniq -c", "printf '%s' {q} | wc -c", "printf '%s' {q} | base64", "printf '%s' {q} | sha256sum", "echo {q} | jq -R .",
    "python3 -c 'import sys; print(sys.argv[1])' {q}", "python3 -c {py}", "curl -s https://example.org -H {q}", "docker build --label {q} .", "docker ps --filter name={q}",
    "npm test -- -t {q}", "pytest -k {q}", "go test -run {q} ./...", "cargo test {q}", "make -n TEXT={q}", "env MESSAGE={q} ls", "MESSAGE={q} ls", "man {q}", "which {q}",
    "type {q}", "command -v {q}", "apropos {q}", "whatis {q}", "journalctl -g {q}", "journalctl --grep={q} -n 5", "logger {q}", "notify-send {q}", "touch {q}", "mkdir -p {q}",
    "cut -d: -f1 <<< {q}", "tr a b <<< {q}", "history | grep {q}", "ps aux | grep {q}", "pgrep -f {q}", "kubectl get pods -l {q}", "f() {{ echo {q}; }}; f", "if grep -q {q} notes.txt; then ls; fi",
    "x=$(grep -c {q} notes.txt)", "echo \"$(grep -n {q} notes.txt)\"", "diff <(echo {q}) notes.txt", "bash -c 'echo \"$1\"' _ {q}", "xargs -I% echo % <<< {q}",
)  # fmt: skip


def texts(command: str) -> Iterator[str]:
    """Yield the ways of talking about a command."""
    expanded = command.replace("\\", "\\\\").replace("$", "\\$").replace("`", "\\`")
    pattern = (
        command.replace("\n", " ").replace("\\", "\\\\").replace("/", "\\/").replace("[", "\\[").replace("*", "\\*")
    )
    values = {
        "q": quote(command),
        "r": command,
        "x": expanded,
        "l": command.splitlines()[0].rstrip("\\"),
        "sed": quote(f"/{pattern}/p"),
        "py": quote(f"print({command!r})"),
    }
    for template in TALK:
        if "{r}" in template and ("EOF" in command or command.endswith("\\")):
            continue  # it would end the here-document
        if "/" in command and template.startswith(("touch", "mkdir")):
            continue  # it would be a path, and may be one that matters
        if "{x}" in template and "EOF" in command:
            continue
        yield template.format(**values)


@lru_cache(maxsize=4)
def _all(material: Material) -> tuple[str, ...]:
    danger = material.danger
    some = danger[:: max(1, len(danger) // 90)]
    return tuple(dict.fromkeys(text for command in some for text in texts(command)))


def talk(material: Material) -> Measured:
    """Count the talk that is taken for a command."""
    return count([Failure(text, tier(text)) for text in _all(material) if tier(text) is DANGEROUS], len(_all(material)))


GOALS = (Goal("AC5", "text about danger is not dangerous", 0, "rows", True, talk),)
