"""What TorchOpt 0.7.3 gets wrong or cannot do, each by the behaviour that is right.

The numbers are those of the list that this library was started from; a row without a test here is
held next to its subject:

====  ==========================================================================================
D1    test_accelerated_op.py: test_it_is_what_torch_would_dispatch_to, test_without_the_library_…
D2    here: test_expanded_gradients_are_read_as_what_they_are
D3    here: test_transposed_gradients_keep_their_order
D4    here: test_meta_gradients_are_right_with_a_large_eps_and_eps_root
D5    here: test_second_derivatives_of_an_unroll_are_right
D6    here: test_half_precision_moves_as_float32_does
D7    here: test_steps_nest_with_torch_func
D8    ops/test_fused.py: test_many_chunks_and_threads (there is no CUDA kernel of ours)
D9    here: test_step_counts_stay_on_the_cpu
D10   here: test_a_gradient_entry_of_zero_has_a_finite_meta_gradient
D11   here: test_float64_agrees_with_torch_to_rounding
D16   here: test_shared_weights_stay_shared
D17   here: test_frozen_parameters_are_left_alone
D18   here: test_a_clipped_norm_has_its_whole_derivative
D19   here: test_the_first_step_with_dampening_is_the_first_again_after_recovery
D20   here: test_a_missing_gradient_neither_loses_momentum_nor_moves
D21   here: test_batch_statistics_are_recovered_as_often_as_asked
D22   here: test_stop_gradient_cuts_buffers_too
D23   meta/test_step.py: test_a_step_under_no_grad_…, test_first_order_…
D24   meta/test_step.py: test_a_truncated_loop_keeps_no_more_than_its_window
D25   here: test_a_step_compiles_without_a_graph_break
D26   test_saving.py
D27   meta/test_group.py; here: test_a_rate_for_each_entry_is_learned
D28   optim/test_func.py: test_in_place_differentiates_once_only
D29   rl/test_inner.py: test_returns_agree_with_those_of_the_loop; tutorials/06_maml_tabular_mdp.py
D30   docs/results: what the agent gains, beside what there is to gain
D31   here and everywhere: meta-gradients against differences, on data that is not zero
====  ==========================================================================================

D12 to D15 are about zero-order and implicit derivatives.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false

from __future__ import annotations

import pytest
import torch
from torch import nn

import metaphys
from tests.tables import RULES, Leaves, slope

FAMILY = ["adam", "adamw", "rmsprop", "rmsprop-centered", "adagrad"]


class Vector(nn.Module):
    """One parameter."""

    def __init__(self, value):
        super().__init__()
        self.w = nn.Parameter(value)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd-momentum"])
def test_expanded_gradients_are_read_as_what_they_are(name):
    model = Vector(torch.ones(64))
    metaphys.MetaOptimizer(model, RULES[name]()).step(model.w.sum())  # a gradient of stride 0
    other = Vector(torch.ones(64))
    metaphys.MetaOptimizer(other, RULES[name]()).step((other.w * torch.ones(64)).sum())
    torch.testing.assert_close(model.w, other.w)
    assert float((model.w - model.w[0]).detach().abs().max()) == 0.0


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd-momentum"])
def test_transposed_gradients_keep_their_order(name):
    scale = torch.arange(1.0, 13.0).view(4, 3)
    results = []
    for how in (lambda w: (w.T * scale).sum(), lambda w: (w * scale.T.contiguous()).sum()):
        model = Vector(torch.ones(3, 4))
        optimizer = metaphys.MetaOptimizer(model, RULES[name]())
        for _ in range(2):
            optimizer.step(how(model.w).square())
        results.append(model.w)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("eps, eps_root", [(1e-3, 0.0), (1e-8, 1e-3), (1e-8, 1e-5), (1e-8, 0.0)])
def test_meta_gradients_are_right_with_a_large_eps_and_eps_root(eps, eps_root):
    direction, x = torch.tensor([0.3, -0.5, 0.8]), torch.tensor([0.7, -1.1, 0.4])

    def end(x):
        model = Vector(torch.tensor([1.0, 2.0, -1.0]))
        optimizer = metaphys.MetaAdam(model, lr=0.1, eps=eps, eps_root=eps_root)
        with torch.enable_grad():
            for _ in range(5):
                optimizer.step((torch.sin(model.w * x) * 1e-2).sum().square())
        return model.w.square().sum()

    learned = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(end(learned), learned)
    assert found.abs().min() > 0
    numeric = slope(lambda v: end(v).detach(), x, direction, h=1e-5)
    assert float(found @ direction) == pytest.approx(numeric, rel=1e-5)


@pytest.mark.parametrize("name", ["adam-eps", "sgd-momentum", "rmsprop-centered"])
def test_second_derivatives_of_an_unroll_are_right(name):
    direction, x = torch.tensor([0.3, -0.5, 0.8]), torch.tensor([0.7, -1.1, 0.4])

    def first(x):
        x = x.detach().clone().requires_grad_()
        model = Vector(torch.tensor([1.0, 2.0, -1.0]))
        optimizer = metaphys.MetaOptimizer(model, RULES[name]())
        with torch.enable_grad():
            for _ in range(3):
                optimizer.step(torch.sin(model.w * x).sum().square())
            (grad,) = torch.autograd.grad(model.w.square().sum(), x, create_graph=True)
        return x, grad @ direction

    x_, value = first(x)
    (found,) = torch.autograd.grad(value, x_)
    numeric = slope(lambda v: first(v)[1].detach(), x, direction)
    assert float(found @ direction) == pytest.approx(numeric, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_half_precision_moves_as_float32_does(name, dtype):
    results = {}
    for kind in (dtype, torch.float32):
        model = Vector(torch.tensor([1.0, -2.0, 0.5]).to(kind))
        optimizer = metaphys.MetaOptimizer(model, RULES[name]())
        for _ in range(5):
            optimizer.step(model.w.float().square().sum())
        results[kind] = model.w.detach().float()
    torch.testing.assert_close(results[dtype], results[torch.float32], rtol=0.03, atol=0.03)


@pytest.mark.parametrize("name", ["adam", "sgd-momentum"])
def test_steps_nest_with_torch_func(name):
    rule, start = RULES[name](), torch.tensor([1.0, 2.0])

    def inner(w, x):
        return torch.sin(w * x).sum() ** 2

    def end(x):
        return metaphys.unroll(inner, rule, start, steps=3, meta=x).params.square().sum()

    xs = torch.tensor([[0.7, -1.1], [0.4, 0.2]])
    found = torch.func.vmap(torch.func.grad(end))(xs)
    for x, row in zip(xs, found):
        x = x.clone().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(end(x), x)[0], row)
    hessian = torch.func.hessian(end)(xs[0])
    torch.testing.assert_close(hessian, hessian.T)


@pytest.mark.parametrize("name", RULES)
def test_step_counts_stay_on_the_cpu(name):
    state = RULES[name]().init([torch.zeros(2, device="meta")])
    assert state.count.device.type == "cpu"


@pytest.mark.parametrize("name", FAMILY)
def test_a_gradient_entry_of_zero_has_a_finite_meta_gradient(name):
    model, scale = Vector(torch.tensor([1.0, 2.0])), torch.tensor([0.0, 1.0], requires_grad=True)
    optimizer = metaphys.MetaOptimizer(model, RULES[name]())
    for _ in range(3):
        optimizer.step((scale * model.w).sum())
    (grad,) = torch.autograd.grad(model.w.sum(), scale)
    assert torch.isfinite(grad).all()


def test_float64_agrees_with_torch_to_rounding():
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizers = [metaphys.Adam([ours], lr=0.1), torch.optim.Adam([theirs], lr=0.1)]
    for _ in range(10):
        for param, optimizer in zip((ours, theirs), optimizers):
            param.grad = param.detach().sin() + 0.1
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["sgd-momentum", "adam"])
def test_shared_weights_stay_shared(name):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    optimizer = metaphys.MetaOptimizer(net, RULES[name]())
    for _ in range(2):
        optimizer.step(net(torch.randn(3, 2)).square().mean())
        assert net[1].weight is net[0].weight


def test_frozen_parameters_are_left_alone():
    net = nn.Linear(2, 1)
    net.bias.requires_grad_(False)
    bias, value = net.bias, net.bias.clone()
    metaphys.MetaAdam(net, lr=0.1).step(net(torch.randn(3, 2)).square().mean())
    assert net.bias is bias
    torch.testing.assert_close(net.bias, value)


def test_a_clipped_norm_has_its_whole_derivative():
    rule, grad = metaphys.clip_grad_norm(1.0), torch.tensor([3.0, 4.0])

    def clipped(g):
        return rule.update([g], rule.init([g]), [g])[0][0]

    jacobian = torch.autograd.functional.jacobian(clipped, grad)
    expected = torch.tensor([[0.128, -0.096], [-0.096, 0.072]])  # (I - g gᵀ/|g|²) / |g|
    torch.testing.assert_close(jacobian, expected, rtol=1e-5, atol=1e-6)
    columns = [slope(lambda g, i=i: clipped(g)[i], grad, torch.tensor([1.0, 0.0])) for i in (0, 1)]
    torch.testing.assert_close(torch.tensor(columns), jacobian[:, 0], rtol=1e-5, atol=1e-6)


def test_the_first_step_with_dampening_is_the_first_again_after_recovery():
    model = Vector(torch.ones(1))
    optimizer = metaphys.MetaSGD(model, lr=1.0, momentum=0.9, dampening=0.5)
    states = [metaphys.extract_state_dict(each, by="deepcopy") for each in (model, optimizer)]
    ends = []
    for _ in range(3):
        optimizer.step(model.w.sum())
        ends.append(model.w.item())
        for each, state in zip((model, optimizer), states):
            metaphys.recover_state_dict(each, state)
    assert ends == [0.0] * 3


@pytest.mark.parametrize("name", ["sgd-momentum", "adamax", "radam", "adam"])
def test_a_missing_gradient_neither_loses_momentum_nor_moves(name):
    module = Leaves([torch.ones(2), torch.ones(2)])
    optimizer = metaphys.MetaOptimizer(module, RULES[name]())
    optimizer.step(module.p[0].sum() + module.p[1].sum())
    kept = module.p[1]
    optimizer.step(module.p[0].sum())
    assert module.p[1] is kept
    optimizer.step(module.p[0].sum() + module.p[1].sum())
    other = Leaves([torch.ones(2)])
    alone = metaphys.MetaOptimizer(other, RULES[name]())
    for _ in range(2):
        alone.step(other.p[0].sum())
    torch.testing.assert_close(module.p[1], other.p[0])


@pytest.mark.parametrize("by", ["reference", "copy", "deepcopy"])
def test_batch_statistics_are_recovered_as_often_as_asked(by):
    net = nn.BatchNorm1d(2)
    state, before = metaphys.extract_state_dict(net, by=by), torch.zeros(2)
    for _ in range(3):
        net(torch.randn(8, 2) + 5.0)
        assert not torch.equal(net.running_mean, before)
        metaphys.recover_state_dict(net, state)
        assert torch.equal(net.running_mean, before)


def test_stop_gradient_cuts_buffers_too():
    net, x = nn.BatchNorm1d(2), torch.ones(2, requires_grad=True)
    net.running_mean = x * 2
    metaphys.stop_gradient(net)
    assert net.running_mean.grad_fn is None
    net(torch.randn(4, 2)).sum().backward()  # changes it in place
    assert x.grad is None


def test_a_rate_for_each_entry_is_learned():
    model, rate = Vector(torch.ones(3)), torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    metaphys.MetaSGD(model, lr=rate).step((model.w**2).sum())
    (grad,) = torch.autograd.grad(model.w.sum(), rate)
    torch.testing.assert_close(grad, torch.full((3,), -2.0))


@pytest.mark.parametrize("name", ["sgd-momentum", "adam"])
def test_a_step_compiles_without_a_graph_break(name):
    rule, grads = RULES[name](), [torch.tensor([0.3, -0.2])]
    params = [torch.ones(2)]

    def step(params, grads, state):
        updates, state = rule.update(grads, state, params)
        return metaphys.apply_updates(params, updates, inplace=False), state

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    found, expected = (
        compiled(params, grads, rule.init(params)),
        step(params, grads, rule.init(params)),
    )
    torch.testing.assert_close(found, expected)
