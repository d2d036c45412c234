"""Meta-optimization: differentiable steps on modules, and the state around them."""

from metaphys.meta import adjoint
from metaphys.meta._clone import module_clone
from metaphys.meta._cut import module_detach_, stop_gradient
from metaphys.meta.classes import (
    MetaAdaDelta,
    MetaAdadelta,
    MetaAdaGrad,
    MetaAdagrad,
    MetaAdam,
    MetaAdaMax,
    MetaAdamax,
    MetaAdamW,
    MetaAdan,
    MetaLion,
    MetaMuon,
    MetaNAdam,
    MetaRAdam,
    MetaRMSProp,
    MetaRMSprop,
    MetaSGD,
)
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.meta.state import (
    ModuleState,
    OptimizerState,
    extract_state_dict,
    recover_state_dict,
)
from metaphys.meta.unroll import Status, Unrolled, unroll

__all__ = [
    "MetaAdaDelta",
    "MetaAdaGrad",
    "MetaAdaMax",
    "MetaAdadelta",
    "MetaAdagrad",
    "MetaAdam",
    "MetaAdamW",
    "MetaAdamax",
    "MetaAdan",
    "MetaLion",
    "MetaMuon",
    "MetaNAdam",
    "MetaOptimizer",
    "MetaRAdam",
    "MetaRMSProp",
    "MetaRMSprop",
    "MetaSGD",
    "ModuleState",
    "OptimizerState",
    "Status",
    "Unrolled",
    "adjoint",
    "extract_state_dict",
    "module_clone",
    "module_detach_",
    "recover_state_dict",
    "stop_gradient",
    "unroll",
]
