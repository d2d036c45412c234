"""Options of every experiment: of the types that they are annotated with, or refused by name."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from metaphys._options import conform
from metaphys.rl import Config as RLConfig
from metaphys.training import Config, TrainConfig
from metaphys.training._patience import Patience
from metaphys.training.drifting import DriftConfig
from metaphys.training.recalibration import RecalibrationConfig

KINDS: tuple[Any, ...] = (
    Patience,
    Config,
    TrainConfig,
    RecalibrationConfig,
    DriftConfig,
    RLConfig,
)
FIELDS = [
    pytest.param(kind, field, get_type_hints(kind)[field.name], id=f"{kind.__qualname__}.{name}")
    for kind in KINDS
    for field in dataclasses.fields(kind)
    for name in [field.name]
]

NOWHERE = {
    bool: [0, "no"],
    int: ["3", 1.5, True, [3], torch.tensor(1.5)],
    float: ["0.1", True, [0.1], 1j, 10**400],
    Path: [3, b"data", ["data"]],
}
"""Values that are none of a kind."""


def unfit(annotation: Any) -> list[Any]:
    """What an option with this annotation must not be."""
    parts = get_args(annotation)
    if get_origin(annotation) is tuple:
        return [None, "start", 3, *([each] for each in ([1.5], {}))]
    if type(None) in parts:
        return [value for value in unfit(parts[0]) if value is not None]
    return [None, *NOWHERE.get(annotation, [3, "no such word", ["plate"]])]


@pytest.mark.parametrize(("kind", "field", "annotation"), FIELDS)
def test_an_option_of_another_type_is_named_and_shown(
    kind: Any, field: Any, annotation: Any
) -> None:
    for value in unfit(annotation):
        with pytest.raises((TypeError, ValueError)) as caught:
            kind(**{field.name: value})
        said = str(caught.value)
        assert said.startswith(f"`{field.name}` must be "), said
        assert f"({type(value).__name__}). Its default is {field.default!r}." in said
        shown = re.escape(repr(value)[:10])
        assert re.search(f"but got {shown}", said), said


@pytest.mark.parametrize(("kind", "field", "annotation"), FIELDS)
def test_an_option_of_its_type_stays_what_it_is(kind: Any, field: Any, annotation: Any) -> None:
    config = kind()
    again = kind(**{field.name: field.default})
    value = getattr(again, field.name)
    assert again == config and value == field.default and type(value) is type(field.default)


OTHERS = {int: (np.int64, torch.tensor), float: (np.float64, np.float32)}
COUNTED = [case for case in FIELDS if case.values[2] in OTHERS]


@pytest.mark.parametrize(("kind", "field", "annotation"), COUNTED)
def test_numbers_of_other_libraries_are_taken(kind: Any, field: Any, annotation: Any) -> None:
    """A seed that numpy counted ends in ``config.json`` like any other."""
    for other in OTHERS[annotation]:
        found = getattr(kind(**{field.name: other(field.default)}), field.name)
        assert type(found) is annotation and found == pytest.approx(field.default)


def test_whole_numbers_are_numbers_and_lists_are_tuples() -> None:
    config = RecalibrationConfig(spread=1, budgets=[5, 9], data_root="somewhere")  # type: ignore[arg-type]
    assert (config.spread, config.budgets, config.data_root) == (1.0, (5, 9), Path("somewhere"))
    assert isinstance(config.spread, float)
    assert Config(learn=["rates", "start"]).learn == ("rates", "start")  # type: ignore[arg-type]
    wrong: tuple[tuple[Any, ...], ...] = ((), ("start", "start"))
    for none_or_twice in wrong:
        with pytest.raises(ValueError, match="`learn` must be one or more, each once"):
            Config(learn=none_or_twice)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_what_is_read(kind: Any) -> None:
    """In the order of the fields, without a place or a tuple in it."""
    config = kind()
    stored = config.to_json()
    patience = {field.name for field in dataclasses.fields(Patience)}
    apart = patience if issubclass(kind, Patience) else set()
    assert list(stored) == [f.name for f in dataclasses.fields(kind) if f.name not in apart]
    assert json.loads(json.dumps(stored)) == stored and kind.from_json(stored) == config
    if "data_root" in stored:
        elsewhere = dataclasses.replace(config, data_root=Path("a") / "b").to_json()
        assert elsewhere == {**stored, "data_root": str(Path("a") / "b")}


def test_where_one_is_refused_none_is_changed() -> None:
    @dataclasses.dataclass
    class Options:
        first: float = 0.5
        second: int = 3

    options = Options(first=1, second="3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`second` must be a whole number, but got '3'"):
        conform(options)
    assert isinstance(options.first, int)
