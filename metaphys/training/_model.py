"""What was meta-learned, on disk; and adapting it to a unit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from metaphys._errors import check
from metaphys._runs import load_tree, read_metadata, save_tree
from metaphys.training import _outer
from metaphys.training._adaptation import squared_error
from metaphys.training._config import Config
from metaphys.training._judge import Recipe, judge
from metaphys.training._options import saved_config
from metaphys.training._problem import Problem, build


def learned_recipe(learned: dict[str, Any]) -> Recipe:
    """How a meta-learned network adapts."""
    return Recipe("learned step sizes", _outer.learned_rules(learned["rates"]), squared_error)


def save_model(path: Path, config: Config, learned: dict[str, Any]) -> None:
    """Write what was meta-learned, with the configuration that it belongs to.

    Example:
        >>> import tempfile
        >>> from metaphys.training._outer import begin_meta
        >>> config = Config()
        >>> learned = begin_meta(build(config).initial, config.adapt_steps, steps=0).learned
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
    save_tree(path, learned, metadata)


def load_model(path: Path) -> tuple[Config, Problem, dict[str, Any]]:
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
    metadata = read_metadata(path)
    check(
        metadata.get("kind") == "metaphys model",
        "checkpoint",
        expected="a model that `metaphys meta-train` wrote",
        got=f"{path}, which is something else",
        remedy="Take model.safetensors from a run directory.",
    )
    check(
        metadata.get("system") in ("oscillators",),
        "checkpoint",
        expected="a model of the system oscillators",
        got=metadata.get("system"),
        remedy="This version knows no other system.",
    )
    config = saved_config(Config, metadata, path)
    problem = build(config)
    like = _outer.begin_meta(problem.initial, config.adapt_steps, 0).learned
    return config, problem, load_tree(path, like)


def adapt_unit(checkpoint: Path, unit: int, output: Path | None = None) -> dict[str, Any]:
    """Adapt a meta-learned network to one unit, and store the controls.

    Args:
        checkpoint: ``model.safetensors`` of a run.
        unit: the unit's seed.
        output: where to put the adapted parameters; beside the checkpoint by default.

    Returns:
        ``accuracy_before``, ``accuracy_after``, ``device_calls``, ``labels``, ``output``.

    Raises:
        FileNotFoundError, ValueError: the checkpoint cannot be used; see :func:`load_model`.

    Example:
        >>> adapt_unit(Path("nowhere.safetensors"), unit=20_000)
        Traceback (most recent call last):
        ...
        FileNotFoundError: `checkpoint` must be ...
    """
    check(unit >= 0, "unit", expected="a seed >= 0", got=unit)
    fits = output is None or not output.is_dir()
    check(fits, "output", expected="a file, new or to be replaced", got=f"the directory {output}")
    config, problem, learned = load_model(checkpoint)
    torch.set_num_threads(config.threads)
    test = problem.data.test
    before = judge(problem, [unit], learned["start"], test)
    after = judge(problem, [unit], learned["start"], test, recipe=learned_recipe(learned))
    path = output or checkpoint.with_name(f"adapted-{unit}.safetensors")
    controls = {name: value[0] for name, value in after.params.items()}
    save_tree(path, controls, {"kind": "metaphys controls", "unit": str(unit)})
    return {
        "accuracy_before": float(before.accuracy),
        "accuracy_after": float(after.accuracy),
        "device_calls": after.device_calls,
        "labels": config.labels,
        "output": path,
    }
