"""Options of the types that they are annotated with: a script may give any."""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from metaphys._errors import check, refuse

if TYPE_CHECKING:
    from typing_extensions import Self

UNFIT: Any = object()
"""What is taken of a value that is none of its kind."""

NUMBERS: dict[type, Callable[[Any], Any]] = {int: operator.index, float: float}

WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "None",
}


def conform(config: Any) -> None:
    """Make every option of a frozen dataclass what its annotation says, or refuse it.

    What counts as a whole number becomes an ``int``, any other real number a ``float``, text for a
    place a ``Path``, and a list, as JSON has it, a tuple. Where one is refused none is changed.

    Args:
        config: with a default for every field; annotations are bool, int, float, str, ``Path``,
            ``Literal`` of words, tuples of any number of these, and any of that or ``None``.

    Raises:
        TypeError: an option is of another kind.
        ValueError: it is none of the words that it may be.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     units: int = 8
        ...     rates: tuple[float, ...] = (0.1, 1.0)
        ...     __post_init__ = conform
        >>> Options(rates=[1, 3])
        Options(units=8, rates=(1.0, 3.0))
        >>> Options(units="3")
        Traceback (most recent call last):
        ...
        TypeError: `units` must be a whole number, but got '3' (str). Its default is 8.
    """
    found = {}
    for field in dataclasses.fields(config):
        given, kind = getattr(config, field.name), _annotations(type(config))[field.name]
        found[field.name] = _taken(given, kind)
        if found[field.name] is UNFIT:
            refuse(
                field.name,
                expected=_described(kind),
                got=f"{reprlib.repr(given)} ({type(given).__name__})",
                remedy=f"Its default is {field.default!r}.",
                error=ValueError if _of_words(kind) else TypeError,
            )
    for name, value in found.items():
        object.__setattr__(config, name, value)


@dataclass(frozen=True)
class Options:
    """What every configuration is: options checked by their types, which files can hold.

    Example:
        >>> @dataclass(frozen=True)
        ... class Plan(Options):
        ...     rates: tuple[float, ...] = (0.1, 1.0)
        ...     root: Path | None = Path("data")
        >>> Plan().to_json()
        {'rates': [0.1, 1.0], 'root': 'data'}
        >>> Plan.from_json({"rates": [3]}).rates
        (3.0,)
    """

    _apart: ClassVar[tuple[str, ...]] = ()
    """Options that are no part of what a run is: no file holds them."""

    def __post_init__(self) -> None:
        conform(self)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``config.json``: places as text, tuples as lists."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in self._apart]
        return {name: _plain(getattr(self, name)) for name in names}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The inverse of :meth:`to_json`, of what a file holds, which may be anything.

        Raises:
            ValueError: an entry is unknown or of another kind.
        """
        known = sorted(field.name for field in dataclasses.fields(cls))
        fits = isinstance(values, dict) and set(values) <= {*known}
        check(fits, "config", expected=f"of entries among {known}", got=values)
        try:
            return cls(**values)
        except TypeError as error:
            message = f"`config` must be one of metaphys, but got {values}: {error}"
            raise ValueError(message) from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [*map(_plain, value)]
    return str(value) if isinstance(value, Path) else value


@cache
def _annotations(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _taken(value: Any, kind: Any) -> Any:
    """The value as one of its kind, or ``UNFIT``."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value if isinstance(value, str) and value in parts else UNFIT
    if origin is tuple:
        each = [_taken(v, parts[0]) for v in value] if isinstance(value, (list, tuple)) else [UNFIT]
        return UNFIT if any(v is UNFIT for v in each) else tuple(each)
    if parts:
        return next((v for v in (_taken(value, part) for part in parts) if v is not UNFIT), UNFIT)
    return _taken_simply(value, kind)


def _taken_simply(value: Any, kind: type) -> Any:
    if kind in NUMBERS:
        number = not isinstance(value, bool) and (kind is int or isinstance(value, Real))
        with suppress(TypeError, OverflowError):
            return NUMBERS[kind](value) if number else UNFIT
        return UNFIT
    if kind is Path and isinstance(value, str):
        return Path(value)
    return value if isinstance(value, kind) else UNFIT


def _described(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin is tuple:
        return f"a tuple, each {_described(parts[0])}"
    return " or ".join(map(_described, parts)) if parts else WORDS[kind]


def _of_words(kind: Any) -> bool:
    return get_origin(kind) is Literal or any(map(_of_words, get_args(kind)))
