# ruff: noqa: E501, Q003 -- tables of commands, a row a line
"""Measure the analysis against the corpus: the table AC1 to AC9, AC13 and AC14.

python tests/bench/accuracy.py [--corpus ../shared/corpus] [--show AC1] [--limit 40]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "sandbox"))

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.syntax import Unreadable
from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL

ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/user", "LANG": "C.UTF-8"}
WRAPPERS = (
    "sudo {}", "env {}", "env A=1 {}", "nice -n 5 {}", "timeout 9 {}", "nohup {}", "setsid {}", "time {}", "command {}",
    "exec {}", "! {}", "({})", "{{ {}; }}", "true && {}", "false || {}", "ls; {}", "ls\n{}", "echo x | {}", "{} &",
    "bash -c {q}", "sh -c {q}", "eval {q}", "su root -c {q}", "bash <<< {q}", "echo {q} | sh", "bash <<'EOF'\n{}\nEOF",
    "echo $({})", "echo \"$({})\"", "echo $(( $({}) + 1 ))", "echo ${{x:-$({})}}", "cat <({})", "[[ -n $({}) ]]",
    "cat <<EOF\n$({})\nEOF", "ls > $({})", "x=$({})", "a=($({}))", "for i in $({}); do :; done", "case $({}) in *) ;; esac",
    "f() {{ {}; }}; f", "if {}; then :; fi", "while {}; do :; done", "coproc {}", "trap {q} EXIT", "xargs {}",
    "find . -exec {} \\;", "find . -exec echo x \\; -exec {} \\;", "watch {}", "flock /tmp/l {}", "strace -o /tmp/t {}",
    "parallel {q} ::: x", "ssh host {q}", "env -S {q}", "busybox {}", "stdbuf -oL {}", "X={q}; eval \"$X\"",
    "python3 -c {p}", "awk {a}", "cmd=({}); ${{cmd[@]}}", "A=$(ls) {}", "alias z={q}\nz", "git -c alias.z={g} z",
)  # fmt: skip

WHOLE_TEXT = frozenset(
    wrapper
    for wrapper in WRAPPERS
    if ("{q}" in wrapper and not wrapper.startswith(("env", "parallel"))) or "$(" in wrapper or "{p}" in wrapper
)


def rows(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open() as lines:
        return [json.loads(line) for line in lines]


def wrap(wrapper: str, command: str) -> str:
    quoted = "'" + command.replace("'", "'\\''") + "'"
    python = "'import os; os.system(" + json.dumps(command).replace("'", "'\\''") + ")'"
    awk = "'BEGIN { system(" + json.dumps(command).replace("'", "'\\''") + ") }'"
    return wrapper.format(command, q=quoted, p=python, a=awk, g="'!" + command.replace("'", "'\\''") + "'")


class Report:
    """Rows of the table and the misses behind them."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, bool]] = []
        self.misses: dict[str, list[str]] = {}

    def add(self, goal: str, measured: str, wanted: str, misses: list[str], *, good: bool) -> None:
        self.lines.append((goal, measured, wanted, good))
        self.misses[goal] = misses

    def show(self) -> None:
        for goal, measured, wanted, good in self.lines:
            print(f"{'ok  ' if good else 'MISS'} {goal:6} {measured:58} {wanted}")


def tier(command: str):
    return analyse(command, StaticFacts(env=ENV)).tier


def share(part: int, whole: int) -> float:
    return 100.0 * part / max(whole, 1)


def classes(corpus: pathlib.Path, report: Report) -> None:
    never = [row["command"] for row in rows(corpus / "must_not_be_safe.jsonl")]
    missed = [command for command in never if tier(command) is SAFE]
    report.add("AC1", f"{len(missed)} of {len(never)} called SAFE", "0", missed, good=not missed)

    danger = [row["command"] for row in rows(corpus / "must_be_dangerous.jsonl")]
    tiers = {command: tier(command) for command in danger}
    missed = [f"{tiers[command]}: {command}" for command in danger if tiers[command] is not DANGEROUS]
    low = [command for command in danger if tiers[command].rank < SEQUENTIAL.rank]
    percent = share(len(danger) - len(missed), len(danger))
    report.add(
        "AC2",
        f"{percent:.1f} % DANGEROUS, {len(low)} below SEQUENTIAL",
        ">= 99 %, 0",
        missed,
        good=percent >= 99 and not low,
    )

    literal = [
        command for command in danger if tiers[command] is DANGEROUS and "\n" not in command and len(command) < 60
    ][::4]
    wrapped = [
        (wrapper, wrap(wrapper, command))
        for command in literal
        for wrapper in WRAPPERS
        # A wrapper that takes words gets words: with quotes and operators it would mean something else.
        if wrapper in WHOLE_TEXT or not set(command) & set("'\"`$|&;<>(){}*?[]#~\\")
    ]
    below, weaker = [], []
    for _, text in wrapped:
        got = tier(text)
        if got.rank < SEQUENTIAL.rank:
            below.append(f"{got}: {text}")
        elif got is not DANGEROUS:
            weaker.append(f"{got}: {text}")
    percent = share(len(wrapped) - len(below) - len(weaker), len(wrapped))
    report.add(
        "AC3", f"{percent:.1f} % of {len(wrapped)} DANGEROUS, {len(below)} below SEQUENTIAL", ">= 95 %, 0", below + weaker,
        good=percent >= 95 and not below,
    )  # fmt: skip

    safe = [row["command"] for row in rows(corpus / "must_be_safe.jsonl")]
    missed = [f"{got}: {command}" for command in safe if (got := tier(command)) is not SAFE]
    percent = share(len(safe) - len(missed), len(safe))
    report.add("AC4", f"{percent:.1f} % of {len(safe)} SAFE", ">= 95 %", missed, good=percent >= 95)

    quoted = [text for command in danger[::3] for text in data_texts(command)]
    missed = [text for text in quoted if tier(text) is DANGEROUS]
    report.add("AC5", f"{len(missed)} of {len(quoted)} called DANGEROUS", "0", missed, good=not missed)

    mild = [row["command"] for row in rows(corpus / "must_not_be_dangerous.jsonl")]
    missed = [command for command in mild if tier(command) is DANGEROUS]
    allowed = [command for command in missed if re.match(r"rm\s+-+\w*r", command)]  # in /tmp it may be
    missed = [command for command in missed if command not in allowed]
    percent = share(len(missed), len(mild))
    report.add(
        "AC6",
        f"{percent:.1f} % of {len(mild)} DANGEROUS, and {len(allowed)} rm -r",
        "<= 2 %",
        missed,
        good=percent <= 2,
    )

    middle = rows(corpus / "middle_tiers.jsonl")
    missed = [
        f"{got} not {row['tier']}: {row['command']}" for row in middle if (got := tier(row["command"])) != row["tier"]
    ]
    lowest = [row["command"] for row in middle if tier(row["command"]) is SAFE]
    percent = share(len(middle) - len(missed), len(middle))
    report.add(
        "AC7",
        f"{percent:.1f} % of {len(middle)} exact, {len(lowest)} SAFE",
        ">= 90 %, 0",
        missed,
        good=percent >= 90 and not lowest,
    )

    foreign = [text for row in safe[::5] if row.split() for text in foreign_texts(row)]
    missed = [text for text in foreign if tier(text) is SAFE]
    report.add("AC8", f"{len(missed)} of {len(foreign)} called SAFE", "0", missed, good=not missed)


def data_texts(command: str) -> list[str]:
    single = "'" + command.replace("'", "'\\''") + "'"
    return [
        f"echo {single}", f"grep -rn {single} src", f"git commit -m {single}", f"git log --grep={single}", f"printf '%s\\n' {single}",
        f"cat <<'EOF'\n{command}\nEOF", f"rg {single}", f"# {command.splitlines()[0]}\nls", f"X={single}; echo \"$X\"",
        f"gh issue create --title x --body {single}", f"echo {single} > notes.txt", f"jq --arg a {single} . f", f"test {single} = x",
    ]  # fmt: skip


def foreign_texts(command: str) -> list[str]:
    name = command.split(maxsplit=1)[0]
    if not name.replace("-", "").isalnum() or name in {"time", "for", "case", "coproc", "test", "env", "exec"}:
        return ["./sed x", "./tool"]
    return [f"./{command}", f"/work/project/bin/{command}", f"/tmp/{command}", f"cbx-no-such-{name}"]


def parsing(corpus: pathlib.Path, report: Report, sample: int) -> None:
    for goal, name, wanted, step in (("AC9a", "unlabelled", 99.9, sample), ("AC9b", "shell_language", 98.0, 1)):
        commands = [row["command"] for row in rows(corpus / f"{name}.jsonl")][::step]
        opaque, accepted, valid = [], [], 0
        for command in commands:
            bash = (
                "\0" not in command
                and subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False).returncode == 0
            )
            valid += bash
            try:
                parse(command)
            except Unreadable as failure:
                if bash:
                    opaque.append(f"{failure.why}: {command}")
                continue
            if not bash:
                accepted.append(f"accepted: {command}")
            elif analyse(command, StaticFacts(env=ENV)).opaque:
                opaque.append(f"witness: {command}")
        percent = share(valid - len(opaque), valid)
        report.add(
            goal, f"{percent:.2f} % of {valid} valid ({name}) read, {len(accepted)} invalid accepted", f">= {wanted} %, 0",
            opaque + accepted, good=percent >= wanted and not accepted,
        )  # fmt: skip


def speed(corpus: pathlib.Path, report: Report) -> None:
    texts = [row["command"] for path in sorted(corpus.glob("*.jsonl")) for row in rows(path)]
    for text in texts[::40]:
        tier(text)
    times, failures, slow = [], [], []
    for text in texts:
        begun = time.perf_counter()
        try:
            tier(text)
        except Exception as error:  # noqa: BLE001 -- the goal is that there is none
            failures.append(f"{error!r}: {text}")
        times.append(time.perf_counter() - begun)
        if times[-1] > 0.01:
            slow.append(f"{times[-1] * 1000:.1f} ms: {text[:200]}")
    times.sort()
    median, p99 = statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000
    big = "echo " + "word " * 20_000
    begun = time.perf_counter()
    tier(big)
    large = (time.perf_counter() - begun) * 1000
    report.add(
        "AC13", f"median {median:.2f} ms, p99 {p99:.2f} ms, worst {times[-1] * 1000:.0f} ms, 100 KB {large:.0f} ms, {len(failures)} exceptions",
        "<= 0.5, <= 5, <= 50", failures + slow, good=median <= 0.5 and p99 <= 5 and large <= 50 and not failures,
    )  # fmt: skip


def coverage(corpus: pathlib.Path, report: Report) -> None:
    commands = [row["command"] for row in rows(corpus / "unlabelled.jsonl") if "nl2bash" in row["source"]]
    unknown = []
    for command in commands:
        names = analyse(command, StaticFacts(env=ENV)).unknown_programs
        if names:
            unknown.append(f"{','.join(names)}: {command}")
    percent = share(len(commands) - len(unknown), len(commands))
    report.add(
        "AC14", f"{percent:.1f} % of {len(commands)} made of known programs", ">= 97 %", unknown, good=percent >= 97
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=pathlib.Path, default=pathlib.Path("../shared/corpus"))
    parser.add_argument("--show", help="print the misses of one goal")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument(
        "--sample", type=int, default=10, help="of the unlabelled rows, every how many is parsed by bash too"
    )
    parser.add_argument("--quick", action="store_true", help="leave out parsing, speed and coverage")
    options = parser.parse_args()
    if not options.corpus.is_dir():
        print(f"no corpus at {options.corpus}", file=sys.stderr)
        return 2
    report = Report()
    classes(options.corpus, report)
    if not options.quick:
        parsing(options.corpus, report, options.sample)
        speed(options.corpus, report)
        coverage(options.corpus, report)
    report.show()
    for text in report.misses.get(options.show or "", [])[: options.limit]:
        print("   ", repr(text))
    return 0 if all(line[3] for line in report.lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
