"""The one funnel to system calls that Python does not wrap: a number or a libc name in, a result or an OSError out."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# PyDLL keeps the GIL: for calls after which a second process returns (clone3).
_libc_holding_gil = ctypes.PyDLL(None, use_errno=True)
_libc_holding_gil.syscall.restype = ctypes.c_long

Argument = int | bytes | None | ctypes.Structure | ctypes.Array[ctypes.c_char]


def _convert(argument: object) -> object:
    # Plain ints would travel as 32-bit C ints: flags and pointers need all 64 bits.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def check(result: int, what: str) -> int:
    """Return ``result``, or raise the OSError of the current errno, named after the call."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: object, name: str | None = None) -> int:
    """Call the system call ``number``; raise OSError on failure (syscall(2))."""
    result = _libc.syscall(ctypes.c_long(number), *map(_convert, arguments))
    return check(result, name or f"syscall {number}")


def syscall_holding_gil(number: int, *arguments: object, name: str) -> int:
    """As :func:`syscall`, without letting go of the interpreter: for calls that return in two processes."""
    result = _libc_holding_gil.syscall(ctypes.c_long(number), *map(_convert, arguments))
    return check(result, name)


def function(name: str, *types: type[Any]) -> Callable[..., int]:
    """The libc function ``name`` with the types of its arguments: for what is called very often; see :func:`check`."""
    found: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_int, *types, use_errno=True)((name, _libc))
    return found


def call(name: str, *arguments: object) -> int:
    """Call the libc function ``name``, which returns an int and sets errno."""
    function = getattr(_libc, name)
    return check(function(*map(_convert, arguments)), name)
