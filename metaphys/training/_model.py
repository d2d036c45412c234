"""What was meta-learned, on disk; and adapting it to a unit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys._runs import load_tree, read_metadata, save_tree
from metaphys._runs._directory import WRITABLE, writable_or_refuse
from metaphys.data import Split
from metaphys.physics import Device
from metaphys.training._adaptation import LOSSES
from metaphys.training._config import Config
from metaphys.training._data import some
from metaphys.training._fleet import Fleet
from metaphys.training._judge import (
    Recipe,
    Verdict,
    adapted_on,
    judge,
    measured,
    support,
)
from metaphys.training._meta import begin_meta, learned_rule, measured_rows
from metaphys.training._options import saved_config
from metaphys.training._patience import Patience
from metaphys.training._problem import Problem, build
from metaphys.training._tuned import TUNED


def learned_recipe(problem: Problem, learned: dict[str, Any]) -> Recipe:
    """How a meta-learned network adapts."""
    samples = None
    if "samples" in learned:
        targets = problem.data.train.targets[measured_rows(problem)]
        samples = learned["samples"]["inputs"], targets
    return Recipe(
        "learned step sizes",
        learned_rule(learned["rates"]),
        LOSSES[TUNED[problem.config.system].inner_loss],
        learned.get("twin"),
        samples,
    )


def save_model(path: str | Path, config: Config, learned: dict[str, Any]) -> None:
    """Write what was meta-learned, with the configuration that it belongs to.

    Example:
        >>> import tempfile
        >>> from metaphys.training._meta import begin_meta
        >>> config = Config()
        >>> problem = build(config)
        >>> sizes = dict.fromkeys(problem.initial, 0.1)
        >>> learned = begin_meta(problem, problem.initial, 0, sizes).learned
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(path, config, learned)
        >>> load_model(path)[0] == config
        True
    """
    metadata = {
        "kind": "metaphys model",
        "system": config.system,
        "config": json.dumps(config.to_json()),
    }
    save_tree(Path(path), learned, metadata)


def load_model(path: str | Path) -> tuple[Config, Problem, dict[str, Any]]:
    """What :func:`save_model` wrote, with its problem.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no model of metaphys, or of another system.

    Example:
        >>> load_model(Path("nowhere.safetensors"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: `checkpoint` must be ...
    """
    path = Path(path)
    metadata = read_metadata(path)
    check(
        metadata.get("kind") == "metaphys model",
        "checkpoint",
        expected="a model that `metaphys meta-train` wrote",
        got=f"{path}, which is something else",
        remedy="Take model.safetensors from a run directory.",
    )
    config = saved_config(Config, metadata, path)
    problem = build(config)
    begun = begin_meta(problem, problem.initial, 0, dict.fromkeys(problem.initial, 1.0))
    return config, problem, load_tree(path, begun.learned)


def adapt_unit(
    checkpoint: str | Path,
    unit: int | None = None,
    output: str | Path | None = None,
    *,
    devices: Sequence[Device] | None = None,
    judged: int | None = None,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Adapt a meta-learned network to one unit, and store the controls.

    Args:
        checkpoint: ``model.safetensors`` of a run.
        unit: the seed of a unit of the run's population.
        output: where to put the adapted parameters; beside the checkpoint by default.
        devices: in the place of ``unit``, hardware or what stands for it: a device for each layer.
        judged: test samples that the unit is judged on, at most; those of the run by default.
        patience: how often and how long the unit may fail.

    Returns:
        ``accuracy_before``, ``accuracy_after``, ``device_calls`` (without those of judging),
        ``labels``, ``output``.

    Raises:
        FileNotFoundError, ValueError: the checkpoint cannot be used, see :func:`load_model`; or the
            devices do not fit its layers.
        OSError: ``output`` cannot be written; nothing was measured.
        DeviceError: the unit failed as often as it may.

    Example:
        >>> adapt_unit(Path("nowhere.safetensors"), unit=20_000)
        Traceback (most recent call last):
        ...
        FileNotFoundError: `checkpoint` must be ...
    """
    given = "both" if unit is not None and devices is not None else "neither"
    check((unit is None) != (devices is None), "unit", expected="a seed, or devices", got=given)
    check(unit is None or unit >= 0, "unit", expected="a seed >= 0", got=unit)
    check(judged is None or judged >= 1, "judged", expected=">= 1", got=judged)
    checkpoint, own_name = Path(checkpoint), f"adapted-{_named(unit)}.safetensors"
    path = checkpoint.with_name(own_name) if output is None else Path(output)
    _check_output(path, checkpoint)
    config, problem, learned = load_model(checkpoint)
    own = {"attempts": patience.attempts, "timeout": patience.timeout}
    problem = dataclasses.replace(problem, config=dataclasses.replace(config, **own))
    writable_or_refuse(path.parent, "output", f"in {WRITABLE}")
    torch.set_num_threads(config.threads)
    test = problem.data.test if judged is None else some(problem.data.test, judged)
    if unit is not None:
        before = judge(problem, [unit], learned["start"], test).accuracy
        after = judge(
            problem, [unit], learned["start"], test, recipe=learned_recipe(problem, learned)
        )
    else:
        before, after = _on_bench(problem, problem.bench(devices or ()), learned, test)
    controls = {name: value[0] for name, value in after.params.items()}
    save_tree(path, controls, {"kind": "metaphys controls", "unit": _named(unit)})
    return {
        "accuracy_before": float(before),
        "accuracy_after": float(after.accuracy),
        "device_calls": after.device_calls,
        "labels": config.labels,
        "output": path,
    }


def _named(unit: int | None) -> str:
    return "device" if unit is None else str(unit)


def _check_output(path: Path, checkpoint: Path) -> None:
    """Refuse what would be lost, or could not be written, before anything is measured."""
    got, fits = f"the directory {path}", not path.is_dir()
    check(fits, "output", expected="a file, new or to be replaced", got=got)
    fits = path.resolve() != checkpoint.resolve()
    remedy = "The adapted controls alone cannot be adapted again."
    check(fits, "output", expected="another file than the checkpoint", got=path, remedy=remedy)


@torch.no_grad()
def _on_bench(
    problem: Problem, fleet: Fleet, learned: dict[str, Any], test: Split
) -> tuple[Tensor, Verdict]:
    start = {name: value.unsqueeze(0) for name, value in learned["start"].items()}
    before = measured(fleet, start, test)
    recipe, calls = learned_recipe(problem, learned), fleet.calls
    samples = support(problem, [0], recipe, problem.config.seed, "bench")
    *_, adapted = adapted_on(fleet, start, samples, recipe, problem.config)
    taken = fleet.calls - calls
    return before, Verdict(measured(fleet, adapted, test), taken, adapted)
