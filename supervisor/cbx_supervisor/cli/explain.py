"""What `cbx-sandbox explain` starts: without the command tree, whose import takes longer than the analysis."""

from __future__ import annotations

import gc
import sys

gc.disable()  # a process of a tenth of a second that keeps all it imports: looking for garbage finds none
if "msgspec" not in sys.modules and "typing_extensions" not in sys.modules:
    # msgspec takes typing_extensions where it is installed, and what it takes of it is in typing since Python 3.11.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # what keeps it from being imported
    import msgspec  # noqa: F401

    del sys.modules["typing_extensions"]

from cbx_supervisor.cli import funnel, output, own_rules, paint  # noqa: E402
from cbx_supervisor.cli.explanation import Explanation  # noqa: E402
from cbx_supervisor.client import options  # noqa: E402


def main() -> None:
    """Explain what the command line says and exit."""
    sys.exit(funnel.status_of(lambda: run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """Explain one command; the options are those of `run`."""
    values, words = options.parse(arguments)
    if "help" in values:
        from cbx_supervisor.cli.main import status_of  # noqa: PLC0415 -- the help is the command tree's

        return status_of(["explain", "--help"])
    own_rules.use()
    explanation = Explanation(values, words)
    if "json" in values:
        output.show_json(explanation.describe())
    else:
        output.show(explanation.render(width=output.width(), paint=paint.Paint(on=paint.wanted())))
    return 0


if __name__ == "__main__":
    main()
