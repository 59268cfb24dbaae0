"""The table for people and the JUnit file for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from tests.bench.accuracy.goals import Result


def amount(value: float, unit: str) -> str:
    """Write a value with its unit."""
    if unit == "rows":
        return f"{value:.0f}"
    return f"{value:.2f} {unit}"


def line(result: Result) -> str:
    """Write one line of the table."""
    goal, measured = result.goal, result.measured
    state = "LOST" if result.lost else "ok" if result.met else "miss"
    wanted = f"{'<=' if goal.at_most else '>='} {goal.bound:g}{'' if goal.unit == 'rows' else ' ' + goal.unit}"
    note = ""
    if measured.failing:
        note = f"{len(measured.failing)} failing" + (f", {result.disputed} of them disputed" if result.disputed else "")
    if result.met and result.recorded is None:
        note = (note + "; " if note else "") + "reached, not recorded in goals.toml"
    return (
        f"{state:5} {goal.name:15} {goal.text:42} {amount(measured.value, goal.unit):>10} of {measured.of:<6}"
        f" {wanted:>9}  {note}".rstrip()
    )


def show(results: Sequence[Result]) -> None:
    """Print the table."""
    previous = ""
    for result in results:
        if result.material.name != previous:
            previous = result.material.name
            print(
                f"-- {previous}: {len(result.material.everything())} commands, {len(result.material.disputed)} disputed"
            )
        print(line(result))


def junit(results: Sequence[Result], path: Path) -> None:
    """Write a case for each goal: lost is a failure, never reached is an expected one."""
    suite = ET.Element("testsuite", name="accuracy")
    for result in results:
        case = ET.SubElement(suite, "testcase", classname=f"accuracy.{result.material.name}", name=result.goal.name)
        if result.lost:
            ET.SubElement(case, "failure", message=line(result))
        elif not result.met and result.recorded is None:
            ET.SubElement(case, "skipped", type="pytest.xfail", message=line(result))
        ET.SubElement(case, "system-out").text = line(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
