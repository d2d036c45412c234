"""What a meta-training configuration may be."""

from __future__ import annotations

import math
from typing import Any

from metaphys._errors import check

CHOICES = {
    "system": ("oscillators", "plate", "circuit", "shg"),
    "device": ("simulated", "spice"),
    "data": ("digits", "mnist", "vowels"),
    "adjoint": ("full", "checkpoint", "mixed", "truncated", "one-step"),
}
LEARNED = ("start", "rates", "twin", "correction", "samples")
COUNTS = (
    *("pool", "units", "labels", "adapt_steps", "queries"),
    *("meta_units", "threads", "layers", "judged", "twin_steps", "classical_units"),
)
NOT_NEGATIVE = (
    *("nominal_steps", "population_steps", "meta_steps", "full_steps", "seed"),
    *("coupling_spread", "gain_spread", "tolerance", "noise", "spread"),
)


def check_config(config: Any) -> None:
    """Raise a ``ValueError`` where an option is out of range, or two do not go together."""
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        check(value in choices, name, expected=f"one of {', '.join(choices)}", got=repr(value))
    for name in COUNTS:
        value = getattr(config, name)
        check(value >= 1, name, expected=">= 1", got=value)
    for name in NOT_NEGATIVE:
        value = getattr(config, name)
        check(0 <= value < math.inf, name, expected=">= 0 and finite", got=value)
    for name in ("meta_lr", "rate_lr"):
        value = getattr(config, name)
        check(0 < value < math.inf, name, expected="> 0 and finite", got=value)
    check(-1 < config.gain < math.inf, "gain", expected="> -1 and finite", got=config.gain)
    _check_learned(config.learn)
    check(
        config.device == "simulated" or config.system == "circuit",
        "system",
        expected="circuit where the device is spice",
        got=repr(config.system),
        remedy="ngspice simulates circuits; take --device simulated for other systems.",
    )
    check(
        config.data != "vowels" or config.system != "oscillators",
        "data",
        expected="digits or mnist for oscillators",
        got="'vowels'",
        remedy="Formants are no angles; take another system.",
    )
    check(
        config.data == "digits" or config.data_root is not None,
        "data_root",
        expected=f"the folder that holds the files of {config.data}",
        got=None,
        remedy="They are not part of the package.",
    )


def _check_learned(learn: tuple[str, ...]) -> None:
    names = ", ".join(LEARNED)
    fits = len(learn) > 0 and set(learn) <= {*LEARNED} and len(set(learn)) == len(learn)
    check(fits, "learn", expected=f"some of {names}, each once", got=learn)
