"""The help of `run`, made from the table that its parser uses."""

from cbx_supervisor.client.options import OPTIONS

WIDTH = 29  # of the column with the names; a longer name stands on a line of its own

HEAD = """\
Usage: cbx-sandbox run [OPTIONS] [--] COMMAND [ARGUMENT...]
       cbx-sandbox run [OPTIONS] -c LINE

Run one command in a box, under limits, with its changes reversible.

Options end at -- or at the first word that is none.
"""
TAIL = """\
Exit status: the command's own; 124 timed out; 125 cbx failed or was misused;
126 denied or not executable; 127 not found; 128+n ended by signal n; 75 not
started. --json has the truth where these are ambiguous.
"""


def help_text() -> str:
    """Return what `cbx-sandbox run --help` prints."""
    lines = [HEAD]
    for group, options in OPTIONS:
        lines.append(f"{group}:")
        for short, name, _key, _kind, metavar, text in options:
            left = "  " + (f"{short}, {name}" if short and name else short or f"    {name}")
            left += f" {metavar}" if metavar else ""
            if len(left) > WIDTH - 2:
                lines.append(left)
                left = ""
            lines.append(f"{left:<{WIDTH}}{text}")
        lines.append("")
    return "\n".join([*lines, TAIL])
