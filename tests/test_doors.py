"""TorchOpt's paths: each name is there, and is the one thing that it is everywhere."""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib
from functools import reduce

import pytest

import metaphys
from metaphys import meta, nn, optim

META = [name for name in meta.__all__ if name.startswith("Meta")]

PATHS = {
    "accelerated_op": ["is_available", "AdamOp", "adam_op.AdamOp"],
    "nn": ["MetaGradientModule", "reparametrize", "reparameterize", "swap_state"],
    "optim": ["AdamW", "FuncOptimizer", "Optimizer", "RMSProp", "SGD", "func.FuncOptimizer"],
    "optim.meta": META,
    "pytree": ["tree_map", "tree_flatten", "tree_flatten_as_tuple", "tree_vdot_real", "tree_wait"],
    "typing": [
        "Device", "Distribution", "Future", "GradientTransformation", "LinearSolver",
        "ListOfOptionalTensors", "ListOfTensors", "ModuleTensorContainers", "Numeric", "OptState",
        "OptionalTensor", "OptionalTensorOrOptionalTensors", "OptionalTensorTree", "Params",
        "PyTree", "Samplable", "SampleFunc", "Scalar", "ScalarOrSchedule", "Schedule",
        "SequenceOfOptionalTensors", "SequenceOfTensors", "Size", "State", "Tensor",
        "TensorContainer", "TensorOrTensors", "TensorTree", "TupleOfOptionalTensors",
        "TupleOfTensors", "Updates",
    ],
    "utils": [
        "ModuleState", "extract_state_dict", "module_clone", "module_detach_",
        "recover_state_dict", "stop_gradient",
    ],
    "version": ["__version__"],
    "visual": ["make_dot", "resize_graph"],
}  # fmt: skip


@pytest.mark.parametrize("module", PATHS)
def test_every_name_is_behind_its_door_after_one_import(module):
    door = reduce(getattr, module.split("."), metaphys)
    assert door is importlib.import_module(f"metaphys.{module}")
    for name in PATHS[module]:
        assert reduce(getattr, name.split("."), door) is not None, name


def test_a_name_is_one_thing():
    for name in META:
        assert getattr(optim.meta, name) is getattr(metaphys, name) is getattr(meta, name)
    assert metaphys.FuncOptimizer is optim.FuncOptimizer is optim.func.FuncOptimizer
    assert nn.reparameterize is nn.reparametrize
    assert metaphys.accelerated_op_available is metaphys.accelerated_op.is_available
    assert metaphys.utils.stop_gradient is metaphys.stop_gradient
    assert metaphys.typing.GradientTransformation is metaphys.base.GradientTransformation
