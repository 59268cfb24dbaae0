"""The administrator's rules: the files of one directory, in the order of their names, read and checked."""

from __future__ import annotations

import os
import stat

from msgspec import Struct

from cbx_sandbox.errors import CbxError
from cbx_sandbox.shell import rules
from cbx_sandbox.shell.rules import RuleFile
from cbx_supervisor.trusted_files import check_owner

MAX_BYTES = 1 << 20  # of one file: all of cbx's own together are a tenth of it


class FileProblem(Struct, frozen=True):
    """Why a file is not used; ``line`` is 0 where that is no matter of a line."""

    source: str
    line: int
    text: str

    def __str__(self) -> str:
        """File, line and what is wrong."""
        return f"{self.source}:{self.line}: {self.text}" if self.line else f"{self.source}: {self.text}"


class Loaded(Struct, frozen=True):
    """What a directory holds: the files that can be used, and what is wrong with the others."""

    files: tuple[RuleFile, ...] = ()
    problems: tuple[FileProblem, ...] = ()


def read(directory: str) -> Loaded:
    """Read a directory of rules; none is as good as an empty one."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".toml"))
        check_owner(directory, os.stat(directory))
    except (FileNotFoundError, NotADirectoryError):
        return Loaded()
    except (OSError, CbxError) as error:
        return Loaded(problems=(FileProblem(directory, 0, _why(error)),))
    files: list[RuleFile] = []
    problems: list[FileProblem] = []
    for name in names:
        path = f"{directory}/{name}"
        try:
            file = RuleFile(path, text_of(path))
        except (OSError, CbxError) as error:
            problems.append(FileProblem(path, 0, _why(error)))
            continue
        found = check(file)
        problems += found
        if not found:
            files.append(file)
    return Loaded(tuple(files), tuple(problems))


def text_of(path: str) -> str:
    """Return the text of a file that is root's own. Raises OSError, or CbxError that says what is wrong with it."""
    # A fifo would have whoever opens it wait for a writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CbxError(
                f"cannot use {path}: it is not a regular file", hint=f"remove it, or rename it: mv {path} {path}.off"
            )
        check_owner(path, status)
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CbxError(f"cannot use {path}: it is longer than {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CbxError(f"cannot use {path}: it is not UTF-8") from error


def check(file: RuleFile) -> list[FileProblem]:
    """Return what is wrong with the text of a file."""
    from cbx_sandbox.shell.handlers import HANDLERS  # noqa: PLC0415 -- most hosts have no rules of their own
    from cbx_sandbox.shell.rules import checking  # noqa: PLC0415

    return [
        FileProblem(file.source, problem.line, f"{problem.where}: {problem.text}" if problem.where else problem.text)
        for problem in checking.problems(file.text, HANDLERS)
    ]


def use(directory: str) -> tuple[FileProblem, ...]:
    """Have the usable files of a directory in force; return what is wrong with the others."""
    loaded = read(directory)
    rules.use(loaded.files)
    return loaded.problems


def _why(error: Exception) -> str:
    if isinstance(error, CbxError):
        return f"{error.brief} ({error.hint})" if error.hint else error.brief
    return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
