"""The one error that the client raises.

It has the shape of cbx_sandbox.errors.CbxError and is not that class because `run` must start fast: the sandbox's
package lies on another import root and imports more.
"""


class ClientError(Exception):
    """A failure worded for the person who reads it: what, why, and what to do about it."""

    def __init__(self, brief: str, *, hint: str | None = None, status: int = 125) -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint
        self.status = status


class UnreachableError(ClientError):
    """No supervisor answers, and this caller cannot start one; or it went away before it had answered."""


def internal(why: Exception) -> ClientError:
    """Word a fault of cbx's own: what it is, and where it happened, for a report."""
    trace = why.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "an unknown place"
    return ClientError(
        f"internal error: {type(why).__name__}: {why}", hint=f"please report this; it happened at {place}"
    )


def unwritten(why: OSError) -> ClientError:
    """Word that an answer could not be written."""
    return ClientError(f"cannot write to standard output: {why.strerror}")


def printable(text: str) -> str:
    """Escape what a terminal would act on: control characters and bytes that are no text.

    File names and command lines come from anywhere; an escape sequence in one must not reach the terminal.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def quoted(text: str) -> str:
    """Show a word from the command line in a message."""
    return printable(text) if text else "''"


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, smuggled through by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
