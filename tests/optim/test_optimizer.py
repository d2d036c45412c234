"""The stateful form as a torch.optim.Optimizer: schedulers, groups, state, copies."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false, reportOptionalOperand=false, reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import Parameter

import metaphys
from tests.stepped import assert_near, give_grads, params_of, take_steps, values_of
from tests.tables import RULES, TORCH, stateful

rules = pytest.mark.parametrize("name", RULES)

PEERS = {
    "SGD": (metaphys.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "Adam": (metaphys.Adam, torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.1}),
    "AdamW": (metaphys.AdamW, torch.optim.AdamW, {"lr": 0.1}),
}
peers = pytest.mark.parametrize("peer", PEERS)


SCHEDULERS = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=8),
}


@peers
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_learning_rate_schedulers(peer, scheduler):
    ours, theirs, arguments = PEERS[peer]
    results = []
    for kind in (ours, theirs):
        params = params_of()
        optimizer = kind(params, **arguments)
        schedule = SCHEDULERS[scheduler](optimizer)
        for step in range(6):
            take_steps(optimizer, params, 1, first=step)
            schedule.step()
        results.append(params)
    assert_near(*results)


@peers
def test_groups_with_options(peer):
    ours, theirs, arguments = PEERS[peer]
    results = []
    for kind in (ours, theirs):
        params = params_of()
        optimizer = kind([{"params": params[:1], "lr": 0.01}], **arguments)
        optimizer.add_param_group({"params": params[1], "weight_decay": 0.3})
        take_steps(optimizer, params, 2)
        optimizer.add_param_group({"params": iter(params[2:])})
        take_steps(optimizer, params, 2, first=2)
        results.append(params)
    assert_near(*results)


@peers
def test_momentum_and_betas_may_change_between_steps(peer):
    ours, theirs, arguments = PEERS[peer]
    change = {"momentum": 0.5} if peer == "SGD" else {"betas": (0.5, 0.9)}
    results = []
    for kind in (ours, theirs):
        params = params_of()
        optimizer = kind(params, **arguments)
        take_steps(optimizer, params, 2)
        optimizer.param_groups[0].update(change)
        take_steps(optimizer, params, 2, first=2)
        results.append(params)
    assert_near(*results)


def test_momentum_that_was_zero_gets_its_buffers_later():
    results = []
    for kind in (metaphys.SGD, torch.optim.SGD):
        params = params_of()
        optimizer = kind(params, lr=0.1)
        take_steps(optimizer, params, 1)
        optimizer.param_groups[0]["momentum"] = 0.9
        take_steps(optimizer, params, 3, first=1)
        results.append(params)
    assert_near(*results)


def test_momentum_that_becomes_zero():
    params = params_of()
    optimizer = metaphys.SGD(params, lr=0.1, momentum=0.9)
    give_grads(params[:1])
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.0
    before = values_of(params)
    take_steps(optimizer, params, 1)
    expected = [b - 0.1 * p.grad for b, p in zip(before, params)]
    torch.testing.assert_close(values_of(params), expected)


def test_closure():
    p = Parameter(torch.tensor([2.0]))
    optimizer = metaphys.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 4.0
    torch.testing.assert_close(p.detach(), torch.tensor([1.6]))
    assert optimizer.step() is None


@peers
def test_hooks_and_defaults_are_those_of_torch(peer):
    ours, theirs, arguments = PEERS[peer]
    params, calls = params_of(), []
    optimizer = ours(params, **arguments)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    take_steps(optimizer, params, 1)
    assert calls == ["before", "after"]
    defaults = theirs(params, **arguments).defaults
    for name in ("lr", "momentum", "betas", "eps", "weight_decay", "dampening", "nesterov"):
        assert optimizer.defaults.get(name) == defaults.get(name)


@rules
def test_a_parameter_without_a_gradient_is_not_touched(name):
    params = params_of()
    optimizer = metaphys.Optimizer(params, RULES[name]())
    take_steps(optimizer, params, 2)
    value, state = params[0].detach().clone(), copy.deepcopy(optimizer.state[params[0]])
    give_grads(params, 9)
    params[0].grad = None
    optimizer.step()
    assert torch.equal(params[0], value)
    torch.testing.assert_close(optimizer.state[params[0]], state, rtol=0, atol=0)


@rules
def test_a_backward_pass_that_still_needs_the_old_value_raises(name):
    p = Parameter(torch.ones(3))
    optimizer = metaphys.Optimizer([p], RULES[name]())
    loss = (p**2).sum()
    p.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@rules
def test_a_step_builds_no_graph_even_with_learned_values(name):
    params = params_of()
    optimizer = metaphys.Optimizer(params, RULES[name]())
    rate = torch.tensor(optimizer.defaults["lr"], requires_grad=True)
    optimizer.param_groups[0]["lr"] = rate
    take_steps(optimizer, params, 2)
    assert all(p.is_leaf and p.requires_grad for p in params)
    assert not any(t.requires_grad for s in optimizer.state.values() for t in s.values())
    plain = params_of()
    take_steps(metaphys.Optimizer(plain, RULES[name]()), plain, 2)
    assert_near(params, plain)


MASKS = {
    "list": [True, False, True],
    "function": lambda params: [p.ndim != 2 for p in params],
    "all": None,
    "none": False,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("missing", [False, True])
def test_masks_of_weight_decay(mask, missing):
    params, others = params_of(), params_of()
    chosen = {"all": [True] * 3, "none": [False] * 3}.get(mask, [True, False, True])
    optimizer = metaphys.AdamW(params, 0.1, weight_decay=0.5, mask=MASKS[mask])
    other = torch.optim.AdamW(
        [{"params": p, "weight_decay": 0.5 * c} for p, c in zip(others, chosen)], 0.1
    )
    for step in range(3):
        for each in (params, others):
            give_grads(each, step)
            each[0].grad = None if missing else each[0].grad
        optimizer.step()
        other.step()
    assert_near(params, others)


def test_a_rate_for_each_parameter_of_a_group():
    params, others = params_of(), params_of()
    optimizer = metaphys.SGD(params, lr=[0.1, torch.tensor(0.2), 0.3], momentum=0.9)
    other = torch.optim.SGD(
        [{"params": p, "lr": lr} for p, lr in zip(others, (0.1, 0.2, 0.3))], 0.1, momentum=0.9
    )
    for step in range(3):
        for each in (params, others):
            give_grads(each, step)
            each[step].grad = None
        optimizer.step()
        other.step()
    assert_near(params, others)


def test_betas_may_be_a_list():
    params, others = params_of(), params_of()
    take_steps(metaphys.Adam(params, lr=0.1, betas=[0.8, 0.9]), params, 2)
    take_steps(torch.optim.Adam(others, lr=0.1, betas=(0.8, 0.9)), others, 2)
    assert_near(params, others)


BAD_GROUPS = {
    "lr": {"lr": -1.0},
    "lr ": {"lr": [0.1, 0.2]},
    "lr  ": {"lr": {"a": 0.1}},
    "betas[0]": {"betas": (1.5, 0.9)},
    "mask": {"mask": [True, False]},
    "mask ": {"mask": lambda params: [True] * 5},
}


@pytest.mark.parametrize("argument", BAD_GROUPS)
def test_a_wrong_group_is_refused_whole(argument):
    optimizer = metaphys.AdamW(params_of())
    new = Parameter(torch.ones(2))
    with pytest.raises(ValueError) as caught:
        optimizer.add_param_group({"params": [new], **BAD_GROUPS[argument]})
    assert str(caught.value).startswith(f"`{argument.strip()}` must")
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [new]})


def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match=r"^`rule` must"):
        metaphys.Optimizer(params_of(), "sgd")
    with pytest.raises(TypeError, match=r"^`param_group` must"):
        metaphys.SGD(params_of()).add_param_group(params_of())


@pytest.mark.parametrize("broken", ["schedule", "rate"])
def test_a_step_that_fails_takes_no_group_half_way(broken):
    params = params_of()

    def fails(t):
        raise RuntimeError("no rate")

    optimizer = metaphys.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=0.1)
    optimizer.param_groups[1]["lr"] = fails if broken == "schedule" else torch.ones(7)
    before = values_of(params)
    give_grads(params)
    with pytest.raises((RuntimeError, ValueError)):
        optimizer.step()
    torch.testing.assert_close(values_of(params), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", TORCH)
def test_frozen_parameters_as_in_torch(name):
    results = []
    for make in (lambda p: metaphys.Optimizer(p, RULES[name]()), TORCH[name]):
        params = params_of()
        params[1].requires_grad_(False)
        optimizer = make(params)
        for step in range(3):
            optimizer.zero_grad()
            loss = (params[0].sin().sum() + params[1].sum()) * params[2] + params[0][0] * step
            loss.backward()
            optimizer.step()
        results.append(params)
    assert_near(*results)


@pytest.mark.parametrize("rule", [metaphys.sgd(0.1), metaphys.transform.inject_hyperparams(
    metaphys.sgd(0.1))], ids=["by leaf", "whole"])  # fmt: skip
def test_a_sparse_gradient_is_refused_before_any_step(rule):
    table = torch.nn.Embedding(3, 2, sparse=True)
    one = Parameter(torch.ones(2))
    optimizer = metaphys.Optimizer([{"params": [one]}, {"params": table.parameters()}], rule)
    (table(torch.tensor([1])).sum() + one.sum()).backward()
    with pytest.raises(ValueError, match=r"^`params\[0\].grad` must be dense"):
        optimizer.step()
    assert one.tolist() == [1.0, 1.0]


def test_in_place_and_out_of_place_are_the_same_step():
    # A tensor for a number: out of place through `update`, instead of the kernel in place.
    params = [torch.randn(3), torch.randn(2, 2)]
    grads = [[torch.randn_like(p) for p in params] for _ in range(4)]
    for rule in (metaphys.sgd, metaphys.adam, metaphys.adamw):
        found = stateful(rule(torch.tensor(0.1)), params, grads)
        torch.testing.assert_close(found, stateful(rule(0.1), params, grads))


class _Wrapped:
    """What Lightning's LightningOptimizer is: the same attributes under another class."""

    def __init__(self, optimizer):
        self.__dict__ = {key: value for key, value in vars(optimizer).items() if key != "step"}
        self.__class__ = type("Wrapped", (_Wrapped, type(optimizer)), {})
        self._optimizer = optimizer

    def step(self, closure):
        return self._optimizer.step(closure=closure)


@rules
def test_what_lightning_does_with_an_optimizer(name):
    results = []
    for wrapped in (False, True):
        params = params_of()
        optimizer = metaphys.Optimizer(params, RULES[name]())
        step, seen = optimizer, []
        if wrapped:
            step = _Wrapped(optimizer)
            assert isinstance(step, torch.optim.Optimizer) and step.defaults is optimizer.defaults
            optimizer.register_step_post_hook(lambda *_, seen=seen: seen.append(True))
        for seed in range(4):

            def closure(params=params, seed=seed):
                give_grads(params, seed)
                return torch.tensor(1.0)

            assert step.step(closure) == 1.0
            if wrapped:  # it moves the state to a device, tensor by tensor
                for param, held in optimizer.state.items():
                    optimizer.state[param] = {
                        k: v.to(param.device, copy=True) for k, v in held.items()
                    }
        assert len(seen) == 4 * wrapped
        results.append(params)
    torch.testing.assert_close(*map(values_of, results), rtol=0, atol=0)


def test_a_lightning_trainer_stops_and_goes_on(tmp_path):
    lightning = pytest.importorskip("pytorch_lightning")

    class Net(lightning.LightningModule):
        def __init__(self, kind):
            super().__init__()
            self.kind, self.layer = kind, torch.nn.Linear(4, 1)

        def training_step(self, batch):
            return self.layer(batch[0]).pow(2).mean()

        def configure_optimizers(self):
            optimizer = self.kind(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(16, 4)), 8)
    results = []
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    for kind in (metaphys.Adam, torch.optim.Adam):
        torch.manual_seed(0)
        net, path = Net(kind), tmp_path / kind.__module__
        trainer = lightning.Trainer(max_epochs=2, default_root_dir=tmp_path, **quiet)
        trainer.fit(net, data)
        trainer.save_checkpoint(path)
        net = Net(kind)
        trainer = lightning.Trainer(max_epochs=3, default_root_dir=tmp_path, **quiet)
        trainer.fit(net, data, ckpt_path=path)
        results.append(net.layer.weight.detach())
    torch.testing.assert_close(*results)
