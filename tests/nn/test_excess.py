"""What the limits of the hardware take away: its formula, its derivatives, every rule with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from metaphys.nn import (
    DFA,
    PAT,
    SPSA,
    InSilico,
    OscillatorNetwork,
    PhysicalLayer,
    TrainingRule,
    WaveformNetwork,
    functional,
    with_excess,
)
from metaphys.physics import Affine, Encoded, Interleaved, Plate, SimulatedDevice

N, PENALTY = 12, 3.0


@pytest.fixture
def net(generator: torch.Generator) -> WaveformNetwork:
    """Two plates whose drives leave −0.4 … 0.4 N here and there."""
    plate = Plate(samples=N, guard=8)
    return WaveformNetwork(plate, 2, layers=2, low=-0.4, high=0.4, spread=2.0, generator=generator)


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(5, N, generator=generator)


Y = torch.tensor([0, 1, 0, 1, 1])


def beyond(wanted: Tensor) -> Tensor:
    return (wanted.abs() - 0.4).clamp(min=0) / 0.8


def by_hand(net: WaveformNetwork, params: dict[str, Tensor], images: Tensor) -> tuple[Any, Any]:
    """Logits and excess, without clamp, encodings and hooks."""
    from metaphys.nn import windows

    plate, y, excess = net.systems[0], images[:, :0], torch.zeros(())
    for index in range(2):
        scale, offset = (params[f"layers.{index}.controls.{n}"] for n in ("scale", "offset"))
        parts = torch.cat([y[..., -N:], images], -1).unflatten(-1, (-1, N))
        wanted = (scale * parts).sum(-2) + offset
        excess = excess + beyond(wanted).square().mean()
        y = plate(wanted.maximum(torch.tensor(-0.4)).minimum(torch.tensor(0.4)), {})
        y = (y - net._centre) / net._level
    return params["logit_scale"] * windows(y, 2, last=net.last), excess


def test_it_is_its_formula_and_changes_no_output(net, images):
    outputs, excess = with_excess(net, images)
    expected, beyond_limits = by_hand(net, dict(net.named_parameters()), images)
    assert outputs.equal(net(images))
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(excess, beyond_limits)
    assert excess > 1e-3


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("encoding", [Affine(2, -0.4, 0.4), Affine(2, low=0.1), Interleaved()])
def test_derivatives(check, encoding, generator):
    """Away from the limits themselves, where the second derivative jumps."""
    x = 4 * torch.rand(3, encoding.data(4), generator=generator) - 2
    controls = encoding.init_controls(4, generator)
    names = list(controls)
    given = [x.requires_grad_(), *(3 * controls[name] for name in names)]
    leaves = [each.detach().requires_grad_() for each in given]

    def excess(x: Tensor, *values: Tensor) -> Tensor:
        return encoding.excess(x, dict(zip(names, values)))

    assert (excess(*leaves) > 0).all()
    assert check(excess, leaves)


def test_within_the_limits_and_on_them_it_costs_nothing():
    encoding, offset = Affine(low=0.0, high=1.0), torch.tensor([0.0, 0.5, 1.0])
    controls = {"scale": torch.ones(1, 3), "offset": offset.requires_grad_()}
    excess = encoding.excess(torch.zeros(3), controls)
    assert excess == 0
    assert torch.autograd.grad(excess, offset)[0].equal(torch.zeros(3))
    free = Affine()
    assert free.excess(torch.full((3,), 1e6), controls) == 0


def test_what_is_clamped_finds_the_way_back(images):
    """All of the drive is out of reach: the loss has no slope left, the excess has."""
    plate = Plate(samples=N)
    encoded = Encoded(plate, Affine(low=-1.0, high=1.0, offset=5.0, scale=0.0))
    layer = PhysicalLayer(encoded, encoded.init_controls())
    outputs, excess = with_excess(layer, images)
    offset = layer.controls["offset"]
    assert torch.autograd.grad(outputs.sum(), offset, retain_graph=True)[0].equal(torch.zeros(N))
    (slope,) = torch.autograd.grad(excess, offset)
    torch.testing.assert_close(slope, torch.full((N,), 2 * 4.0 / 2**2 / N))


def test_it_maps_over_parameters_as_the_loop(net, images):
    params = functional(net)[1]
    many = {name: torch.stack([value, 1.5 * value]) for name, value in params.items()}

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return with_excess(self.net, x)[1]

    def excess(own: dict[str, Tensor]) -> Tensor:
        named = {f"net.{name}": value for name, value in own.items()}
        return functional_call(Both(), named, (images,))

    found = vmap(excess)(many)
    singles = [excess({name: value[i] for name, value in many.items()}) for i in (0, 1)]
    torch.testing.assert_close(found, torch.stack(singles))
    assert found[1] > found[0]


def rules(net: WaveformNetwork, penalty: float) -> dict[str, TrainingRule]:
    devices = [SimulatedDevice(system) for system in net.systems]
    return {
        "pat": PAT(net, devices, net.systems, penalty=penalty),
        "in silico": InSilico(net, net.systems, penalty=penalty),
        "spsa": SPSA(net, devices, penalty=penalty),
    }


@pytest.mark.parametrize("name", ["pat", "in silico"])
def test_rules_that_differentiate_add_its_gradient(net, images, name):
    """Here the devices are their twins, so that physics-aware training is the exact gradient."""
    params = functional(net)[1]

    def loss(own: dict[str, Tensor]) -> Tensor:
        outputs, excess = by_hand(net, own, images)
        return cross_entropy(outputs, Y) + PENALTY * excess

    rule = rules(net, PENALTY)[name]
    value, grads = rule(params, images, Y, loss=cross_entropy)
    torch.testing.assert_close(value, loss(params))
    torch.testing.assert_close(grads, grad(loss)(params))
    plain = rules(net, 0.0)[name](params, images, Y, loss=cross_entropy)[1]
    assert any(not torch.allclose(grads[each], plain[each]) for each in params)

    def curvature(gradient: Any) -> Any:
        return lambda own: sum(g.square().sum() for g in gradient(own).values())

    ours = grad(curvature(lambda own: rule(own, images, Y, loss=cross_entropy)[1]))(params)
    torch.testing.assert_close(ours, grad(curvature(grad(loss)))(params))


def test_spsa_measures_the_loss_with_it(net, images):
    params = functional(net)[1]
    (plain, grads), (costly, _) = (
        rules(net, penalty)["spsa"](params, images, Y, loss=cross_entropy, seed=2)
        for penalty in (0.0, PENALTY)
    )
    # One direction: entries are ± one number, so their signs are those of the shift, or opposite.
    sides = [
        by_hand(net, {n: v + side * grads[n].sign() for n, v in params.items()}, images)[1]
        for side in (0.01, -0.01)
    ]
    torch.testing.assert_close(costly - plain, PENALTY * torch.stack(sides).mean())


def test_dfa_adds_its_gradient_with_readouts_as_constants(images):
    plate = Plate(samples=N)
    encoded = Encoded(plate, Affine(low=-0.4, high=0.4, spread=2.0))
    source = torch.Generator().manual_seed(3)
    layers = [PhysicalLayer(encoded, encoded.init_controls(generator=source)) for _ in range(2)]
    net = nn.Sequential(*layers, nn.Linear(N, 2))
    params = functional(net)[1]
    devices = [SimulatedDevice(plate) for _ in range(2)]
    (plain, before), (costly, after) = (
        DFA(net, devices, penalty=penalty)(params, images, Y, loss=cross_entropy)
        for penalty in (0.0, PENALTY)
    )
    y = images
    for index in range(2):
        scale, offset = (
            params[f"{index}.controls.{name}"].detach().requires_grad_()
            for name in ("scale", "offset")
        )
        wanted = scale[0] * y + offset
        excess = PENALTY * beyond(wanted).square().mean()
        plain = plain + excess.detach()
        expected = torch.autograd.grad(excess, (scale, offset))
        for name, slope in zip(("scale", "offset"), expected):
            key = f"{index}.controls.{name}"
            torch.testing.assert_close(after[key] - before[key], slope)
            assert slope.abs().max() > 0
        y = plate(wanted.clamp(-0.4, 0.4), {}).detach()
    torch.testing.assert_close(costly, plain)


def test_physics_without_limits_has_none():
    assert with_excess(OscillatorNetwork(4, 2), torch.rand(3, 4))[1] == 0


def test_misuse_is_refused(net):
    with pytest.raises(ValueError, match="`network` must be a module with physical layers"):
        with_excess(nn.Linear(2, 2), torch.rand(2))
    for penalty in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="`penalty` must be >= 0, finite"):
            InSilico(net, net.systems, penalty=penalty)
