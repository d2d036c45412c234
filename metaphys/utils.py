"""State of modules and optimizers: extract, recover, cut, clone, save (TorchOpt's door)."""

from metaphys._saving import from_named_tensors, named_tensors
from metaphys.meta import (
    ModuleState,
    extract_state_dict,
    module_clone,
    module_detach_,
    recover_state_dict,
    stop_gradient,
)

__all__ = [
    "ModuleState",
    "extract_state_dict",
    "from_named_tensors",
    "module_clone",
    "module_detach_",
    "named_tensors",
    "recover_state_dict",
    "stop_gradient",
]
