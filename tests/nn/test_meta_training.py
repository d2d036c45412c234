"""Meta-training of a physical network: the stateful loop, the functional one, the surrogate."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, vmap

from metaphys import MetaSGD, extract_state_dict, recover_state_dict
from metaphys.nn import OscillatorNetwork, functional, run_on
from metaphys.physics import OscillatorSpread, PhysicsAware

SEEDS, STEPS, LR = [11, 4, 20_007], 3, 0.3


def layers(net, seeds):
    """A noisy PAT layer for each array: of one unit, or of a fleet."""
    spread = OscillatorSpread(coupling=0.7, gain=0.1)
    for population in net.populations(spread, noise=0.02, drive_noise=0.01):
        device = population.unit(seeds) if isinstance(seeds, int) else population.draw(seeds)
        yield PhysicsAware(device, population.system)


class FrozenOffsets:
    """The surrogate: the first run takes the offsets device - twin, later runs hold them."""

    def __init__(self, pat):
        self.pat, self.twin, self.offsets = pat, pat.twin, []
        self.cursor: int | None = None

    def __call__(self, drive, controls):
        """The readout of the surrogate."""
        model = self.twin(drive, controls)
        if self.cursor is None:
            self.offsets.append(self.pat.device.measure(drive, controls) - model.detach())
            return model + self.offsets[-1]
        self.cursor += 1
        return model + self.offsets[self.cursor - 1]


@pytest.fixture
def net(generator):
    return OscillatorNetwork(4, 2, layers=2, logit_scale=2.0, generator=generator)


@pytest.fixture
def tasks(generator):
    """Few labelled samples and a query for each unit: (units, samples, pixels), labels."""
    support, query = (torch.rand(len(SEEDS), n, 4, generator=generator) for n in (5, 6))
    return support, torch.arange(5) % 2, query, torch.arange(6) % 2


def cross_entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels)


def adapted_loss(apply, params, support, support_labels, query, query_labels):
    """The functional form of what MetaSGD does to a module."""
    for _ in range(STEPS):
        slopes = grad(lambda p: cross_entropy(apply(p, support), support_labels))(params)
        params = {name: value - LR * slopes[name] for name, value in params.items()}
    return cross_entropy(apply(params, query), query_labels)


def loop_over_units(net, tasks):
    support, support_labels, query, query_labels = tasks
    optimizer = MetaSGD(net, lr=LR)
    start = extract_state_dict(net)
    leaves = dict(net.named_parameters())
    total, calls = torch.zeros(()), 0
    for row, seed in enumerate(SEEDS):
        chosen = list(layers(net, seed))
        with run_on(net, *chosen):
            for _ in range(STEPS):
                optimizer.step(cross_entropy(net(support[row]), support_labels))
            total = total + cross_entropy(net(query[row]), query_labels)
        recover_state_dict(net, start)
        calls += sum(pat.device.calls for pat in chosen)
    return total, torch.autograd.grad(total, list(leaves.values())), calls


def test_the_loop_over_units_is_the_vmapped_function(net, tasks):
    support, support_labels, query, query_labels = tasks
    expected, slopes, calls = loop_over_units(net, tasks)
    apply, params = functional(net)
    fleet = list(layers(net, SEEDS))

    def total(params):
        losses = vmap(lambda s, q: adapted_loss(apply, params, s, support_labels, q, query_labels))(
            support, query
        )
        return losses.sum()

    with run_on(net, *fleet):
        found, value = torch.func.grad_and_value(total)(params)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    for (name, slope), wanted in zip(found.items(), slopes, strict=True):
        assert wanted.abs().max() > 1e-4, name
        torch.testing.assert_close(slope, wanted, rtol=1e-10, atol=1e-12)
    # Every call counts: units x layers x (steps x support + query).
    assert calls == sum(p.device.calls for p in fleet) == len(SEEDS) * 2 * (STEPS * 5 + 6)


def test_the_meta_gradient_is_that_of_the_surrogate(net, tasks, generator):
    support, support_labels, query, query_labels = (x[0] if x.ndim == 3 else x for x in tasks)
    apply, params = functional(net)
    direction = {k: torch.randn(v.shape, generator=generator) for k, v in params.items()}

    def along(t):
        moved = {name: value + t * direction[name] for name, value in params.items()}
        return adapted_loss(apply, moved, support, support_labels, query, query_labels)

    with run_on(net, *layers(net, SEEDS[0])):
        found = grad(along)(torch.zeros(()))

    frozen = [FrozenOffsets(pat) for pat in layers(net, SEEDS[0])]
    h, values = 1e-5, {}
    with run_on(net, *frozen):
        for t in (0.0, h, -h):
            values[t] = along(t)
            for surrogate in frozen:
                surrogate.cursor = 0
    torch.testing.assert_close(found, (values[h] - values[-h]) / (2 * h), rtol=1e-7, atol=1e-9)
