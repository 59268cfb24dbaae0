"""How answers look: JSON for programs, aligned and escaped text for people."""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cbx_sandbox.shell.effects import surrogates
from cbx_supervisor.client.failure import printable, unwritten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ELLIPSIS = "…"
LEAST, LEAST_OF_LAST = 2, 10  # columns
_EXACT = frozenset({"command", "path"})


def show_json(value: object) -> None:
    """Print one JSON value on one line, which is valid UTF-8 and Unicode also where a text in it is not."""
    text = json.dumps(value)
    if "\\ud" in text:  # a lone surrogate, or one half of a letter
        text = json.dumps(_valid(value))
    show(text)


def _valid(value: Any) -> Any:
    r"""Show bytes that are no UTF-8 as ``\xff``; beside a command and a path stands what it really is."""
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, dict):
        made = {}
        for key, held in value.items():
            made[_shown(key)] = _valid(held)
            if key in _EXACT and isinstance(held, str) and _shown(held) != held:
                made[f"{key}_base64"] = b64encode(held.encode("utf-8", surrogates(held))).decode()
        return made
    return [_valid(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(text: str) -> str:
    encoded = text.encode("utf-8", "backslashreplace" if surrogates(text) == "surrogatepass" else "surrogateescape")
    return encoded.decode("utf-8", "backslashreplace")


def show(text: str) -> None:
    """Print text that is already safe for a terminal. Raises ClientError where it cannot be written."""
    write(text + "\n")


def write(content: str | bytes) -> None:
    """Write what is safe where stdout leads. Raises ClientError where that fails, BrokenPipeError as in flush."""
    with _written():
        if isinstance(content, str):
            sys.stdout.write(content)
        else:
            sys.stdout.buffer.write(content)


def flush() -> None:
    """Write what was printed. Raises ClientError where that fails, BrokenPipeError where nobody reads any more."""
    with _written():
        sys.stdout.flush()


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as why:
        raise unwritten(why) from why


def remark(text: str) -> None:
    """Say something beside the answer, on stderr."""
    sys.stderr.write(f"cbx: {printable(text)}\n")


def add(text: str) -> None:
    """Say more about a remark, if there is any, in lines of its own."""
    if text:
        sys.stderr.write(f"{lines(text)}\n")


def lines(text: str) -> str:
    """Escape what a terminal would act on, but keep line ends and tabs."""
    return "\n".join("\t".join(printable(part) for part in line.split("\t")) for line in text.split("\n"))


def width() -> int:
    """Return how many columns there are: the terminal's, else as many as read well."""
    if not sys.stdout.isatty():
        return 100
    told = os.environ.get("COLUMNS", "")
    if told.isdigit() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def cell(value: object) -> str:
    """Show one value in a table."""
    return "-" if value is None or value == "" else printable(str(value))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Align columns; on a terminal the last one is cut to fit, then the widest of the others."""
    grid = [list(headers), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in grid) for column in range(len(headers))]
    if sys.stdout.isatty():
        widths = fitting(widths, width() - 2 * (len(widths) - 1))
    return "\n".join(
        "  ".join(cut(text, width).ljust(width) for text, width in zip(row, widths, strict=False)).rstrip()
        for row in grid
    )


def fitting(widths: Sequence[int], room: int) -> list[int]:
    """Return widths of columns that take no more room together, if they can.

    The last column gives first, then the widest of the others; the first one, which names the row, gives last.
    """
    made = list(widths)
    made[-1] = min(made[-1], max(LEAST_OF_LAST, room - sum(made[:-1])))
    for giving in (range(1, len(made)), range(1)):
        while sum(made) > room and (widest := max(giving, key=made.__getitem__, default=0)) in giving:
            if made[widest] <= LEAST:
                break
            made[widest] -= 1
    return made


def cut(text: str, width: int) -> str:
    """Return a text in no more columns; an ellipsis stands for what is left out."""
    return text if len(text) <= width else text[: width - 1] + ELLIPSIS


def pairs(entries: Iterable[tuple[str, object]]) -> str:
    """Align names and values, a line each; entries without a value are left out, lists take a line per item."""
    kept = [(name, value) for name, value in entries if value not in (None, "", [], ())]
    width = max((len(name) for name, _value in kept), default=0)
    made = []
    for name, value in kept:
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        for index, item in enumerate(items):
            made.append(f"{name if index == 0 else '':<{width}}  {printable(str(item))}")
    return "\n".join(made)


def size(count: float | None) -> str | None:
    """Show bytes with a binary unit."""
    if count is None:
        return None
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f}".removesuffix(".0") + f" {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def seconds(count: float | None) -> str | None:
    """Show a duration."""
    if count is None:
        return None
    if count < 1:
        return f"{count * 1000:.0f} ms"
    if count < 60:
        return f"{count:.2f}".removesuffix("0").removesuffix(".0") + " s"
    minutes, rest = divmod(int(count), 60)
    first, second = (f"{minutes} min", f"{rest} s") if minutes < 60 else (f"{minutes // 60} h", f"{minutes % 60} min")
    return first if second[0] == "0" else f"{first} {second}"


def when(value: str | float | None) -> str | None:
    """Show a time of the Unix clock as the local one; text is taken as it is."""
    if value is None or isinstance(value, str):
        return value
    import datetime as dt  # noqa: PLC0415 -- most verbs show no times

    try:
        return dt.datetime.fromtimestamp(value).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # of no year that there is
        return str(value)


def counted(changes: Mapping[str, Any] | None) -> str | None:
    """Show a change set's size: +added ~changed -deleted."""
    if not changes:
        return None
    parts = [
        f"{sign}{changes[key]}"
        for key, sign in (("added", "+"), ("changed", "~"), ("deleted", "-"))
        if changes.get(key)
    ]
    return " ".join(parts) if parts else "none"


def rows_of(answer: Any, key: str) -> list[dict[str, Any]]:
    """Return the list in an answer, bare or under its name."""
    return list(answer[key] if isinstance(answer, dict) else answer)
