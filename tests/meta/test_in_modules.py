"""MetaOptimizer.unroll: the same as steps one by one, under every adjoint, whole or not at all."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import metaphys
from metaphys import Status
from metaphys.meta.adjoint import Checkpoint, Forward, Full, Mixed, OneStep, Truncated
from tests.tables import RULES, assert_near, slope

STEPS = 4
EXACT = [Full(), Checkpoint(), Mixed()]
exact = pytest.mark.parametrize("adjoint", EXACT, ids=str)


def network(*extra: nn.Module) -> Any:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *extra, nn.Linear(4, 2))


def batches() -> torch.Tensor:
    return torch.randn(STEPS, 6, 3, generator=torch.Generator().manual_seed(1))


def outer(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    net.eval()
    return net(x).square().sum()


def stepped(optimizer, net, y):
    for batch in batches():
        optimizer.step((net(batch) - y).square().mean())


def unrolled(optimizer, net, y, adjoint):
    return optimizer.unroll(
        lambda y, batch: (net(batch) - y).square().mean(),
        STEPS,
        batches=batches(),
        meta=y,
        adjoint=adjoint,
    )


def meta_gradient(run, extra: tuple[nn.Module, ...] = (), make: Any = metaphys.MetaAdam, **options):
    """The derivatives by the start, the target and the rate; the buffers and states left behind."""
    net, y = network(*extra), torch.full((6, 2), 0.3, requires_grad=True)
    rate = torch.tensor(0.1, requires_grad=True)
    start = list(net.parameters())
    optimizer = make(net, lr=rate, **options)
    run(optimizer, net, y)
    loss = outer(net, batches()[0])
    found = torch.autograd.grad(loss, [*start, y, rate], materialize_grads=True)
    return found, list(net.buffers()), optimizer.state_dict()


@exact
@pytest.mark.parametrize("make", [metaphys.MetaSGD, metaphys.MetaAdam, metaphys.MetaRMSprop])
def test_the_same_as_steps(adjoint, make):
    expected = meta_gradient(stepped, make=make)
    assert_near(meta_gradient(lambda o, n, y: unrolled(o, n, y, adjoint), make=make), expected)


@exact
def test_running_statistics_go_along(adjoint):
    expected = meta_gradient(stepped, (nn.BatchNorm1d(4),))
    found = meta_gradient(lambda o, n, y: unrolled(o, n, y, adjoint), (nn.BatchNorm1d(4),))
    assert_near(found, expected)
    assert int(found[1][2]) == STEPS and not any(each.requires_grad for each in found[1])


@exact
def test_the_same_dropout_when_run_again(adjoint):
    def seeded(run):
        def seeded_run(*arguments):
            torch.manual_seed(3)
            return run(*arguments)

        return seeded_run

    expected = meta_gradient(seeded(stepped), (nn.Dropout(0.5),))
    found = meta_gradient(seeded(lambda o, n, y: unrolled(o, n, y, adjoint)), (nn.Dropout(0.5),))
    assert_near(found, expected)


@exact
def test_against_central_differences(adjoint):
    def end(y):
        net = network(nn.BatchNorm1d(4))
        unrolled(metaphys.MetaAdam(net, lr=0.1), net, y, adjoint)
        # Not in evaluation: the statistics are constants there, which differences do not know.
        return net(batches()[0]).square().sum()

    y, direction = torch.randn(6, 2), torch.randn(6, 2)
    leaf = y.clone().requires_grad_()
    found = (torch.autograd.grad(end(leaf), leaf)[0] * direction).sum().item()
    assert found == pytest.approx(slope(end, y, direction), rel=1e-6)


@pytest.mark.parametrize("options", [{"first_order": True}, {"grad_callback": "halve"}], ids=str)
@exact
def test_options_of_a_step(adjoint, options):
    if "grad_callback" in options:
        options = {"grad_callback": lambda grads: [grad / 2 for grad in grads]}
    expected = meta_gradient(stepped, **options)
    assert_near(meta_gradient(lambda o, n, y: unrolled(o, n, y, adjoint), **options), expected)


@exact
def test_groups_with_rates_of_their_own(adjoint):
    def make(net, lr):
        optimizer = metaphys.MetaAdam(net, lr=lr)
        optimizer.add_param_group(net, params=["0.bias"], lr=0.5 * lr)
        optimizer.add_param_group(net, params=["2.bias"], lr={"2.bias": lr.square()})
        return optimizer

    expected = meta_gradient(stepped, make=make)
    assert_near(meta_gradient(lambda o, n, y: unrolled(o, n, y, adjoint), make=make), expected)


@pytest.mark.parametrize("name", ["sgd-momentum", "adamw", "adagrad-decay", "muon"])
def test_every_kind_of_rule(name):
    def make(net, lr):
        return metaphys.MetaOptimizer(net, metaphys.chain(RULES[name](), metaphys.sgd(lr=-lr)))

    expected = meta_gradient(stepped, make=make)
    assert_near(meta_gradient(lambda o, n, y: unrolled(o, n, y, Checkpoint()), make=make), expected)


@exact
def test_a_module_among_the_meta_parameters(adjoint):
    def loss(learned, batch):
        return learned["critic"](net(batch)).square().mean() * learned["weight"]

    results = []
    for one_by_one in (True, False):
        torch.manual_seed(2)
        net, critic = network(), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        weight = torch.tensor(0.7, requires_grad=True)
        learned = {"critic": critic, "weight": weight}
        start = [*critic.parameters(), weight, *net.parameters()]
        optimizer = metaphys.MetaSGD(net, lr=0.1)
        if one_by_one:
            for batch in batches():
                optimizer.step(loss(learned, batch))
        else:
            optimizer.unroll(loss, STEPS, batches=batches(), meta=learned, adjoint=adjoint)
        assert list(critic.parameters()) == start[:4]
        found = torch.autograd.grad(outer(net, batches()[0]), start)
        results.append((found, list(critic.buffers())))
    assert_near(results[1], results[0])


@exact
def test_a_module_is_left_in_its_mode(adjoint):
    net = network(nn.Dropout(0.5))
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    optimizer.unroll(lambda b: net(b).square().mean(), STEPS, batches=batches(), adjoint=adjoint)
    assert net.training and net[2].training
    outer(net, batches()[0]).backward()
    assert not net.training and not net[2].training


def test_what_a_loss_closes_over():
    y = torch.full((6, 2), 0.3, requires_grad=True)
    net, x = network(), batches()[0]

    def run(adjoint):
        optimizer = metaphys.MetaSGD(net, lr=0.1)
        return optimizer.unroll(lambda: (net(x) - y).square().mean(), STEPS, adjoint=adjoint)

    run(Full())
    assert bool(torch.autograd.grad(outer(net, x), y)[0].all())
    with pytest.raises(ValueError, match=r"`loss_fn`.*meta="):
        run(Checkpoint())


def test_tied_and_frozen_parameters():
    net = network()
    net[2].bias.requires_grad_(False)
    net.add_module("again", net[0])
    frozen = net[2].bias
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    end = optimizer.unroll(lambda b: net[:3](b).square().mean(), STEPS, batches=batches())
    assert net.again.weight is net[0].weight and net[2].bias is frozen
    assert list(end.params[0]) == ["0.weight", "0.bias", "2.weight"]
    assert end.params[0]["0.weight"] is net[0].weight


def test_several_modules():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    optimizer = metaphys.MetaSGD(first, lr=0.1)
    optimizer.add_param_group(second, lr=0.2)
    start = first.weight, second.weight
    end = optimizer.unroll(
        lambda b: second(first(b)).square().mean(), STEPS, batches=batches(), trajectory=True
    )
    assert end.params[1]["weight"] is second.weight
    assert end.trajectory[1]["weight"].shape == (STEPS, 2, 4)
    assert all(bool(g.any()) for g in torch.autograd.grad(second.weight.sum(), start))


def test_the_record_goes_on():
    histories = []
    for run in (stepped, lambda o, n, y: unrolled(o, n, y, Full())):
        net = network()
        optimizer = metaphys.MetaSGD(net, lr=0.1, record=True)
        run(optimizer, net, torch.zeros(6, 2))
        optimizer.step(net(batches()[0]).square().mean())
        histories.append([optimizer.parameters(time) for time in range(STEPS + 2)])
    assert_near(histories[1], histories[0])


@pytest.mark.parametrize("adjoint", [Truncated(2), OneStep(), Forward()], ids=str)
def test_parameters_can_be_learned_on_whatever_the_window(adjoint):
    net = network().requires_grad_()
    x = batches()[0]
    start = net[0].weight
    if isinstance(adjoint, Forward):
        with pytest.raises(ValueError, match="`params`"):
            metaphys.MetaSGD(net, lr=0.1).unroll(lambda: outer(net, x), STEPS, adjoint=adjoint)
        assert net[0].weight is start
        return
    metaphys.MetaSGD(net, lr=0.01).unroll(lambda: outer(net, x), STEPS, adjoint=adjoint)
    outer(net, x).backward()
    assert net[0].weight is not start and start.grad is None
    assert bool(torch.autograd.grad(outer(net, x), net[0].weight)[0].any())


def test_how_it_ends():
    net, x = network(), batches()[0]
    start = outer(net, x).item()
    optimizer = metaphys.MetaSGD(net, lr=0.01)
    end = optimizer.unroll(lambda: outer(net, x), 50, stop_below=start / 2)
    assert end.status is Status.stopped
    assert outer(net, x).item() == pytest.approx(end.losses[-1].item(), rel=1e-12)
    assert outer(net, x).item() <= start / 2
    end = metaphys.MetaSGD(net, lr=1e9).unroll(lambda: outer(net, x) ** 2, 9)
    assert end.status is Status.nonfinite


class Remembering(nn.Module):
    """A layer whose buffer has a graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        """Scaled, and moved by the last mean."""
        y = x * self.scale + self.last
        self.last = y.mean(0)
        return y


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "loss is no function": ({"loss_fn": 3}, TypeError, "`loss_fn`"),
    "no steps": ({"steps": 0}, ValueError, "`steps`"),
    "adjoint by name": ({"adjoint": "full"}, TypeError, "`adjoint`"),
    "short batches": ({"batches": torch.ones(2, 5)}, ValueError, "`batches`"),
    "a loss of two": ({"loss_fn": lambda: torch.ones(2)}, ValueError, "`loss_fn`"),
    "stop below what": ({"stop_below": "0.1"}, TypeError, "`stop_below`"),
    "a graph in a buffer": ({"extra": (Remembering(),)}, ValueError, "last"),
    "truncated": ({"truncate": 2}, ValueError, r"`truncate`.*Truncated"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_and_nothing_changed(case):
    given, error, message = WRONG[case]
    given = dict(given)
    net = network(nn.BatchNorm1d(4), *given.pop("extra", ()))
    before = [*net.parameters(), *net.buffers()]
    values = [tensor.clone() for tensor in before]
    optimizer = metaphys.MetaAdam(net, lr=0.1, truncate=given.pop("truncate", None))
    state = optimizer.state_dict()
    x = batches()[0]
    with pytest.raises(error, match=message):
        optimizer.unroll(**{"loss_fn": lambda: net(x).square().mean(), "steps": 3, **given})
    after = [*net.parameters(), *net.buffers()]
    assert all(a is b for a, b in zip(after, before))
    assert_near([tensor.clone() for tensor in after], values)
    assert all(a is b for a, b in zip(optimizer.state_dict(), state))
