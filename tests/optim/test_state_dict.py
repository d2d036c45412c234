"""The state of a stateful optimizer: saved, loaded, copied, and refused where it is another's."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import metaphys
from tests.stepped import assert_near, params_of, take_steps, values_of
from tests.tables import RULES, Leaves

rules = pytest.mark.parametrize("name", RULES)
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)


@rules
@DTYPES
def test_state_dict_round_trip(name, dtype):
    params, others = params_of(dtype), params_of(dtype)
    optimizer = metaphys.Optimizer(params, RULES[name]())
    take_steps(optimizer, params, 3)
    with torch.no_grad():
        for p, q in zip(params, others):
            q.copy_(p)
    other = metaphys.Optimizer(others, RULES[name]())
    other.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, others):
        assert other.state[q].keys() == optimizer.state[p].keys()
        for key, value in other.state[q].items():
            assert value.dtype == optimizer.state[p][key].dtype
            assert torch.equal(value, optimizer.state[p][key])
            assert key == "step" or dtype is not torch.bfloat16 or value.dtype is torch.float32
    take_steps(optimizer, params, 3, first=3)
    take_steps(other, others, 3, first=3)
    torch.testing.assert_close(values_of(params), values_of(others), rtol=0, atol=0)


@rules
def test_state_is_saved_and_loaded_without_pickled_code(name):
    params = params_of(torch.bfloat16)
    optimizer = metaphys.Optimizer(params, RULES[name]())
    take_steps(optimizer, params, 2)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    other = metaphys.Optimizer(params_of(torch.bfloat16), RULES[name]())
    other.load_state_dict(loaded)
    found, expected = other.state_dict(), optimizer.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    torch.testing.assert_close(found["state"], expected["state"], rtol=0, atol=0)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@rules
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_goes_on_by_itself(name, how):
    module = Leaves(params_of())
    optimizer = metaphys.Optimizer(module.p, RULES[name]())
    take_steps(optimizer, module.p, 2)
    other_module, other = COPIES[how]((module, optimizer))
    before = values_of(module.p)
    take_steps(other, other_module.p, 2, first=2)
    torch.testing.assert_close(values_of(module.p), before, rtol=0, atol=0)
    take_steps(optimizer, module.p, 2, first=2)
    torch.testing.assert_close(values_of(module.p), values_of(other_module.p), rtol=0, atol=0)


FOREIGN = {
    "another rule": lambda: metaphys.SGD(params_of(), momentum=0.9),
    "torch's": lambda: torch.optim.Adam(params_of()),
    "other shapes": lambda: metaphys.Adam(params_of(shapes=((3,), (2, 3), ()))),
    "other sizes": lambda: metaphys.Adam(params_of(shapes=((3,),))),
}


@pytest.mark.parametrize("which", FOREIGN)
def test_a_foreign_state_dict_is_refused_and_nothing_changes(which):
    params = params_of()
    optimizer = metaphys.Adam(params)
    take_steps(optimizer, params, 2)
    before = copy.deepcopy(optimizer.state_dict())
    foreign = FOREIGN[which]()
    take_steps(foreign, foreign.param_groups[0]["params"], 1)
    with pytest.raises(ValueError, match=r"state.dict"):
        optimizer.load_state_dict(foreign.state_dict())
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)


WHOLE = {
    "sgd": lambda: metaphys.transform.inject_hyperparams(metaphys.sgd(0.1)),
    "momentum": lambda: metaphys.transform.inject_hyperparams(metaphys.sgd(0.1, 0.9)),
}


def test_a_whole_state_of_another_rule_or_of_other_parameters_is_refused():
    params = params_of()
    optimizer = metaphys.Optimizer(params, WHOLE["momentum"]())
    take_steps(optimizer, params, 2)
    before = copy.deepcopy(optimizer.state_dict())
    adam = metaphys.transform.inject_hyperparams(metaphys.adam(0.1))
    foreign = [
        {**before, "state": {"group 0": metaphys.sgd(0.1).init(params)}},
        {**before, "state": {"group 0": {"count": 1}}},
        {**before, "state": {"group 0": adam.init(params)}},
        {**before, "state": {"group 0": WHOLE["momentum"]().init(params[:2])}},
    ]
    for each in foreign:
        with pytest.raises(ValueError, match=r"^`state_dict` must be"):
            optimizer.load_state_dict(each)
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
    optimizer.load_state_dict(before)
    others = params_of()
    take_steps(metaphys.Optimizer(others, metaphys.sgd(0.1, 0.9)), others, 4)
    take_steps(optimizer, params, 2, first=2)
    assert_near(params, others)
