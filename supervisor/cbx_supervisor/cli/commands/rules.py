"""`rules`: what cbx knows about programs, and whether rule files are right; needs no supervisor."""

from __future__ import annotations

import fnmatch
import os
import sys

import click

from cbx_sandbox.shell import rules
from cbx_supervisor import paths as places
from cbx_supervisor.cli import output, own_rules
from cbx_supervisor.client.failure import ClientError, quoted


@click.group(short_help="Show and check what is known about programs.")
def command() -> None:
    """Show and check what cbx knows about programs: the data that tiers and effects are predicted from.

    Beside cbx's own, these are the administrator's files in /etc/cbx/rules.d and, as far as they make things
    stricter, the .cbx-rules.toml of a project.
    """


@command.command("list")
@click.argument("pattern", default="*")
@click.option("--family", help="Only those of one file, for example git.")
@click.option("--json", "as_json", is_flag=True, help="Print each program as a line of JSON.")
def list_(pattern: str, family: str | None, as_json: bool) -> None:
    """List the programs that have a rule; PATTERN may have * and ?."""
    from cbx_supervisor.cli import rule_text  # noqa: PLC0415 -- `check` and --help need none of it

    own_rules.use()
    found = []
    for name in sorted(fnmatch.filter(rules.names(), pattern)):
        rule = rules.find(name)
        if rule is not None:
            found.append(rule_text.summary(name, rule))
    found = [entry for entry in found if family in {None, entry["family"]}]
    if as_json:
        for entry in found:
            output.show_json(entry)
        return
    rows = [
        (entry["name"], entry["family"], entry["tier"], entry["worst"], f"{entry['source']}:{entry['line']}")
        for entry in found
    ]
    output.show(output.table(("PROGRAM", "FAMILY", "USUAL TIER", "WORST TIER", "FILE"), rows))


@command.command(short_help="Show the rule of one program or subcommand.")
@click.argument("program")
@click.argument("subcommand", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(program: str, subcommand: tuple[str, ...], as_json: bool) -> None:
    """Show the rule of one program, or of its subcommand: tiers, operands, options, variables and examples.

    Also which file and line it comes from, and what the administrator's rules changed in it.
    """
    from cbx_supervisor.cli import rule_text  # noqa: PLC0415

    own_rules.use()
    rule = rules.find(program)
    if rule is None:
        raise ClientError(
            f"there is no rule for {quoted(program)}",
            hint="an unknown program is SEQUENTIAL_REQUIRED, with the project directory as what it writes",
        )
    for word in subcommand:
        known = rule.subs
        found = rule.sub(word)
        if found is None:
            raise ClientError(
                f"the rule of {rule.name} has no subcommand {quoted(word)}",
                hint=f"it has: {' '.join(known)}" if known else f"{rule.name} has none: its rule stands for all of it",
            )
        rule = found
    if as_json:
        output.show_json(rule_text.describe(rule) if subcommand else rule_text.whole(program, rule))
    else:
        output.show(rule_text.render(program, rule, output.width() if sys.stdout.isatty() else None))


@command.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Check rule files: their text, and every example in them.

    Without FILE: cbx's own, those in /etc/cbx/rules.d, and the project's. A FILE is tried as if it were the last of
    /etc/cbx/rules.d; one that is called .cbx-rules.toml as a project's.

    The exit status is 0 when nothing is wrong, 1 when something is, 125 when cbx itself failed.
    """
    from cbx_sandbox.shell import project_rules  # noqa: PLC0415
    from cbx_supervisor.cli import rule_checks  # noqa: PLC0415

    directory = places.from_environment(os.environ, uid=os.getuid()).rules
    if files:
        report = rule_checks.given(directory, files)
    else:
        from cbx_sandbox.facts import HostFacts  # noqa: PLC0415

        cwd = os.getcwd()
        path = os.path.join(HostFacts(cwd, os.environ).project_root(cwd), project_rules.FILE)
        report = rule_checks.installed(directory, path if os.path.lexists(path) else "")
    problems = report.problems
    if as_json:
        output.show_json(
            {
                "files": report.files,
                "programs": report.programs,
                "examples": report.examples,
                "problems": [{"file": entry.source, "line": entry.line, "text": entry.text} for entry in problems],
            }
        )
    else:
        for entry in problems:
            output.show(output.lines(str(entry)))
        counted = [(len(report.files), "file"), (report.programs, "program"), (report.examples, "example")]
        found = _count(len(problems), "problem") if problems else "no problems"
        output.show(f"checked {', '.join(_count(*entry) for entry in counted)}: {found}")
    return int(bool(problems))


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
