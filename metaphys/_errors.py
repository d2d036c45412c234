"""How metaphys refuses bad input: name the argument, show what arrived, say the remedy."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, NoReturn


def refuse(
    argument: str,
    *,
    expected: str,
    got: Any,
    remedy: str = "",
    error: type[Exception] = ValueError,
) -> NoReturn:
    """Raise ``error`` with the three parts that every message of this library has.

    Args:
        argument: the argument's name as the caller wrote it.
        expected: what it has to be, as the end of "must be ...".
        got: what arrived; shown as it prints.
        remedy: a sentence that says what to do instead.
        error: the exception type (``ValueError`` for values, ``TypeError`` for kinds).

    Raises:
        error: always.

    Example:
        >>> refuse("lr", expected=">= 0", got=-0.1, remedy="Use maximize=True to ascend.")
        Traceback (most recent call last):
        ...
        ValueError: `lr` must be >= 0, but got -0.1. Use maximize=True to ascend.
    """
    text = f"`{argument}` must be {expected}, but got {got}."
    raise error(f"{text} {remedy}" if remedy else text)


def check(
    condition: bool,
    argument: str,
    *,
    expected: str,
    got: Any,
    remedy: str = "",
    error: type[Exception] = ValueError,
) -> None:
    """Do nothing where ``condition`` holds, else :func:`refuse`."""
    if not condition:
        refuse(argument, expected=expected, got=got, remedy=remedy, error=error)


def check_kind(
    value: Any,
    kind: type | tuple[type, ...],
    argument: str,
    *,
    expected: str,
    remedy: str = "",
) -> None:
    """Do nothing where ``value`` is a ``kind``, else a ``TypeError`` with its type's name.

    Example:
        >>> check_kind("0.1", float, "lr", expected="a number")
        Traceback (most recent call last):
        ...
        TypeError: `lr` must be a number, but got str.
    """
    if not isinstance(value, kind):
        got = type(value).__name__
        refuse(argument, expected=expected, got=got, remedy=remedy, error=TypeError)


def refused(error: BaseException) -> bool:
    """Whether one of our own checks raised it.

    Example:
        >>> try:
        ...     refuse("lr", expected=">= 0", got=-0.1)
        ... except ValueError as error:
        ...     refused(error), refused(ValueError("of somebody else"))
        (True, False)
    """
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename) == Path(__file__)
