"""`make bench`: cbx beside its peers, in one run, as ratios. No figure of it is ever asserted in a test.

make bench ARGS='--runs 30 --json bench.json start many'
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import peers
from figures import Report
from parts import PARTS
from world import supervisor


def main() -> int:
    """Measure, print, write; 0 whatever the figures are, unless --strict."""
    parser = argparse.ArgumentParser(description="cbx beside its peers, as ratios of medians")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="samples of each variant (default: 30)")
    parser.add_argument("--json", metavar="FILE", help="write samples, figures and goals there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is not reached")
    options = parser.parse_args()
    if os.getuid() != 0:
        print("bench: it needs root, for name spaces and control groups: sudo make bench", file=sys.stderr)
        return 1
    report = Report()
    report.facts |= {"kernel": platform.release(), "cores": os.cpu_count(), "runs": options.runs, "at": time.time()}
    report.facts["load before"] = os.getloadavg()[0]
    print(
        f"Linux {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.runs} runs each"
    )
    try:
        with supervisor() as world:
            for name in options.parts or PARTS:
                PARTS[name](world, report, options.runs)
    finally:
        peers.clean_up()
    report.facts["load after"] = os.getloadavg()[0]
    report.print_goals()
    if options.json:
        Path(options.json).write_text(report.to_json(), encoding="utf-8")
    missed = [goal for goal in report.goals if goal.verdict != "reached"]
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
