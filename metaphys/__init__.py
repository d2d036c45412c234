"""Differentiable meta-optimization for networks whose layers are physical systems."""

from metaphys import data, meta, nn, ops, optim, physics
from metaphys.meta import (
    MetaAdam,
    MetaAdamW,
    MetaOptimizer,
    MetaSGD,
    ModuleState,
    extract_state_dict,
    module_clone,
    module_detach_,
    recover_state_dict,
    stop_gradient,
)
from metaphys.optim import SGD, Adam, AdamW, Optimizer, Rule, adam, adamw, apply_updates, sgd

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "MetaAdam",
    "MetaAdamW",
    "MetaOptimizer",
    "MetaSGD",
    "ModuleState",
    "Optimizer",
    "Rule",
    "adam",
    "adamw",
    "apply_updates",
    "data",
    "extract_state_dict",
    "meta",
    "module_clone",
    "module_detach_",
    "nn",
    "ops",
    "optim",
    "physics",
    "recover_state_dict",
    "sgd",
    "stop_gradient",
]
