"""Whether a file holds what a reader of it counts on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check

EACH: Any = object()
"""A key of an example: whatever further keys there are, each value is like this one."""

RESUMED = "A finished run writes it again with its own options and --resume."


@dataclass(frozen=True)
class Maybe:
    """``None``, or like the example."""

    like: Any


def check_like(value: Any, like: Any, path: Path) -> None:
    """Do nothing where a value read from a file is built as an example is.

    Args:
        value: what was read.
        like: the example. A dict has at least its keys (see :data:`EACH`); a list has at least
            one entry, a tuple any number, all like its only one; an int is a whole number, not
            less; a float any number; a str any text.
        path: of the file.

    Raises:
        ValueError: it is built in another way; where, is said.

    Example:
        >>> check_like({"judged": 9, "taken": [0.5, 1]}, {"judged": 1, "taken": (0.0,)}, Path("a"))
        >>> check_like({"judged": 9, "taken": ["?"]}, {"taken": [0.0]}, Path("run", "a.json"))
        Traceback (most recent call last):
        ...
        ValueError: `a.json` must be with a number at taken[0], but got '?' in run/a.json. ...
    """
    for place, expected, got in _unlike(value, like, ""):
        at = f" at {place.lstrip('.')}" if place else ""
        where = f"{got} in {path}"
        check(False, path.name, expected=f"with {expected}{at}", got=where, remedy=RESUMED)


def _unlike(value: Any, like: Any, place: str) -> Iterator[tuple[str, str, str]]:
    """Where it is not so, what is expected there, and what there is."""
    if isinstance(like, Maybe):
        if value is not None:
            yield from _unlike(value, like.like, place)
    elif isinstance(like, dict):
        yield from _unlike_dict(value, like, place)
    elif isinstance(like, (list, tuple)):
        fits = isinstance(value, list) and (len(value) > 0 or isinstance(like, tuple))
        if not fits:
            yield place, "a list" if isinstance(like, tuple) else "a list of some", _shown(value)
            return
        for index, each in enumerate(value):
            yield from _unlike(each, like[0], f"{place}[{index}]")
    elif not _is_like(value, like):
        yield place, _named(like), _shown(value)


def _unlike_dict(value: Any, like: dict[Any, Any], place: str) -> Iterator[tuple[str, str, str]]:
    if not isinstance(value, dict):
        yield place, "an object", _shown(value)
        return
    expected = {key: each for key, each in like.items() if key is not EACH}
    if EACH in like:
        expected = dict.fromkeys(value, like[EACH]) | expected
    for key, each in expected.items():
        below = f"{place}.{key}"
        if key in value:
            yield from _unlike(value[key], each, below)
        else:
            yield below, "something", "nothing"


def _is_like(value: Any, like: Any) -> bool:
    if isinstance(like, str) or isinstance(value, bool):
        return isinstance(value, str)
    if isinstance(like, int):
        return isinstance(value, int) and value >= like
    return isinstance(value, (int, float))


def _named(like: Any) -> str:
    if isinstance(like, str):
        return "text"
    return f"a whole number >= {like}" if isinstance(like, int) else "a number"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
