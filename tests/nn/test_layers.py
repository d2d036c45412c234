"""Physical layers, the oscillator network, and moving both from unit to unit."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import functional_call, grad, vmap

from metaphys.nn import OscillatorNetwork, PhysicalLayer, encode, functional, pad, run_on
from metaphys.physics import (
    OscillatorArray,
    OscillatorSpread,
    PhysicsAware,
    SimulatedDevice,
)


@pytest.fixture
def net(generator):
    return OscillatorNetwork(5, 3, layers=2, generator=generator)


@pytest.fixture
def images(generator):
    return torch.rand(4, 5, generator=generator)


def pats(net, seeds, **noise):
    """A PAT layer for each array of the network, on the units (or the fleet) of these seeds."""
    made = []
    for population in net.populations(OscillatorSpread(coupling=0.5, gain=0.1), **noise):
        device = population.unit(seeds) if isinstance(seeds, int) else population.draw(seeds)
        made.append(PhysicsAware(device, population.system))
    return made


def test_the_notebooks_network_has_their_number_of_parameters():
    net = OscillatorNetwork(196, 10, layers=2)
    assert sum(p.numel() for p in net.parameters()) == 81_255


def test_forward_is_the_chain_of_arrays(net, images):
    first, second = net.systems
    angles = first(images, dict(net.layers[0].controls))
    angles = second(torch.cat([angles, torch.zeros(4, 3)], -1), dict(net.layers[1].controls))
    torch.testing.assert_close(net(images), angles[:, -3:], rtol=1e-14, atol=0)


def test_scales(images):
    plain, scaled = (
        OscillatorNetwork(
            5, 3, input_scale=i, logit_scale=o, generator=torch.Generator().manual_seed(1)
        )
        for i, o in ((1.0, 1.0), (0.5, 4.0))
    )
    torch.testing.assert_close(scaled(images), 4 * plain(images / 2))
    assert scaled.logit_scale.requires_grad


def test_every_parameter_gets_a_gradient(net, images):
    net(images).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_functional_faces_agree_with_the_module(net, images):
    apply, params = functional(net)
    expected = net(images)
    assert apply(params, images).equal(expected)
    assert functional_call(net, params, (images,)).equal(expected)
    assert not any(value.requires_grad for value in params.values())
    net(images).square().sum().backward()
    found = grad(lambda p: apply(p, images).square().sum())(params)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-12, atol=1e-14)


def test_gradcheck_through_the_network(net, images):
    apply, params = functional(net)
    names = list(params)

    def function(x, *values):
        return apply(dict(zip(names, values, strict=True)), x)

    inputs = [images, *params.values()]
    assert gradcheck(function, [x.clone().requires_grad_() for x in inputs])


def test_run_on_moves_the_network_and_leaves_its_parameters(net, images):
    nominal = net(images)
    before = {name: (value, value.clone()) for name, value in net.named_parameters()}
    chosen = pats(net, 3)
    with run_on(net, *chosen):
        measured = net(images)
        assert not torch.allclose(measured, nominal)
        assert [pat.device.calls for pat in chosen] == [4, 4]
    assert net(images).equal(nominal)
    run_on(net, *chosen)
    assert net(images).equal(measured)
    for name, value in net.named_parameters():
        assert value is before[name][0] and value.equal(before[name][1])


def test_run_on_puts_the_physics_back_after_an_error(net, images):
    nominal = net(images)
    with pytest.raises(ZeroDivisionError), run_on(net, *pats(net, 3)):
        raise ZeroDivisionError
    assert net(images).equal(nominal)


def test_a_fleet_by_vmap_is_the_loop_over_units(net, generator):
    seeds, images = [4, 9, 2], torch.rand(3, 6, 5, generator=generator)
    apply, params = functional(net)

    def loss(params, images):
        return apply(params, images).square().sum()

    fleet = pats(net, seeds, noise=0.02)
    run_on(net, *fleet)
    batched = vmap(grad(loss), in_dims=(None, 0))(params, images)
    assert [pat.device.calls for pat in fleet] == [18, 18]
    for row, seed in enumerate(seeds):
        run_on(net, *pats(net, seed, noise=0.02))
        for name, value in grad(loss)(params, images[row]).items():
            torch.testing.assert_close(batched[name][row], value, rtol=1e-11, atol=1e-13)


def test_a_copied_network_shares_the_unit_and_not_the_parameters(net, images):
    pat = pats(net, 3)
    run_on(net, *pat)
    twin = copy.deepcopy(net)
    assert twin(images).equal(net(images))
    assert pat[0].device.calls == 8
    assert all(a is not b for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_a_twin_that_is_a_module_stays_outside():
    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, drive, controls):
            return self.linear(drive) + controls["force"]

    array = OscillatorArray(3)
    layer = PhysicalLayer(array, array.init_controls())
    run_on(layer, Twin())
    assert [name for name, _ in layer.named_parameters()] == [
        "controls.coupling",
        "controls.force",
    ]
    assert layer(torch.zeros(2, 3)).shape == (2, 3)


def test_a_state_dict_travels(net, images):
    other = OscillatorNetwork(5, 3, layers=2, generator=torch.Generator().manual_seed(99))
    other.load_state_dict(net.state_dict())
    assert other(images).equal(net(images))


def test_encode_scales_offsets_and_clamps():
    x = torch.tensor([-1.0, 0.25, 2.0], requires_grad=True)
    drive = encode(x, torch.tensor([1.0, 2.0, 1.0]), 0.1, low=0.0, high=1.0)
    torch.testing.assert_close(drive, torch.tensor([0.0, 0.6, 1.0]))
    (slope,) = torch.autograd.grad(drive.sum(), x)
    assert slope.tolist() == [0.0, 2.0, 0.0]
    assert encode(x.detach(), low=0.0).tolist() == [0.0, 0.25, 2.0]


BAD = [
    (lambda: encode(torch.zeros(2), low=1.0, high=0.0), ValueError, "`low` must be < high"),
    (lambda: pad(torch.zeros(2, 5), 3), ValueError, r"`x` must be of shape \(..., n\), n <= 3"),
    (lambda: functional(len), TypeError, "`module` must be an nn.Module"),
    (lambda: PhysicalLayer(len, {}), ValueError, "`controls` must be tensors by name"),
    (lambda: PhysicalLayer(len, {"e": 1.0}), TypeError, r"`controls\.e` must be a tensor"),
    (lambda: PhysicalLayer(None, {"e": torch.ones(1)}), TypeError, "`f` must be callable"),
    (lambda: OscillatorNetwork(0, 3), ValueError, "`inputs` must be >= 1"),
    (lambda: OscillatorNetwork(3, 1), ValueError, "`classes` must be >= 2"),
    (lambda: OscillatorNetwork(3, 3, layers=0), ValueError, "`layers` must be >= 1"),
    (lambda: OscillatorNetwork(3, 3)(torch.zeros(2, 4)), ValueError, "`images` must be of shape"),
    (lambda: run_on(torch.nn.Linear(1, 1), len), ValueError, "`module` must be a module with"),
    (lambda: run_on(OscillatorNetwork(3, 3), len, len), ValueError, "`fs` must be one, or one"),
    (
        lambda: run_on(OscillatorNetwork(3, 3), OscillatorArray(5)),
        ValueError,
        "`fs` must be a system with Ports",
    ),
    (
        lambda: run_on(OscillatorNetwork(3, 3), SimulatedDevice(OscillatorArray(6))),
        TypeError,
        "`f` must be callable.*PhysicsAware",
    ),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_bad_input_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_limited_controls_stay_in_range_and_keep_small_values() -> None:
    array = OscillatorArray(3)
    controls = array.init_controls()
    limited = PhysicalLayer(array, controls, limits={"coupling": 0.5})
    seen: list[torch.Tensor] = []
    run_on(limited, lambda drive, given: seen.append(given["coupling"]) or array(drive, given))
    with torch.no_grad():
        limited.controls["coupling"].mul_(100)
        limited(torch.ones(3))
        limited.controls["coupling"].mul_(1e-7)
        limited(torch.ones(3))
    assert seen[0].abs().max() <= 0.5
    torch.testing.assert_close(seen[1], limited.controls["coupling"].detach(), rtol=1e-8, atol=0)


def test_limits_name_a_control_and_are_positive() -> None:
    array = OscillatorArray(3)
    for limits in ({"gain": 1.0}, {"coupling": 0.0}):
        with pytest.raises(ValueError, match="limits"):
            PhysicalLayer(array, array.init_controls(), limits=limits)


def test_the_layers_of_a_network_are_independent_units():
    net = OscillatorNetwork(5, 3, layers=3)
    first, second, _ = (
        p.unit(7).system.mismatch.coupling for p in net.populations(OscillatorSpread(coupling=1.0))
    )
    assert first.shape == second.shape and not torch.allclose(first, second)
