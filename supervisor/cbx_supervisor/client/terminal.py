"""The caller's terminal while the job has a private one: raw mode, its size, and back again on every way out."""

import fcntl
import posix
import termios

END_OF_FILE = b"\x04\x04"  # the first may only end an unfinished line
IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6


def size() -> tuple[int, int] | None:
    """Return rows and columns of the first of stdin, stdout and stderr that is a terminal with a size."""
    for number in range(3):
        if posix.isatty(number):
            columns, rows = posix.get_terminal_size(number)
            if rows and columns:
                return rows, columns
    return None


class Terminal:
    """Stdin's terminal in raw mode, if stdin is one."""

    def __init__(self) -> None:
        self._saved: list[int | list[bytes | int]] | None = None
        self.present = posix.isatty(0)

    def make_raw(self) -> None:
        """Hand every key to the job's own terminal, which does the editing, the echo and the signals."""
        if not self.present or self._saved is not None:
            return
        saved = termios.tcgetattr(0)
        raw = termios.tcgetattr(0)
        raw[IFLAG] &= ~(
            termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON | termios.INLCR
            | termios.IGNCR | termios.PARMRK | termios.IGNBRK
        )  # fmt: skip
        raw[OFLAG] &= ~termios.OPOST
        raw[CFLAG] = (raw[CFLAG] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        raw[LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG)
        raw[CC][termios.VMIN], raw[CC][termios.VTIME] = 1, 0
        self._saved = saved
        termios.tcsetattr(0, termios.TCSADRAIN, raw)

    def restore(self) -> None:
        """Give the terminal back as it was."""
        saved, self._saved = self._saved, None
        if saved is not None:
            try:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
            except termios.error:  # it hung up
                return


def copy_size(master: int) -> None:
    """Give the job's terminal the size of the caller's; the kernel then sends SIGWINCH inside."""
    for number in range(3):
        if posix.isatty(number):
            try:
                fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(number, termios.TIOCGWINSZ, bytes(8)))
            except OSError:
                return
            return
