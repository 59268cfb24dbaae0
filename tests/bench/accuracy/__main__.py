"""Print the table of the goals; exit with 1 when one that was reached is lost.

make accuracy ARGS='--corpus FOLDER --show AC4 --goal AC4'
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.bench.accuracy import beside, goals, material, report

BESIDE = Path(__file__).parents[4] / "shared" / "corpus"


def _corpus() -> Path | None:
    """Return the corpus that the environment names, else the one that lies beside the repository."""
    named = os.environ.get("CBX_CORPUS")
    if named is not None:
        return Path(named) if named else None
    return BESIDE if BESIDE.is_dir() else None


def main() -> int:
    """Measure, print, and say whether something was lost."""
    parser = argparse.ArgumentParser(prog="accuracy", description="the goals of the command analysis")
    parser.add_argument(
        "--corpus",
        type=lambda text: Path(text) if text else None,
        default=_corpus(),
        help="folder of a corpus to measure as well (default: $CBX_CORPUS, else ../shared/corpus beside the repository"
        " where that is; empty for none); without one, the own rows alone",
    )
    parser.add_argument(
        "--goal", action="append", help="measure only this goal, as AC4 or 'AC2 floor'; may be repeated"
    )
    parser.add_argument("--show", metavar="GOAL", action="append", default=[], help="list what fails it")
    parser.add_argument("--limit", type=int, default=40, help="list at most so many (default: 40)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit file as well")
    options = parser.parse_args()
    if options.corpus and not options.corpus.is_dir():
        print(f"accuracy: no corpus at {options.corpus}", file=sys.stderr)
        return 2

    def named(goal: goals.Goal, names: list[str]) -> bool:
        return goal.name in names or goal.name.split()[0] in names

    materials = [material.own(), *([material.corpus(options.corpus)] if options.corpus else [])]
    results = [
        result
        for one in materials
        for result in goals.measure(one, lambda goal: not options.goal or named(goal, options.goal))
    ]
    report.show(results)
    if not options.goal or "AC13" in options.goal:
        for one in materials:
            beside.show(one)
    for result in results:
        if named(result.goal, options.show):
            print(f"-- {result.material.name} {result.goal.name}")
            for failure in result.measured.failing[: options.limit]:
                mark = " (disputed)" if material.digest(failure.command) in result.material.disputed else ""
                print(f"    {failure.how}{mark}: {failure.command!r}")
    if options.junit:
        report.junit(results, options.junit)
    lost = [f"{result.material.name} {result.goal.name}" for result in results if result.lost]
    if lost:
        print(f"accuracy: lost: {', '.join(lost)}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
