"""Meta-optimization: differentiable steps on modules, and the state around them."""

from metaphys.meta.classes import MetaAdam, MetaAdamW, MetaSGD
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.meta.state import (
    ModuleState,
    OptimizerState,
    extract_state_dict,
    module_clone,
    module_detach_,
    recover_state_dict,
    stop_gradient,
)

__all__ = [
    "MetaAdam",
    "MetaAdamW",
    "MetaOptimizer",
    "MetaSGD",
    "ModuleState",
    "OptimizerState",
    "extract_state_dict",
    "module_clone",
    "module_detach_",
    "recover_state_dict",
    "stop_gradient",
]
