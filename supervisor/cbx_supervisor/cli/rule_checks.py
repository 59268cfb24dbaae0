"""Rule files tried: what is wrong with their text, and which of their examples do not hold."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import project_rules, rules
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.rules import RuleFile, examples
from cbx_sandbox.shell.rules.lines import Lines
from cbx_supervisor import rule_files
from cbx_supervisor.rule_files import FileProblem


@dataclass
class Report:
    """What was looked at, and what was found."""

    files: list[str] = field(default_factory=list)
    programs: int = 0
    examples: int = 0
    problems: list[FileProblem] = field(default_factory=list)

    def add(self, file: RuleFile, facts: StaticFacts) -> None:
        """Check a file; its rules have to be in force, or handed in by the facts."""
        self.files.append(file.source)
        found = rule_files.check(file)
        self.problems += found
        if found:
            return
        tables = tomllib.loads(file.text)
        lines = Lines(file.text)
        self.programs += sum(len(key.split()) for key in tables)
        for example in examples.of(tables):
            self.examples += 1
            tier = analyse(example.command, facts).tier
            if tier is not example.tier:
                text = f"the example does not hold: {example.command}: it is {tier}, not {example.tier}"
                self.problems.append(FileProblem(file.source, lines.of(example.path), text))


def installed(directory: str, project_file: str) -> Report:
    """Check cbx's own files, the administrator's, and the project's where there is one."""
    report = Report()
    rules.forget()
    for file in rules.own():
        report.add(file, StaticFacts())
    loaded = rule_files.read(directory)
    report.files += dict.fromkeys(problem.source for problem in loaded.problems)
    report.problems += loaded.problems
    rules.use(loaded.files)
    for file in loaded.files:
        report.add(file, StaticFacts())
    _given(report, [project_file] if project_file else [], loaded.files)
    return report


def given(directory: str, paths: Sequence[str]) -> Report:
    """Check files as if they were the last of the administrator's, or a project's if they are called so."""
    report = Report()
    _given(report, paths, rule_files.read(directory).files)
    return report


def _given(report: Report, paths: Iterable[str], in_force: tuple[RuleFile, ...]) -> None:
    for path in paths:
        text = _text(report, path)
        if text is None:
            continue
        file = RuleFile(path, text)
        if path.rpartition("/")[2] == project_rules.FILE:
            rules.use(in_force)
            report.add(file, _in_project(text))
            problem = project_rules.too_long(text)
            if problem:
                report.problems.append(FileProblem(path, 0, problem))
            continue
        if not rule_files.check(file):
            in_force = (*(other for other in in_force if other.source != path), file)
        rules.use(in_force)
        report.add(file, StaticFacts())


def _text(report: Report, path: str) -> str | None:
    try:
        with open(path, "rb") as opened:
            data = opened.read(rule_files.MAX_BYTES + 1)
        if len(data) <= rule_files.MAX_BYTES:
            return data.decode("utf-8")
        problem = f"is longer than {rule_files.MAX_BYTES >> 20} MiB: it would not be used"
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}"
    report.files.append(path)
    report.problems.append(FileProblem(path, 0, problem))
    return None


def _in_project(text: str) -> StaticFacts:
    path = f"{StaticFacts().root}/{project_rules.FILE}"
    return StaticFacts(files={path: "file"}, texts={path: text})
