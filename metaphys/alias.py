"""TorchOpt's door to the rules: the functions of :mod:`metaphys` under ``metaphys.alias``."""

from metaphys.optim import (
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    adan,
    lion,
    muon,
    nadam,
    radam,
    rmsprop,
    sgd,
)

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "lion",
    "muon",
    "nadam",
    "radam",
    "rmsprop",
    "sgd",
]
