"""A trained network on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import load_tree, read_metadata, save_tree
from metaphys.training._config import Config
from metaphys.training._draws import Params
from metaphys.training._first_rates import Sizes, floats
from metaphys.training._kinds import KINDS, scaled
from metaphys.training._meta import tabled
from metaphys.training._model import save_model
from metaphys.training._options import alike, saved_config
from metaphys.training._problem import Problem, build
from metaphys.training.unit._config import TrainConfig
from metaphys.training.unit._machine import Machine, build_machine

KIND = "metaphys network"


def save_network(folder: Path, machine: Machine, params: Params) -> None:
    """Write what was trained."""
    metadata = {"kind": KIND, "config": json.dumps(machine.config.to_json())}
    save_tree(folder / "network.safetensors", params, metadata)


def save_adaptable(folder: Path, others: Problem, params: Params, sizes: Sizes) -> None:
    """Write what was trained as a model that ``metaphys adapt`` takes to other units.

    Args:
        folder: of the run.
        others: what :func:`on_others` gave.
        params: what was trained.
        sizes: of the steps on another unit, by parameter.
    """
    rates = tabled(floats(sizes), params, others.config.adapt_steps)
    save_model(folder / "model.safetensors", others.config, {"start": params, "rates": rates})


def on_others(machine: Machine) -> Problem | None:
    """The same network on the units of its population; ``None`` where there is no such problem."""
    config = machine.config
    if config.system == "oscillators" and config.data == "vowels":
        return None  # formants are no angles
    other = _to_adapt(machine)
    return build(other.quick() if config.short else other)


def _to_adapt(machine: Machine) -> Config:
    """Meta-training of the same network on the same units, as noisy."""
    config = machine.config
    own: dict[str, Any] = {}
    if config.system == "oscillators":
        spread: Any = scaled(KINDS["oscillators"].spread, config.spread)
        own |= {"coupling_spread": spread.coupling}
        own |= {"gain": spread.gain, "gain_spread": spread.gain_spread}
        own["noise"] = machine.sigma[0]  # there in rad, of all layers
    else:
        own |= {"spread": config.spread, "noise": config.noise}
    if config.rule == "dfa":
        own["learn"] = ("start", "rates", "correction")
    shared = "system device data data_root pool layers judged seed"
    return alike(Config, config, shared, **own)


def load_network(path: str | Path) -> tuple[TrainConfig, Machine, Params]:
    """A trained network: its configuration, its machine, its parameters.

    Args:
        path: ``network.safetensors`` of a run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no network of ``metaphys train``.

    Example:
        >>> load_network(Path("nowhere.safetensors"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: `checkpoint` must be ...
    """
    path = Path(path)
    metadata = read_metadata(path)
    check(
        metadata.get("kind") == KIND,
        "checkpoint",
        expected="a network that `metaphys train` wrote",
        got=f"{path}, which is something else",
        remedy="Take network.safetensors from a run directory.",
    )
    config = saved_config(TrainConfig, metadata, path)
    machine = build_machine(config)
    return config, machine, load_tree(path, machine.initial)
