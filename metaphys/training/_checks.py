"""What a meta-training configuration may be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys.training._draws import TRAINING_UNITS, VALIDATION_UNITS

COUNTS = (
    *("pool", "units", "labels", "adapt_steps", "queries"),
    *("meta_units", "threads", "layers", "judged", "twin_steps", "classical_units"),
    "full_epochs",
)
NOT_NEGATIVE = (
    *("nominal_steps", "population_steps", "meta_steps", "seed"),
    *("coupling_spread", "gain_spread", "tolerance", "noise", "spread"),
)


def check_config(config: Any) -> None:
    """Raise a ``ValueError`` where an option is out of range, or two do not go together."""
    for name in COUNTS:
        value = getattr(config, name)
        check(value >= 1, name, expected=">= 1", got=value)
    steps = config.epoch_steps
    check(steps is None or steps >= 1, "epoch_steps", expected=">= 1, or None", got=steps)
    for name in NOT_NEGATIVE:
        value = getattr(config, name)
        check(0 <= value < math.inf, name, expected=">= 0 and finite", got=value)
    for name in ("meta_lr", "rate_lr"):
        value = getattr(config, name)
        check(0 < value < math.inf, name, expected="> 0 and finite", got=value)
    check(-1 < config.gain < math.inf, "gain", expected="> -1 and finite", got=config.gain)
    learn = config.learn
    fits = 0 < len(learn) == len(set(learn))
    check(fits, "learn", expected="one or more, each once", got=learn)
    check_ngspice(config.device, config.system)
    check(
        config.data != "vowels" or config.system != "oscillators",
        "data",
        expected="digits or mnist for oscillators",
        got="'vowels'",
        remedy="Formants are no angles; take another system.",
    )
    check_files(config.data, config.data_root)


def check_units(config: Any, *names: str) -> None:
    """Raise a ``ValueError`` where so many units reach into the seeds of another purpose."""
    most = VALIDATION_UNITS - TRAINING_UNITS
    for name in names:
        value = getattr(config, name)
        check(1 <= value <= most, name, expected=f"from 1 to {most:,}", got=value)


def check_ngspice(device: str, system: str) -> None:
    """Raise a ``ValueError`` where ngspice shall simulate what is no circuit."""
    check(
        device == "simulated" or system == "circuit",
        "system",
        expected="circuit where the device is spice",
        got=repr(system),
        remedy="ngspice simulates circuits; take --device simulated for other systems.",
    )


def check_files(data: str, data_root: Path | None) -> None:
    """Raise a ``ValueError`` where a data set has files and nobody says where."""
    check(
        data == "digits" or data_root is not None,
        "data_root",
        expected=f"the folder that holds the files of {data}",
        got=None,
        remedy="They are not part of the package.",
    )
