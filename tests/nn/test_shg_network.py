"""The network of second-harmonic generation: what it computes, trains and refuses."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import grad

from metaphys.nn import SHGNetwork, functional, run_on, with_excess
from metaphys.physics import (
    SHG,
    PhysicsAware,
    PulseShaper,
    SHGSpread,
    SimulatedDevice,
    Spectrometer,
    ThinSHG,
    TimeWindow,
)

SMALL = {
    "shaper": PulseShaper(12, 6.0),
    "spectrometer": Spectrometer(6, 6.0),
    "window": TimeWindow(4.0, 64),
}


@pytest.fixture
def net(generator):
    return SHGNetwork(ThinSHG(**SMALL), 4, 3, layers=3, generator=generator)


@pytest.fixture
def features(generator):
    return torch.rand(5, 4, generator=generator)


def test_forward_is_the_chain_of_pulses(net, features):
    thin = ThinSHG(**SMALL)
    uniform = torch.rand(256, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = thin(uniform, {}).mean(0)
    y = features[:, [0, 1, 2, 3, 0, 1]]
    for layer, scale in zip(net.layers, net.scales):
        values = layer.controls["inserted"].expand_as(y)
        drive = torch.stack([scale * y, values], -1).flatten(-2).clamp(0, 1)
        y = thin(drive, {}) / mean
    energies = y[:, [1, 3, 5]] * net.weights
    expected = 30 * 3 * energies / energies.sum(-1, keepdim=True)
    torch.testing.assert_close(net(features), expected)


def test_the_network_of_the_paper_has_262_parameters():
    net = SHGNetwork(ThinSHG(window=TimeWindow(8.0, 256)), 12, 7)
    assert sum(p.numel() for p in net.parameters()) == 262


def test_a_layer_starts_at_its_level(net, generator):
    y = net._data(torch.rand(400, 4, generator=generator))
    for index, (layer, scale) in enumerate(zip(net.layers, net.scales)):
        if index:
            assert float((scale * y).mean().detach()) == pytest.approx(0.4, abs=0.02)
        y = layer(scale * y) / net._mean


def test_excess_is_what_the_clamp_takes_away(net, features):
    with torch.no_grad():
        net.scales[0].fill_(3.0)
        net.layers[0].controls["inserted"][0] = -0.5
    only = SHGNetwork(ThinSHG(**SMALL), 4, 3, layers=1)
    only.load_state_dict({k: v for k, v in net.state_dict().items() if k in only.state_dict()})
    _, excess = with_excess(only, features)
    data = 3 * features[:, [0, 1, 2, 3, 0, 1]]
    expected = ((data - 1).clamp(min=0).square().mean() + 0.25 / 6) / 2  # in turns
    torch.testing.assert_close(excess, expected)
    assert torch.autograd.grad(excess, only.scales[0])[0] > 0


def test_the_energy_of_the_laser_cancels(net, features):
    hardware = [SHGSpread(coupling=0.2).single(system, 3) for system in net.systems]
    last = [*net.systems[:-1], hardware[-1]]
    expected = net(features)
    with run_on(net, *last):
        torch.testing.assert_close(net(features), expected)


def test_derivatives(net, features):
    apply, params = functional(net)
    names = list(params)

    def loss(*values):
        return apply(dict(zip(names, values)), features)

    assert gradcheck(loss, [params[n].requires_grad_() for n in names], fast_mode=True)


def test_runs_on_split_step_devices(net, features):
    hardware = net.populations(SHGSpread(dk0=1.0, crosstalk=0.05))
    units = [SHG(**{**SMALL, "mismatch": p.unit(4).system.mismatch}) for p in hardware]
    pats = [PhysicsAware(SimulatedDevice(u), twin=p.system) for u, p in zip(units, hardware)]
    nominal = net(features)
    with run_on(net, *pats):
        assert (net(features) - nominal).abs().max() > 0.05
        apply, params = functional(net)
        slopes = grad(lambda p: apply(p, features).square().sum())(params)
    assert all(value.isfinite().all() and (value != 0).any() for value in slopes.values())
    assert [pat.device.calls for pat in pats] == [10] * 3


BAD = [
    (lambda: SHGNetwork(ThinSHG(spectrometer=Spectrometer(40)), 12, 7), "`system` must be of 50"),
    (lambda: SHGNetwork(ThinSHG(**SMALL), 7, 3), "`inputs` must be in 1 … 6"),
    (lambda: SHGNetwork(ThinSHG(**SMALL), 4, 1), "`classes` must be in 2 … 6"),
    (lambda: SHGNetwork(ThinSHG(**SMALL), 4, 3, layers=0), "`layers` must be >= 1"),
    (lambda: SHGNetwork(ThinSHG(**SMALL), 4, 3)(torch.rand(5)), r"`features` must be of shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
