"""The stack of systems that answer waveforms, on plates."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import grad, vmap

from metaphys.nn import WaveformNetwork, functional, run_on, windows
from metaphys.physics import (
    Encoded,
    OscillatorArray,
    PhysicsAware,
    Plate,
    PlateDesign,
    PlateSpread,
)


@pytest.fixture
def plate():
    return Plate(PlateDesign(modes=4), samples=9, guard=6)


@pytest.fixture
def net(plate, generator):
    return WaveformNetwork(plate, 3, layers=3, generator=generator)


@pytest.fixture
def images(generator):
    return torch.rand(5, 9, generator=generator)


def pats(net, seed, **noise):
    return [
        PhysicsAware(population.unit(seed), population.system)
        for population in net.populations(PlateSpread(), **noise)
    ]


def test_forward_is_the_chain_of_plates(net, plate, images):
    y = None
    for layer in net.layers:
        c = dict(layer.controls)
        drive = c["scale"][-1] * images + c["offset"]
        if y is not None:
            drive = drive + c["scale"][0] * y[:, 6:]
        y = (plate(drive.clamp(-1, 1), {}) - net._centre) / net._level
    expected = net.logit_scale * windows(y, 3, last=6)
    torch.testing.assert_close(net(images), expected, rtol=1e-12, atol=1e-13)


def test_the_size_of_what_goes_between_layers_is_one():
    plate = Plate()
    net = WaveformNetwork(plate, 10)
    drive = 2 * torch.rand(200, 196) - 1
    between = net._normal(plate(drive, {}))
    assert abs(between.std() - 1) < 0.1 and between.mean().abs() < 0.05


def test_parameters_are_as_stated(plate, net):
    assert sum(p.numel() for p in net.parameters()) == 2 * 9 + 2 * 3 * 9 + 1
    assert net.last == 6
    assert WaveformNetwork(Plate(samples=25), 10, layers=1).last == 10
    shifted = WaveformNetwork(plate, 3, low=0.0, high=4.0, spread=0.0)
    controls = dict(shifted.layers[0].controls)
    assert not controls["scale"].any() and (controls["offset"] == 2).all()


def test_gradients(net, images):
    apply, params = functional(net)
    names, values = list(params), [p.requires_grad_() for p in params.values()]
    assert gradcheck(lambda *v: apply(dict(zip(names, v)), images[:2]), values)


def test_on_hardware_gradients_are_those_of_the_twins_there(net, images):
    chosen = pats(net, 4, noise=1e-4)
    nominal = net(images)
    weights = torch.randn(5, 3)
    with run_on(net, *chosen):
        assert all(isinstance(layer.f, Encoded) for layer in net.layers)
        measured = net(images)
        (measured * weights).sum().backward()
    assert [pat.device.calls for pat in chosen] == [5, 5, 5]
    assert not torch.allclose(measured, nominal) and measured.isfinite().all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    # The first layer's gradient, by hand: its readout is measured, its derivative the twin's.
    found = net.layers[0].controls["offset"].grad
    with run_on(net, *pats(net, 4, noise=1e-4)):
        first, second, third = net.layers
        readout = first(images)
        twin = net.systems[0](first.f.drive(images, dict(first.controls)), {})
        y = net._normal(twin + (readout - twin).detach())
        for layer in (second, third):
            y = net._normal(layer(torch.cat([y[..., -9:], images], -1)))
        loss = (net.logit_scale * windows(y, 3, last=net.last) * weights).sum()
    (expected,) = torch.autograd.grad(loss, first.controls["offset"])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_tasks_are_mapped(net, images):
    apply, params = functional(net)
    stacked = {name: torch.stack([p, 1.1 * p]) for name, p in params.items()}

    def loss(params, images):
        return apply(params, images).square().sum()

    found = vmap(grad(loss), in_dims=(0, None))(stacked, images)
    for index in range(2):
        alone = grad(loss)({name: p[index] for name, p in stacked.items()}, images)
        for name in params:
            torch.testing.assert_close(found[name][index], alone[name], rtol=1e-9, atol=1e-12)


def test_it_learns_to_tell_two_images_apart():
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(3, 36, generator=generator)
    labels = torch.arange(120) % 3
    noisy = (patterns[labels] + 0.3 * torch.randn(120, 36, generator=generator)).clamp(0, 1)
    net = WaveformNetwork(Plate(samples=36, guard=30), 3, layers=2, generator=generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(net(noisy[:60]), labels[:60])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = net(noisy[60:]).argmax(-1) == labels[60:]
    assert right.double().mean() > 0.85


BAD = [
    (lambda p: WaveformNetwork(p, 1), "`classes` must be >= 2"),
    (lambda p: WaveformNetwork(p, 3, layers=0), "`layers` must be >= 1"),
    (lambda p: WaveformNetwork(p, 3, low=1.0), "`low` must be < high"),
    (lambda p: WaveformNetwork(p, 3, last=7), "`last` must be a multiple of 3"),
    (lambda p: WaveformNetwork(p, 20), "`last` must be a multiple of 20"),
    (lambda p: WaveformNetwork(p, 3)(torch.zeros(8)), r"`images` must be of shape \(..., 9\)"),
]


@pytest.mark.parametrize(("build", "message"), BAD)
def test_misuse_is_refused(build, message, plate):
    with pytest.raises(ValueError, match=message):
        build(plate)


def test_any_system_that_answers_as_many_values_will_do(images):
    net = WaveformNetwork(OscillatorArray(9), 3, layers=2)
    assert net(images).shape == (5, 3)
    assert "layers.1.controls.coupling" in dict(net.named_parameters())
