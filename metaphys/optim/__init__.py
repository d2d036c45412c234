"""Optimizers: rules as pure functions, and the same rules as ``torch.optim.Optimizer``."""

from metaphys.optim.adam import AdamState, adam, adamw
from metaphys.optim.classes import SGD, Adam, AdamW
from metaphys.optim.optimizer import Optimizer
from metaphys.optim.rule import Core, PerLeaf, Rule, apply_updates
from metaphys.optim.sgd import SGDState, sgd

__all__ = [
    "SGD",
    "Adam",
    "AdamState",
    "AdamW",
    "Core",
    "Optimizer",
    "PerLeaf",
    "Rule",
    "SGDState",
    "adam",
    "adamw",
    "apply_updates",
    "sgd",
]
