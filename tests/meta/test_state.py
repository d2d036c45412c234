"""Extracting, recovering, cutting and cloning the state of modules and meta-optimizers."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

import metaphys
from metaphys import (
    MetaAdam,
    MetaSGD,
    extract_state_dict,
    module_clone,
    module_detach_,
    recover_state_dict,
    stop_gradient,
)
from tests.tables import ONE_OF_EACH, RULES

WAYS = ("reference", "copy", "deepcopy")
ALIASES = {"ref": "reference", "clone": "copy", "deepclone": "deepcopy"}
ways = pytest.mark.parametrize("by", WAYS)


class Net(nn.Module):
    """Everything that state has: batch statistics, tied and frozen weights, absent ones."""

    def __init__(self):
        super().__init__()
        self.plain = nn.BatchNorm1d(3, affine=False, track_running_stats=False)  # only None
        self.first = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(3, 1).requires_grad_(False)
        self.register_buffer("memory", torch.zeros(3))

    def forward(self, x):
        """(n, 3) to (n, 1)."""
        return self.frozen(self.second(torch.tanh(self.norm(self.first(x)))))


def _loss(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return net(torch.randn(6, 3, generator=generator, dtype=torch.float64)).pow(2).mean()


def _values(net):
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@ways
@pytest.mark.parametrize("optimizer", [MetaSGD, MetaAdam], ids=lambda o: o.__name__)
def test_recovery_as_often_as_asked(by, optimizer):
    net = Net()
    meta = optimizer(net, lr=0.1)
    meta.step(_loss(net))  # not at the start: there is a graph and a state already
    net_state, meta_state = extract_state_dict(net, by=by), extract_state_dict(meta, by=by)
    before, loss = _values(net), None
    for _ in range(3):
        meta.step(_loss(net, 1))
        meta.step(_loss(net, 2))
        assert not torch.equal(net.norm.running_mean, before["norm.running_mean"])
        again = _loss(net, 3).detach()
        loss = again if loss is None else loss
        torch.testing.assert_close(again, loss)  # the same inner loop, from the same point
        recover_state_dict(net, net_state)
        recover_state_dict(meta, meta_state)
        assert_same(_values(net), before)
        assert net.first.weight is net.second.weight
        assert int(net.norm.num_batches_tracked) == int(before["norm.num_batches_tracked"])


def test_what_each_way_takes():
    net = Net()
    weight = net.first.weight
    taken = {by: extract_state_dict(net, by=by).params[0]["weight"] for by in WAYS}
    assert taken["reference"] is weight
    assert taken["copy"] is not weight and taken["copy"].grad_fn is not None
    assert isinstance(taken["deepcopy"], nn.Parameter) and taken["deepcopy"].is_leaf
    assert_same([t.detach() for t in taken.values()], [weight.detach()] * 3)
    for alias, by in ALIASES.items():
        state = extract_state_dict(net, by=alias)
        assert type(state.params[0]["weight"]) is type(taken[by])
    with pytest.raises(ValueError, match=r"^`by` must"):
        extract_state_dict(net, by="value")
    with pytest.raises(TypeError, match=r"^`target` must"):
        extract_state_dict([net])


def test_the_outer_gradient_reaches_the_source_of_a_copy_only():
    for by, reached in (("reference", True), ("copy", True), ("deepcopy", False)):
        net = Net()
        start = net.first.weight
        recover_state_dict(net, extract_state_dict(net, by=by))
        meta = MetaSGD(net, lr=0.1)
        meta.step(_loss(net))
        (grad,) = torch.autograd.grad(_loss(net, 1), start, allow_unused=True)
        assert (grad is not None) == reached


def test_the_state_has_one_entry_for_each_container():
    state = extract_state_dict(Net())
    assert [sorted(each) for each in state.params] == [
        ["weight"], ["bias", "weight"], ["bias", "weight"], ["bias", "weight"],
    ]  # fmt: skip
    assert [len(each) for each in state.buffers] == [1, 3]
    assert extract_state_dict(Net(), with_buffers=False).buffers == ()


def test_buffers_with_and_without_their_graph():
    net = Net()
    scale = torch.tensor(2.0, requires_grad=True)
    net.norm.running_mean = torch.ones(3) * scale
    for detach in (False, True):
        state = extract_state_dict(net, detach_buffers=detach)
        assert state.buffers[1]["running_mean"].requires_grad != detach
        net.norm.running_mean = torch.zeros(3)
        recover_state_dict(net, state)
        assert net.norm.running_mean.requires_grad != detach
        net.norm.running_mean = torch.ones(3) * scale


def test_names_for_a_picture():
    net = Net()
    MetaSGD(net, lr=0.1).step(_loss(net))
    state = extract_state_dict(net, enable_visual=True, visual_prefix="step1.")
    assert state.visual_contents[net.first.weight.grad_fn][0] == "step1.first.weight"
    assert state.visual_contents[net.frozen.weight] == "step1.frozen.weight"


WRONG_MODULES = {
    "other shape": lambda: nn.Linear(3, 4),
    "other names": lambda: nn.Sequential(nn.Linear(3, 3)),
    "no buffers": lambda: nn.Linear(3, 3),
}


@pytest.mark.parametrize("which", WRONG_MODULES)
def test_recovery_into_a_wrong_module_raises_and_changes_nothing(which):
    state, net = extract_state_dict(Net()), WRONG_MODULES[which]()
    before = dict(net.named_parameters())
    with pytest.raises(ValueError, match=r"^`state` must"):
        recover_state_dict(net, state)
    assert all(value is before[name] for name, value in net.named_parameters())


def test_recovery_when_only_the_buffers_are_wrong_changes_nothing():
    net, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    other.running_mean = torch.zeros(5)
    before = other.weight
    with pytest.raises(ValueError, match=r"^`state` must"):
        recover_state_dict(other, extract_state_dict(net))
    assert other.weight is before


def test_recovery_into_a_wrong_optimizer_raises_and_changes_nothing():
    net = Net()
    meta = MetaAdam(net, lr=0.1)
    meta.step(_loss(net))
    before = meta.state_dict()
    two = MetaAdam(Net(), lr=0.1)
    two.add_param_group(Net())
    wrong = {
        "rule": MetaSGD(Net(), lr=0.1, momentum=0.9),
        "shapes": MetaAdam(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), lr=0.1),
        "groups": two,
    }
    for other in wrong.values():
        with pytest.raises(ValueError, match=r"^`state_dict` must"):
            recover_state_dict(meta, extract_state_dict(other))
        assert meta.state_dict()[0] is before[0]
    plain, with_momentum = MetaSGD(net, lr=0.1), MetaSGD(net, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"^`state_dict` must"):
        recover_state_dict(with_momentum, extract_state_dict(plain))


def test_recovery_of_wrong_kinds():
    net = Net()
    meta = MetaSGD(net, lr=0.1)
    with pytest.raises(TypeError, match=r"^`state` must"):
        recover_state_dict(meta, extract_state_dict(net))
    with pytest.raises(TypeError, match=r"^`state` must"):
        recover_state_dict(net, extract_state_dict(meta))
    with pytest.raises(TypeError, match=r"^`target` must"):
        recover_state_dict([net], extract_state_dict(net))


# Cutting ------------------------------------------------------------------------------------


def _stepped():
    net = Net()
    meta = MetaAdam(net, lr=0.1)
    for seed in range(2):
        meta.step(_loss(net, seed))
    net.memory = net.first.weight.sum(0)  # a buffer that carries a graph
    return net, meta


def test_stop_gradient_of_a_module_and_its_buffers():
    net, _ = _stepped()
    values = _values(net)
    assert net.memory.grad_fn is not None
    stop_gradient(net)
    tensors = [*net.parameters(), *net.buffers()]
    assert all(t.is_leaf for t in tensors)
    assert net.first.weight.requires_grad and not net.frozen.weight.requires_grad
    assert_same(_values(net), values)


def test_stop_gradient_of_an_optimizer_a_state_and_a_tree():
    net, meta = _stepped()
    net_state, meta_state = extract_state_dict(net), extract_state_dict(meta)
    tree = {"a": [net.first.weight * 2, None, 3], "b": (torch.ones(2),)}
    stop_gradient(net_state)
    assert all(t.is_leaf for part in net_state.params for t in part.values())
    assert all(t.is_leaf for part in net_state.buffers for t in part.values())
    stop_gradient(meta_state)
    assert all(t.is_leaf for part in meta_state[0][1:] for t in part)
    net, meta = _stepped()
    stop_gradient(meta)
    assert all(t.is_leaf for part in meta.state_dict()[0][1:] for t in part)
    stop_gradient(tree)
    assert tree["a"][0].is_leaf and tree["a"][0].requires_grad
    assert module_detach_(net) is net and net.first.weight.is_leaf


def _history(net, meta):
    """How many of a module's and an optimizer's tensors have one."""
    tensors = [*net.parameters(), *net.buffers(), *meta.state_dict()[0].mu]
    return sum(tensor.grad_fn is not None for tensor in tensors)


TREES = {
    "list": lambda net, meta: [net, meta],
    "dict": lambda net, meta: {"inner": (net, None), "optimizer": meta, "steps": 3},
    "states": lambda net, meta: (extract_state_dict(net, with_buffers=False), net, [meta]),
    "state and module": lambda net, meta: {"a": extract_state_dict(meta), "b": net},
}


@pytest.mark.parametrize("tree", TREES)
def test_stop_gradient_of_a_tree_of_modules_optimizers_and_states(tree):
    net, meta = _stepped()
    assert _history(net, meta) >= 4
    target = TREES[tree](net, meta)
    assert module_detach_(target) is target
    assert _history(net, meta) == 0
    learned = {name: p.requires_grad for name, p in net.named_parameters()}
    assert learned["first.weight"] and not learned["frozen.weight"]


def test_stop_gradient_of_an_extracted_state_in_a_tree_keeps_its_buffers_constants():
    net, meta = _stepped()
    state = extract_state_dict(net)
    assert any(b.grad_fn is not None for each in state.buffers for b in each.values())
    stop_gradient([state, meta])
    assert not any(b.requires_grad for each in state.buffers for b in each.values())


def test_after_both_are_cut_a_truncated_loop_counts_anew():
    for target, cut_at_the_third in ((lambda net, meta: [meta], True), (TREES["list"], False)):
        net = Net()
        meta = metaphys.MetaOptimizer(net, metaphys.adam(0.1), truncate=2)
        for seed in range(2):
            meta.step(_loss(net, seed))
        stop_gradient(target(net, meta))
        start = net.first.weight
        meta.step(_loss(net, 3))
        (grad,) = torch.autograd.grad(_loss(net, 4), start, allow_unused=True)
        assert (grad is None) == cut_at_the_third


def test_stop_gradient_of_a_functional_optimizer():
    params = [torch.ones(2, requires_grad=True)]
    optimizer = metaphys.FuncOptimizer(metaphys.adam(0.1))
    params = optimizer.step(params[0].sin().sum(), params)
    assert optimizer.state_dict().mu[0].grad_fn is not None
    stop_gradient([optimizer, params])
    assert optimizer.state_dict().mu[0].grad_fn is None is params[0].grad_fn


def test_stop_gradient_of_what_has_nothing_to_cut_is_refused():
    net = Net()
    for wrong in (net.parameters(), ["net"], 3, {"a": object()}):
        with pytest.raises(TypeError, match=r"^`target` must"):
            stop_gradient(wrong)
    stop_gradient([]), stop_gradient({}), stop_gradient(None)  # trees without a leaf


def test_the_optimizer_goes_on_after_stop_gradient():
    net, meta = _stepped()
    stop_gradient(net), stop_gradient(meta)
    start = net.first.weight
    meta.step(_loss(net, 2))
    assert torch.autograd.grad(_loss(net, 3), start)[0].abs().sum() > 0


@pytest.mark.parametrize("name", ["sgd-momentum", "adam"])
def test_memory_is_flat_after_stop_gradient(name):
    net = Net()
    meta = metaphys.MetaOptimizer(net, RULES[name]())
    gc.disable()  # nothing is in a cycle: graphs go when they are cut
    try:
        passed: list[weakref.ref] = []
        for step in range(6):
            for _ in range(2):
                passed.append(weakref.ref(net.first.weight))
                meta.step(_loss(net, step))
            assert passed[-1]() is not None  # the graph holds it
            stop_gradient(net), stop_gradient(meta)
        assert [ref() for ref in passed] == [None] * len(passed)
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["sgd", "sgd-momentum", *ONE_OF_EACH])
def test_a_step_leaves_no_reference_cycle(name):
    net = Net()
    gc.collect()
    gc.disable()
    try:
        meta = metaphys.MetaOptimizer(net, RULES[name]())
        meta.step(_loss(net))
        old = weakref.ref(net.first.weight)
        meta.step(_loss(net))
        assert old() is not None
        del meta, net
        assert old() is None
    finally:
        gc.enable()


# Cloning ------------------------------------------------------------------------------------


@ways
def test_the_clone_of_a_module(by):
    net, _ = _stepped()
    clone = module_clone(net, by=by)
    assert isinstance(clone, Net) and clone is not net
    assert clone.first.weight is clone.second.weight
    assert_same(_values(clone), _values(net))
    weight = clone.first.weight
    assert (weight is net.first.weight) == (by == "reference")
    assert weight.is_leaf == (by == "deepcopy")
    assert weight.requires_grad and not clone.frozen.weight.requires_grad
    # The clone is stepped, the original is not.
    before, kept = _values(net), net.first.weight
    MetaSGD(clone, lr=0.1).step(_loss(clone))
    assert net.first.weight is kept
    if by != "reference":  # by reference the batch statistics are shared
        assert_same(_values(net), before)
    assert clone.first.weight is clone.second.weight
    assert clone.first.weight is not kept


@ways
@pytest.mark.parametrize("name", ["sgd-momentum", "adam", "adamw"])
def test_the_clone_of_an_optimizer_steps_a_clone_of_its_module(by, name):
    net = Net()
    meta = metaphys.MetaOptimizer(net, RULES[name]())
    for seed in range(2):
        meta.step(_loss(net, seed))
    clone = module_clone(meta, by=by)
    (other,) = clone.modules
    assert isinstance(clone, metaphys.MetaOptimizer) and other is not net
    before, state = net.first.weight, meta.state_dict()[0]
    if by == "reference":
        other.norm = nn.BatchNorm1d(3).requires_grad_(False)
        net.norm = nn.BatchNorm1d(3).requires_grad_(False)
        clone, meta = (metaphys.MetaOptimizer(n, RULES[name]()) for n in (other, net))
        state = meta.state_dict()[0]
    clone.step(_loss(other, 5))
    assert net.first.weight is before and meta.state_dict()[0] is state
    meta.step(_loss(net, 5))
    torch.testing.assert_close(_values(other), _values(net))
    assert other.first.weight is other.second.weight


def test_a_clone_of_an_optimizer_keeps_its_learned_rate():
    lr = torch.tensor(0.1, requires_grad=True)
    for by, reached in (("reference", True), ("copy", True), ("deepcopy", False)):
        net = nn.Linear(1, 1)
        clone = module_clone(MetaSGD(net, lr=lr, momentum=0.9), by=by)
        (other,) = clone.modules
        clone.step(other(torch.ones(1, 1)).sum())
        (grad,) = torch.autograd.grad(other(torch.ones(1, 1)).sum(), lr, allow_unused=True)
        assert (grad is not None) == reached


@ways
def test_the_clone_of_a_tree(by):
    x = torch.ones(2, requires_grad=True)
    clone = module_clone({"a": [x, None], "b": x}, by=by)
    assert clone["a"][0] is clone["b"] and clone["a"][1] is None
    assert (clone["b"] is x) == (by == "reference")


@ways
def test_a_tree_of_a_module_and_its_optimizer_is_cloned_together(by):
    net, x = Net(), torch.ones(2, requires_grad=True)
    meta = MetaAdam(net, lr=0.1)
    clone = module_clone({"net": net, "optimizers": [meta, None], "x": x}, by=by)
    other = clone["optimizers"][0]
    assert clone["net"] is not net and other is not meta and other.modules == [clone["net"]]
    assert (clone["x"] is x) == (by == "reference") == (clone["net"].memory is net.memory)
    kept = net.first.weight
    other.step(_loss(clone["net"]))
    assert net.first.weight is kept and clone["net"].first.weight is not kept
    assert clone["net"].first.weight is clone["net"].second.weight


def test_another_device():
    net = Net()
    clone = module_clone(net, by="deepcopy", device="meta")
    assert isinstance(clone.first.weight, nn.Parameter) and clone.first.weight.is_leaf
    assert {t.device.type for t in clone.parameters()} == {"meta"}
    assert clone.first.weight is clone.second.weight
    state = extract_state_dict(net, by="copy", device="meta")
    assert state.params[0]["weight"].device.type == "meta"
    with pytest.raises(ValueError, match=r"^`by` must"):
        module_clone(net, by="something")


def test_detached_buffers_of_a_clone():
    net, _ = _stepped()
    assert module_clone(net, by="copy").memory.grad_fn is not None
    assert module_clone(net, by="copy", detach_buffers=True).memory.grad_fn is None
