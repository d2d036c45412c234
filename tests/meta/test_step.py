"""How a differentiable step is taken: first order, callbacks, truncation, no_grad, flat memory."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
import torch
from torch import nn
from torch.func import functional_call

import metaphys
from tests.tables import ONE_OF_EACH, RULES, Leaves, functional, slope, tolerance

rules = pytest.mark.parametrize("name", RULES)
some = pytest.mark.parametrize("name", ["sgd", "sgd-momentum", *ONE_OF_EACH])


def _net():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def _loss(net, x):
    return net(x).pow(2).mean()


def graph_size(*tensors) -> int:
    """The number of nodes in the graphs of ``tensors``."""
    seen, todo = set(), [t.grad_fn for t in tensors]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
    return len(seen)


def _unrolled(rule, params, steps, loss, constant):
    """The same by the functional form; ``constant`` says what a step takes as constant."""
    state = rule.init(params)
    for step in range(steps):
        grads = torch.autograd.grad(loss(params), list(params.values()), create_graph=True)
        grads, params, state = constant(step, list(grads), params, state)
        updates, state = rule.update(dict(zip(params, grads)), state, params)
        params = metaphys.apply_updates(params, updates, inplace=False)
    return params


# First order ----------------------------------------------------------------------------------


@rules
def test_first_order_is_the_step_with_constant_gradients(name):
    net, x = _net(), torch.randn(4, 2, requires_grad=True)
    start = list(net.parameters())
    params = {key: value.detach().clone().requires_grad_() for key, value in net.named_parameters()}
    leaves = list(params.values())
    expected = _unrolled(
        RULES[name](),
        params,
        3,
        lambda p: functional_call(net, p, x).pow(2).mean(),
        lambda _, grads, p, s: ([g.detach() for g in grads], p, s),
    )
    outer = torch.autograd.grad(functional_call(net, expected, x).sum(), [x, *leaves])
    optimizer = metaphys.MetaOptimizer(net, RULES[name](), first_order=True)
    for _ in range(3):
        optimizer.step(_loss(net, x))
    torch.testing.assert_close(dict(net.named_parameters()), expected)
    found = torch.autograd.grad(net(x).sum(), [x, *start])
    torch.testing.assert_close(found, outer, **tolerance(torch.float64))


@some
def test_first_order_is_the_derivative_with_the_gradients_frozen(name):
    start, weights = torch.randn(3), torch.randn(3)
    module = Leaves([start])
    (leaf,) = module.p
    frozen = []
    optimizer = metaphys.MetaOptimizer(
        module, RULES[name](), first_order=True, grad_callback=lambda g: frozen.append(list(g))
    )
    for _ in range(3):
        optimizer.step(module.p[0].pow(3).sum())
    (found,) = torch.autograd.grad((weights * module.p[0]).sum(), leaf)
    direction = torch.randn(3)

    def end(x):
        return (weights * functional(RULES[name](), [x], frozen)[0]).sum()

    assert float(found @ direction) == pytest.approx(slope(end, start, direction, h=3e-4), rel=1e-7)


def test_first_order_makes_no_graph_of_the_backward_pass():
    sizes = {}
    for depth in (2, 12):
        for first in (False, True):
            layers = [nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(depth)]
            net = nn.Sequential(*layers)
            first_layer = net[0][0]
            optimizer = metaphys.MetaSGD(net, lr=0.1)
            optimizer.step(_loss(net, torch.randn(4, 2)), first_order=first)
            sizes[depth, first] = graph_size(first_layer.weight)
    assert sizes[2, True] == sizes[12, True] <= 3  # one addition, and the leaf
    assert sizes[12, False] > sizes[2, False] > sizes[2, True]


def test_first_order_reaches_a_learned_rate():
    net, rate = nn.Linear(1, 1, bias=False), torch.tensor(0.1, requires_grad=True)
    optimizer = metaphys.MetaSGD(net, lr=rate, first_order=True)
    total = 0.0
    for _ in range(2):
        loss = 0.5 * net.weight.pow(2).sum()
        total += net.weight.detach().sum()
        optimizer.step(loss)
    (grad,) = torch.autograd.grad(net.weight.sum(), rate)
    torch.testing.assert_close(grad, -total)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_a_step_under_no_grad_leaves_parameters_that_can_be_stepped_again(name, first):
    net, x = _net(), torch.randn(4, 2)
    other = metaphys.module_clone(net, by="deepcopy")
    optimizer = metaphys.MetaOptimizer(net, RULES[name](), first_order=first)
    same = metaphys.MetaOptimizer(other, RULES[name](), first_order=first)
    for _ in range(3):
        loss = _loss(net, x)
        with torch.no_grad():
            optimizer.step(loss)
        assert all(p.requires_grad for p in net.parameters())
        same.step(_loss(other, x))
    torch.testing.assert_close(list(net.parameters()), list(other.parameters()))


def test_the_loss_can_be_used_again_after_a_first_order_step():
    net, x = _net(), torch.randn(4, 2, requires_grad=True)
    loss = _loss(net, x)
    metaphys.MetaSGD(net, lr=0.1, first_order=True).step(loss)
    (grad,) = torch.autograd.grad(loss + _loss(net, x), x)
    assert torch.isfinite(grad).all()


# Callbacks ------------------------------------------------------------------------------------


def _clipped(grads, most):
    norm = torch.stack([g.pow(2).sum() for g in grads if g is not None]).sum().sqrt()
    scale = torch.clamp(most / norm, max=1.0)
    return [None if g is None else g * scale for g in grads]


@pytest.mark.parametrize("first", [False, True])
def test_a_callback_replaces_gradients_and_can_be_learned(first):
    torch.manual_seed(0)
    x, start = torch.randn(4, 2), _net()
    values = {key: value.detach().clone() for key, value in start.named_parameters()}
    most = torch.tensor(0.05, requires_grad=True)

    def end(limit):
        net = metaphys.module_clone(start, by="deepcopy")
        optimizer = metaphys.MetaSGD(net, lr=0.5, first_order=first)
        with torch.enable_grad():
            for _ in range(3):
                optimizer.step(_loss(net, x), grad_callback=lambda g: _clipped(g, limit))
            return net(x).sum()

    def plain(limit):
        params = {key: value.clone().requires_grad_() for key, value in values.items()}
        params = _unrolled(
            metaphys.sgd(lr=0.5),
            params,
            3,
            lambda p: functional_call(start, p, x).pow(2).mean(),
            lambda _, g, p, s: (_clipped([t.detach() for t in g] if first else g, limit), p, s),
        )
        return functional_call(start, params, x).sum()

    (found,) = torch.autograd.grad(end(most), most)
    torch.testing.assert_close(found, torch.autograd.grad(plain(most), most)[0])
    if not first:
        numeric = slope(lambda m: end(m).detach(), most.detach(), torch.tensor(1.0), h=1e-4)
        assert float(found) == pytest.approx(numeric, rel=1e-6)


def test_a_callback_sees_all_gradients_in_order_and_may_change_the_list():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(1, 1))
    net[0].weight.requires_grad_(False)
    optimizer = metaphys.MetaSGD(net[:2], lr=1.0)
    optimizer.add_param_group(net[2])
    seen = []

    def callback(grads):
        seen.extend(None if g is None else tuple(g.shape) for g in grads)
        grads[0] = torch.ones(2)

    before = net[0].bias
    optimizer.step(net[1](torch.ones(1, 2)).sum(), grad_callback=callback)
    assert seen == [None, (1, 2), (1,), None, None]
    torch.testing.assert_close(net[0].bias, before - 1.0)


WRONG = {
    "too few": lambda g: g[:-1],
    "other shapes": lambda g: [t.sum() for t in g],
    "floats": lambda g: [1.0 for _ in g],
    "raises": lambda g: 1 / 0,
}


@pytest.mark.parametrize("which", WRONG)
def test_a_callback_that_gives_no_gradients_is_refused_and_nothing_changes(which):
    net, x = _net(), torch.randn(4, 2)
    optimizer = metaphys.MetaAdam(net, lr=0.1, record=True)
    before, state = list(net.parameters()), optimizer.state_dict()
    with pytest.raises((ValueError, ZeroDivisionError), match=r"`grad_callback` must|division"):
        optimizer.step(_loss(net, x), grad_callback=WRONG[which])
    assert all(now is then for now, then in zip(net.parameters(), before))
    assert optimizer.state_dict()[0] is state[0]
    assert optimizer.parameters(time=0).keys() == dict(net.named_parameters()).keys()


# Truncation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
@some
def test_truncation_is_the_unroll_with_the_past_taken_as_constant(name, k):
    torch.manual_seed(0)
    net, target = _net(), torch.randn(4, 1, requires_grad=True)
    x, rate = torch.randn(4, 2), torch.tensor(0.05, requires_grad=True)
    rule = RULES[name]()
    rule = metaphys.Rule(rule.core, {**rule.hyper, "lr": rate})
    params = {key: value.detach().clone().requires_grad_() for key, value in net.named_parameters()}

    def constant(step, grads, p, state):
        if step == 0 or step % k:
            return grads, p, state
        flat, spec = metaphys.pytree.tree_flatten(state)
        state = metaphys.pytree.tree_unflatten(spec, [t.detach() for t in flat])
        p = {key: value.detach().requires_grad_() for key, value in p.items()}
        return [g.detach() for g in grads], p, state

    def loss(apply):
        return (apply(x) - target).pow(2).mean()

    optimizer = metaphys.MetaOptimizer(net, rule, truncate=k)
    for steps in range(1, 6):
        optimizer.step(loss(net))
        expected = _unrolled(
            rule, params, steps, lambda p: loss(lambda x: functional_call(net, p, (x,))), constant
        )
        torch.testing.assert_close(dict(net.named_parameters()), expected)
        if name == "lion" and (steps - 1) % k == 0:
            continue  # its step depends on the rate alone
        outer = functional_call(net, expected, x).sum()
        outer = torch.autograd.grad(outer, (rate, target), allow_unused=True)
        found = torch.autograd.grad(
            net(x).sum(), (rate, target), allow_unused=True, retain_graph=True
        )
        torch.testing.assert_close(found[0], outer[0])
        assert (found[1] is None) == (outer[1] is None)
        if outer[1] is not None:
            torch.testing.assert_close(found[1], outer[1])


class Remembering(nn.Module):
    """A module with a buffer that carries the graph of every step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("memory", torch.zeros(2))

    def forward(self, x):
        """(n, 2) to (n, 2)."""
        out = self.norm(self.layer(x)) + self.memory
        self.memory = 0.5 * self.memory + out.mean(0)
        return out


@pytest.mark.parametrize("options", [{"truncate": 3}, {"truncate": 1, "first_order": True}])
@some
def test_a_truncated_loop_keeps_no_more_than_its_window(name, options):
    net = Remembering()
    optimizer = metaphys.MetaOptimizer(net, RULES[name](), **options)
    gc.collect()
    gc.disable()  # nothing is in a cycle: graphs go when they are cut
    try:
        passed, sizes, alive = [], [], []
        for _ in range(20):
            passed.append(weakref.ref(net.layer.weight))
            optimizer.step(net(torch.randn(5, 2)).pow(2).mean())
            tensors = [*net.parameters(), *net.buffers()]
            tensors += [t for state in optimizer.state_dict() for part in state[1:] for t in part]
            sizes.append(graph_size(*tensors))
            alive.append(sum(ref() is not None for ref in passed))
    finally:
        gc.enable()
    k = options["truncate"]
    # The same window over and over; the first one has k whole steps.
    assert sizes[k : 2 * k] * 5 == sizes[k : 6 * k] and max(sizes) == max(sizes[:k])
    assert max(alive) <= k + 1


def test_an_outer_step_after_every_window_needs_nothing_else():
    net, x = _net(), torch.randn(4, 2)
    rate = torch.tensor(0.1, requires_grad=True)
    outer = metaphys.SGD([rate], lr=0.01)
    optimizer = metaphys.MetaSGD(net, lr=rate, truncate=3)
    rates = []
    for _ in range(4):
        for _ in range(3):
            optimizer.step(_loss(net, x))
        outer.zero_grad()
        _loss(net, x).backward()
        outer.step()
        rates.append(float(rate.detach()))
    assert all(later > earlier for earlier, later in itertools.pairwise(rates))


def test_without_truncation_the_graph_grows():
    net = Remembering()
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    sizes = []
    for _ in range(6):
        optimizer.step(net(torch.randn(5, 2)).pow(2).mean())
        sizes.append(graph_size(*net.parameters()))
    assert all(later > earlier for earlier, later in itertools.pairwise(sizes))


def test_first_order_with_truncation_at_every_step_leaves_leaves():
    net = Remembering()
    frozen = net.norm.weight.requires_grad_(False)
    optimizer = metaphys.MetaAdam(net, lr=0.1, first_order=True, truncate=1)
    for _ in range(3):
        optimizer.step(net(torch.randn(5, 2)).pow(2).mean())
    assert all(p.is_leaf for p in net.parameters()) and net.norm.weight is frozen
    assert net.layer.weight.requires_grad and net.memory.grad_fn is None


def test_stop_gradient_of_the_optimizer_cuts_every_part():
    net, rate = Remembering(), torch.tensor(0.1, requires_grad=True)
    optimizer = metaphys.MetaSGD(net, lr=rate * 1.0, momentum=0.9)
    optimizer.add_param_group(nn.Linear(2, 2), lr=0.1)
    for _ in range(2):
        optimizer.step(net(torch.randn(5, 2)).pow(2).mean())
    optimizer.stop_gradient()
    assert graph_size(*net.parameters(), *net.buffers()) == 0
    state = [t for each in optimizer.state_dict() for t in each.trace]
    assert graph_size(*state) == 0
    # What the user made is not touched: the rate keeps its own graph.
    optimizer.step(net(torch.randn(5, 2)).pow(2).mean())
    assert torch.autograd.grad(net.layer.weight.sum(), rate)[0].abs() > 0


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_a_window_that_is_no_number_of_steps_is_refused(wrong):
    with pytest.raises(ValueError, match=r"^`truncate` must be a number of steps >= 1"):
        metaphys.MetaSGD(_net(), lr=0.1, truncate=wrong)
