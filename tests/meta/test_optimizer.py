"""Differentiable steps on modules: the seed's example, the functional form, what is refused."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

import metaphys
from tests.tables import RULES, Leaves, tolerance

rules = pytest.mark.parametrize("name", RULES)

SEED = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import metaphys as torchopt


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.0), requires_grad=True)

    def forward(self, x):
        return self.a * (x**2)


net = Net()
x = nn.Parameter(torch.tensor(2.0), requires_grad=True)
{optim}
inner_loss = net(x)
optim.step(inner_loss)
outer_loss = net(x)
outer_loss.backward()
print(f'x.grad = {{x.grad!r}}')
"""

WAYS = {
    "MetaOptimizer": "optim = torchopt.MetaOptimizer(net, torchopt.sgd(lr=1.0))",
    "MetaSGD": "optim = torchopt.MetaSGD(net, lr=1.0)",
}
WAYS["both"] = "\n".join(WAYS.values())


@pytest.mark.cpu("an example shows tensors of the CPU")
@pytest.mark.parametrize("way", WAYS)
def test_the_bilevel_example_gives_minus_28(way, capsys):
    torch.set_default_dtype(torch.float32)
    exec(SEED.format(optim=WAYS[way]), {})
    assert capsys.readouterr().out == "x.grad = tensor(-28.)\n"


class Tied(nn.Module):
    """Two layers with one weight, a frozen one, and one that the loss may leave out."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.spare = nn.Linear(3, 1)

    def forward(self, x):
        """(n, 3) to (n, 3)."""
        return self.second(torch.tanh(self.frozen(torch.tanh(self.first(x)))))


def _everything(module):
    return [*module.parameters(), *module.buffers()]


def _snapshot(module, optimizer):
    """What must be the very same tensors, with the same values, after a refused step."""
    tensors = [*_everything(module), *(t for state in optimizer.state_dict() for t in state[1:])]
    return [(t, t.clone() if isinstance(t, torch.Tensor) else t) for t in tensors]


def assert_untouched(module, optimizer, snapshot):
    tensors = [*_everything(module), *(t for state in optimizer.state_dict() for t in state[1:])]
    assert len(tensors) == len(snapshot)
    for now, (before, value) in zip(tensors, snapshot):
        assert now is before
        torch.testing.assert_close(now, value, rtol=0, atol=0)


@rules
def test_the_module_form_is_the_functional_form(name):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(5, 3, requires_grad=True)
    params = {k: v.detach().clone().requires_grad_() for k, v in net.named_parameters()}
    start = list(params.values())
    rule = RULES[name]()
    state = rule.init(params)
    for _ in range(4):
        loss = functional_call(net, params, x).pow(2).mean()
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        updates, state = rule.update(dict(zip(params, grads)), state, params)
        params = metaphys.apply_updates(params, updates, inplace=False)
    expected = torch.autograd.grad(functional_call(net, params, x).sum(), [x, *start])
    leaves = list(net.parameters())
    optimizer = metaphys.MetaOptimizer(net, RULES[name]())
    for _ in range(4):
        optimizer.step(net(x).pow(2).mean())
    found = torch.autograd.grad(net(x).sum(), [x, *leaves])
    torch.testing.assert_close(found, expected, **tolerance(torch.float64))
    torch.testing.assert_close(list(net.parameters()), list(params.values()))


@rules
def test_tied_weights_stay_tied_and_frozen_ones_frozen(name):
    net = Tied()
    frozen, value = net.frozen.weight, net.frozen.weight.clone()
    optimizer = metaphys.MetaOptimizer(net, RULES[name]())
    x = torch.randn(4, 3)
    before = net.first.weight
    # A tied weight takes one step, by the sum of its two gradients.
    for _ in range(3):
        optimizer.step(net(x).pow(2).mean())
        assert net.first.weight is net.second.weight
        assert net.first.weight is not before
    assert net.frozen.weight is frozen and isinstance(frozen, nn.Parameter)
    assert torch.equal(frozen, value)


@rules
def test_a_parameter_without_a_gradient_keeps_value_and_state_and_moves_later(name):
    torch.manual_seed(0)
    one, two = Leaves([torch.ones(2), torch.ones(3)]), Leaves([torch.ones(3)])
    both = metaphys.MetaOptimizer(one, RULES[name]())
    alone = metaphys.MetaOptimizer(two, RULES[name]())
    both.step(one.p[0].sin().sum() + one.p[1].pow(3).sum())
    alone.step(two.p[0].pow(3).sum())
    kept = one.p[1]
    for _ in range(3):
        both.step(one.p[0].sin().sum())
        assert one.p[1] is kept
    both.step(one.p[0].sin().sum() + one.p[1].pow(3).sum())
    alone.step(two.p[0].pow(3).sum())
    torch.testing.assert_close(one.p[1], two.p[0])
    assert both.state_dict()[0].count.tolist() == [5, 2]


@rules
def test_a_gradient_of_exactly_zero_gives_a_finite_meta_gradient(name):
    module = Leaves([torch.tensor([1.0, 2.0])])
    scale = torch.tensor([0.0, 1.0], requires_grad=True)  # the first entry has gradient 0
    optimizer = metaphys.MetaOptimizer(module, RULES[name]())
    for _ in range(3):
        optimizer.step((scale * module.p[0] ** 2).sum())
    (first,) = torch.autograd.grad(module.p[0].sum(), scale, create_graph=True)
    assert torch.isfinite(first).all()
    if first.requires_grad:  # Lion's is a constant
        assert torch.isfinite(torch.autograd.grad(first.sum(), scale)[0]).all()


def test_learned_rates_by_parameter_name():
    net = nn.Linear(2, 1)
    rates = {"weight": torch.full((1, 2), 0.1), "bias": torch.tensor(0.2)}
    rates = {k: v.requires_grad_() for k, v in rates.items()}
    x = torch.tensor([[1.0, 2.0]])
    optimizer = metaphys.MetaSGD(net, lr=rates)
    optimizer.step(net(x).sum())
    found = torch.autograd.grad(net(x).sum(), list(rates.values()))
    torch.testing.assert_close(found, (-(x**2), torch.tensor(-1.0)))
    for wrong in ({"weight": 0.1}, [0.1, 0.2]):
        with pytest.raises(ValueError, match=r"^`lr` must"):
            metaphys.MetaSGD(nn.Linear(2, 1), lr=wrong)


def test_a_mask_by_parameter_name_or_function():
    results = []
    for mask in ({"weight": True, "bias": False}, lambda params: [p.ndim > 1 for p in params]):
        net = nn.Linear(2, 1)
        nn.init.ones_(net.weight), nn.init.ones_(net.bias)
        optimizer = metaphys.MetaAdamW(net, lr=0.1, weight_decay=1.0, eps=1e9, mask=mask)
        optimizer.step(net(torch.ones(1, 2)).sum())
        results.append([net.weight[0, 0].item(), net.bias.item()])
    assert results == [pytest.approx([0.9, 1.0])] * 2


def test_several_modules_with_their_own_rates():
    one, two = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    optimizer = metaphys.MetaSGD(one, lr=0.1)
    optimizer.add_param_group(two, lr=0.5)
    assert optimizer.modules == [one, two]
    w1, w2, x = one.weight, two.weight, torch.randn(3, 2)
    loss = two(one(x)).sum()
    g1, g2 = torch.autograd.grad(loss, (w1, w2), retain_graph=True)
    optimizer.step(loss)
    torch.testing.assert_close(one.weight, w1 - 0.1 * g1)
    torch.testing.assert_close(two.weight, w2 - 0.5 * g2)


def test_groups_that_are_refused():
    net = nn.Linear(2, 2)
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    wrong = {
        "shares": lambda: optimizer.add_param_group(nn.Sequential(net)),
        "without one": lambda: optimizer.add_param_group(nn.ReLU()),
        "lr": lambda: optimizer.add_param_group(nn.Linear(1, 1), lr=-1.0),
        "eps": lambda: optimizer.add_param_group(nn.Linear(1, 1), eps=1.0),
    }
    for message, call in wrong.items():
        with pytest.raises(ValueError, match=message):
            call()
    assert optimizer.modules == [net] and len(optimizer.state_dict()) == 1


def test_under_no_grad_the_step_is_still_differentiable():
    net = nn.Linear(1, 1)
    optimizer = metaphys.MetaSGD(net, lr=0.1, momentum=0.9)
    loss = net(torch.ones(1, 1)).pow(2).sum()
    with torch.no_grad():
        optimizer.step(loss)
    assert net.weight.requires_grad and net.weight.grad_fn is not None


BAD_LOSSES = {
    "nan": lambda net: net(torch.ones(1, 3)).sum() * float("nan"),
    "infinite": lambda net: net(torch.ones(1, 3)).sum() + float("inf"),
    "no-graph": lambda net: net(torch.ones(1, 3)).sum().detach(),
    "not-scalar": lambda net: net(torch.ones(1, 3)),
    "empty": lambda net: net(torch.ones(0, 3)),
    "another-module": lambda net: Tied()(torch.ones(1, 3)).sum(),
    "constant": lambda net: torch.tensor(1.0),
    "a-float": lambda net: 1.0,
    "nothing": lambda net: None,
}


finite = pytest.mark.cpu("whether a loss is finite is looked at on the CPU only")


@pytest.mark.parametrize(
    "which",
    [pytest.param(n, marks=finite) if n in ("nan", "infinite") else n for n in BAD_LOSSES],
)
@pytest.mark.parametrize("name", ["sgd", "sgd-momentum", "adam"])
def test_a_bad_loss_is_refused_and_nothing_changes(which, name):
    net = Tied()
    optimizer = metaphys.MetaOptimizer(net, RULES[name]())
    optimizer.step(net(torch.ones(1, 3)).pow(2).sum())
    snapshot = _snapshot(net, optimizer)
    loss = BAD_LOSSES[which](net)
    with pytest.raises((ValueError, TypeError), match=r"^`loss` must"):
        optimizer.step(loss)
    assert_untouched(net, optimizer, snapshot)
    optimizer.step(net(torch.ones(1, 3)).pow(2).sum())


def test_a_loss_of_the_parameters_before_the_last_step_is_refused():
    net = Tied()
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    loss = net(torch.ones(1, 3)).pow(2).sum()
    state = metaphys.extract_state_dict(net)
    optimizer.step(loss)
    snapshot = _snapshot(net, optimizer)
    with pytest.raises(
        ValueError, match=r"^`loss` must be computed from the parameters that are stepped"
    ):
        optimizer.step(loss)
    assert_untouched(net, optimizer, snapshot)
    # Its graph is kept: with the old parameters back it is as good as new.
    stepped = net.first.weight
    metaphys.recover_state_dict(net, state)
    optimizer.step(loss)
    torch.testing.assert_close(net.first.weight, stepped)


def test_a_rate_that_does_not_fit_changes_nothing():
    net = Tied()
    optimizer = metaphys.MetaAdam(net, lr=torch.ones(7))
    snapshot = _snapshot(net, optimizer)
    with pytest.raises(ValueError, match=r"^`lr` must"):
        optimizer.step(net(torch.ones(1, 3)).sum())
    assert_untouched(net, optimizer, snapshot)


def test_a_module_that_was_frozen_after_construction():
    net = nn.Linear(1, 1)
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    loss = net(torch.ones(1, 1, requires_grad=True)).sum()
    net.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^`loss` must"):
        optimizer.step(loss)


CONSTRUCTIONS = {
    "module": (ValueError, lambda: metaphys.MetaSGD(nn.ReLU(), lr=0.1)),
    "module ": (ValueError, lambda: metaphys.MetaSGD(nn.Linear(1, 1).requires_grad_(False), 0.1)),
    "module  ": (TypeError, lambda: metaphys.MetaAdam([torch.ones(1)])),
    "rule": (TypeError, lambda: metaphys.MetaOptimizer(nn.Linear(1, 1), "sgd")),
    "rule ": (TypeError, lambda: metaphys.MetaOptimizer(nn.Linear(1, 1), metaphys.SGD)),
    "lr": (ValueError, lambda: metaphys.MetaSGD(nn.Linear(1, 1), lr=-0.1)),
    "lr ": (TypeError, lambda: metaphys.MetaAdam(nn.Linear(1, 1), lr="0.1")),
    "betas[1]": (ValueError, lambda: metaphys.MetaAdam(nn.Linear(1, 1), betas=(0.9, 1.0))),
    "eps": (ValueError, lambda: metaphys.MetaAdamW(nn.Linear(1, 1), eps=-1.0)),
    "nesterov": (ValueError, lambda: metaphys.MetaSGD(nn.Linear(1, 1), 0.1, nesterov=True)),
}


@pytest.mark.parametrize("argument", CONSTRUCTIONS)
def test_wrong_constructions_are_refused_by_name(argument):
    kind, make = CONSTRUCTIONS[argument]
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).startswith(f"`{argument.strip()}` must")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@rules
def test_half_precision_modules(name, dtype):
    net = nn.Linear(3, 2).to(dtype)
    start = net.weight
    optimizer = metaphys.MetaOptimizer(net, RULES[name]())
    x = torch.randn(4, 3, dtype=dtype)
    for _ in range(2):
        optimizer.step(net(x).pow(2).mean())
    assert net.weight.dtype is dtype
    state = optimizer.state_dict()[0]
    assert all(t.dtype is torch.float32 for part in state[1:] for t in part)
    (grad,) = torch.autograd.grad(net(x).sum(), start)
    assert grad.dtype is dtype and torch.isfinite(grad).all()


def test_initial_moments_can_be_learned():
    net = nn.Linear(1, 1, bias=False)
    optimizer = metaphys.MetaSGD(net, lr=0.1, momentum=0.9)
    (buffer,) = optimizer.state_dict()[0].trace
    optimizer.step(net(torch.ones(1, 1)).sum())
    (grad,) = torch.autograd.grad(net.weight.sum(), buffer)
    torch.testing.assert_close(grad, torch.tensor([[-0.09]]))
