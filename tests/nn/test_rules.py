"""Training rules: each against its own definition, and what each costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from metaphys.nn import (
    DFA,
    PAT,
    SPSA,
    InSilico,
    Measured,
    OscillatorNetwork,
    PhysicalLayer,
    TrainingRule,
    functional,
)
from metaphys.physics import (
    Affine,
    Encoded,
    OscillatorArray,
    OscillatorSpread,
    Ports,
    SimulatedDevice,
    System,
    WithNoise,
)


class Elementwise(System):
    """y = tanh(k a), or k a: physics whose slope is known."""

    def __init__(self, n: int, *, gain: float = 1.0, linear: bool = False) -> None:
        self.ports, self.gain, self.linear = Ports(n, {}, n), gain, linear

    def init_controls(self, **options: Any) -> dict[str, Tensor]:
        """None."""
        return {}

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        return self.gain * drive if self.linear else (self.gain * drive).tanh()


def layer(system: System) -> PhysicalLayer:
    encoded = Encoded(system, Affine(low=None, high=None))
    return PhysicalLayer(encoded, encoded.init_controls())


@pytest.fixture
def oscillators() -> tuple[OscillatorNetwork, list[Any]]:
    net = OscillatorNetwork(4, 2, layers=2)
    spread = OscillatorSpread(coupling=0.5, gain=0.1)
    return net, [p.unit(3) for p in net.populations(spread)]


X, Y = torch.linspace(0, 1, 20, dtype=torch.float64).reshape(5, 4), torch.tensor([0, 1, 0, 1, 1])


def surrogate_loss(net: OscillatorNetwork, devices: list[Any], at: Any) -> Any:
    """The loss as a plain function: the twins plus what the devices had more, frozen at ``at``."""
    offsets, drive = [], X
    for index, (system, device) in enumerate(zip(net.systems, devices)):
        controls = {
            name: at[f"layers.{index}.controls.{name}"].detach() for name in ("coupling", "force")
        }
        drive = nn.functional.pad(drive, (0, system.size - drive.shape[-1]))
        readout = device.measure(drive, controls)
        offsets.append(readout - system(drive, controls))
        drive = readout

    def loss(params: Any) -> Tensor:
        y = X
        for index, (system, offset) in enumerate(zip(net.systems, offsets)):
            controls = {
                name: params[f"layers.{index}.controls.{name}"] for name in ("coupling", "force")
            }
            y = system(nn.functional.pad(y, (0, system.size - y.shape[-1])), controls) + offset
        return cross_entropy(params["logit_scale"] * y[..., -2:], Y)

    return loss


def test_pat_is_the_gradient_of_the_surrogate(oscillators):
    net, devices = oscillators
    params = functional(net)[1]
    expected = torch.func.grad(surrogate_loss(net, devices, params))(params)
    for device in devices:
        device.reset_calls()
    value, grads = PAT(net, devices, net.systems)(params, X, Y, loss=cross_entropy)
    assert [device.calls for device in devices] == [5, 5]
    torch.testing.assert_close(grads, expected, rtol=1e-12, atol=1e-14)
    in_silico = InSilico(net, net.systems)(params, X, Y, loss=cross_entropy)
    assert [device.calls for device in devices] == [5, 5]
    assert not torch.isclose(in_silico[0], value, rtol=1e-3)


def test_in_silico_is_plain_autograd_and_central_differences(oscillators):
    net, _ = oscillators
    params = functional(net)[1]
    value, grads = InSilico(net, net.systems)(params, X, Y, loss=cross_entropy)
    loss = cross_entropy(net(X), Y)
    assert loss.equal(value)
    expected = torch.autograd.grad(loss, list(net.parameters()))
    torch.testing.assert_close(list(grads.values()), list(expected), rtol=1e-12, atol=1e-14)
    name, eps = "layers.1.controls.force", 1e-5
    for entry in range(3):
        moved = []
        for side in (eps, -eps):
            shifted = params[name].clone()
            shifted[entry] += side
            rule = InSilico(net, net.systems)
            moved.append(rule({**params, name: shifted}, X, Y, loss=cross_entropy)[0])
        # Truncation eps² L''' / 6 and rounding 1e-16 / eps are both below 1e-10.
        difference = (moved[0] - moved[1]) / (2 * eps)
        torch.testing.assert_close(grads[name][entry], difference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["pat", "in silico"])
def test_what_a_twin_gives_is_differentiated_again(oscillators, kind):
    """One inner step, and the gradient of an outer loss through it: the surrogate's own."""
    net, devices = oscillators
    params = functional(net)[1]
    if kind == "pat":
        rule: TrainingRule = PAT(net, devices, net.systems)
        loss_of = surrogate_loss(net, devices, params)
    else:
        rule = InSilico(net, net.systems)
        loss_of = surrogate_loss(net, [SimulatedDevice(s) for s in net.systems], params)

    def curvature(gradient: Any) -> Any:
        return lambda p: sum((g * (1 + g)).sum() for g in gradient(p).values())

    ours = torch.func.grad(curvature(lambda p: rule(p, X, Y, loss=cross_entropy)[1]))(params)
    theirs = torch.func.grad(curvature(torch.func.grad(loss_of)))(params)
    assert max(value.abs().max() for value in ours.values()) > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    # And central differences, along a direction: what devices had more is frozen in loss_of.
    along = {name: torch.randn_like(value) for name, value in params.items()}
    reached = [
        curvature(torch.func.grad(loss_of))({n: v + side * along[n] for n, v in params.items()})
        for side in (1e-5, -1e-5)
    ]
    slope = sum((ours[name] * along[name]).sum() for name in params)
    # Truncation is of order 1e-10 times a third derivative, rounding of 1e-16 / 1e-5.
    torch.testing.assert_close(slope, (reached[0] - reached[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_spsa_on_a_quadratic_is_the_gradient_in_expectation():
    """L is quadratic in all parameters, so each direction gives Δ (Δ·g) without bias.

    Entry i is g_i + Σ_{j≠i} ±g_j: mean g_i, variance |g|² − g_i². Over K directions each entry
    lies within 5 standard deviations but once in 1.7 million, by the normal law that the sum of K
    bounded terms follows here; with 8 entries once in 200,000, and the seed is fixed.
    """
    system = Elementwise(4, gain=2.0, linear=True)
    net, directions = layer(system), 3000
    params = functional(net)[1]
    rule = SPSA(net, [SimulatedDevice(system)], shift=0.1, directions=directions)
    target = torch.ones_like(X)
    true = InSilico(net, [system])(params, X, target, loss=mse_loss)[1]
    found = rule(params, X, target, loss=mse_loss, seed=5)[1]
    squares = sum(float(g.square().sum()) for g in true.values())
    for name, expected in true.items():
        bound = 5 * ((squares - expected.square()) / directions).sqrt()
        assert ((found[name] - expected).abs() <= bound).all()
        assert (bound < 0.2 * math.sqrt(squares)).all()


def test_one_direction_of_spsa_is_its_formula_and_two_measurements():
    net, system = layer(Elementwise(4)), Elementwise(4, gain=1.3)
    device = SimulatedDevice(system)
    params = functional(net)[1]
    rule = SPSA(net, [device], shift=0.05, directions=1)
    value, grads = rule(params, X, torch.zeros_like(X), loss=mse_loss, seed=3)
    assert device.calls == 2 * 5
    sizes = {name: grad.abs().flatten() for name, grad in grads.items()}
    slope = sizes["controls.offset"][0]
    for size in sizes.values():
        torch.testing.assert_close(size, slope.expand_as(size))
    signs = {name: grad.sign() * grads["controls.offset"][0].sign() for name, grad in grads.items()}
    losses = []
    for side in (0.05, -0.05):
        moved = {name: value + side * signs[name] for name, value in params.items()}
        losses.append(InSilico(net, [system])(moved, X, torch.zeros_like(X), loss=mse_loss)[0])
    expected = (losses[0] - losses[1]) / 0.1
    torch.testing.assert_close(grads["controls.offset"][0], expected * signs["controls.offset"][0])
    torch.testing.assert_close(value, sum(losses) / 2)
    again = rule(params, X, torch.zeros_like(X), loss=mse_loss, seed=3)[1]
    other = rule(params, X, torch.zeros_like(X), loss=mse_loss, seed=4)[1]
    assert again["controls.scale"].equal(grads["controls.scale"])
    assert not other["controls.scale"].equal(grads["controls.scale"])
    assert device.calls == 6 * 5


def stack() -> tuple[nn.Module, list[System]]:
    systems: list[System] = [Elementwise(4), Elementwise(4)]
    return nn.Sequential(*map(layer, systems), nn.Linear(4, 2)), systems


def test_dfa_is_noklands_formula_written_out():
    net, systems = stack()
    params = functional(net)[1]
    devices = [SimulatedDevice(system) for system in systems]
    rule = DFA(net, devices, slope=lambda a: 1 - a.tanh().square(), seed=4)
    value, grads = rule(params, X, Y, loss=cross_entropy)
    assert [device.calls for device in devices] == [5, 5]
    first, second = (
        (params[f"{i}.controls.scale"][0], params[f"{i}.controls.offset"]) for i in (0, 1)
    )
    a1 = first[0] * X + first[1]
    a2 = second[0] * a1.tanh() + second[1]
    logits = a2.tanh() @ params["2.weight"].T + params["2.bias"]
    e = (logits.softmax(-1) - torch.eye(2)[Y]) / 5
    torch.testing.assert_close(value, cross_entropy(logits, Y))
    for index, (a, h) in enumerate([(a1, X), (a2, a1.tanh())]):
        delta = (e @ rule.feedback(index, 2, a)) * (1 - a.tanh() ** 2)
        torch.testing.assert_close(grads[f"{index}.controls.offset"], delta.sum(0))
        torch.testing.assert_close(grads[f"{index}.controls.scale"][0], (delta * h).sum(0))
    torch.testing.assert_close(grads["2.weight"], e.T @ a2.tanh())
    torch.testing.assert_close(grads["2.bias"], e.sum(0))


def test_without_feedback_of_its_own_dfa_would_be_the_gradient():
    """With B = the transposed Jacobian of what follows, the last layer's gradient is exact."""
    net, systems = stack()
    params = functional(net)[1]
    devices = [SimulatedDevice(system) for system in systems]
    rule = DFA(net, devices, slope=lambda a: 1 - a.tanh().square())
    rule.feedback = lambda layer, outputs, like: params["2.weight"]  # type: ignore[method-assign]
    ours = rule(params, X, Y, loss=cross_entropy)[1]
    exact = InSilico(net, systems)(params, X, Y, loss=cross_entropy)[1]
    for name in ("1.controls.scale", "1.controls.offset", "2.weight", "2.bias"):
        torch.testing.assert_close(ours[name], exact[name], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(ours["0.controls.scale"], exact["0.controls.scale"], rtol=0.1)


def test_dfa_comes_to_align_with_the_gradient():
    """Nøkland's theorem 1: one sample, weights from zero, then all angles are below 90 degrees.

    At zero the true gradient of the layer is zero. Each step moves h against Be, and the linear
    layer by -e h', so that the true error W'e comes to point along Be.
    """
    net, systems = stack()
    images, classes = X[3:4], Y[3:4]
    for seed in range(5):
        params = functional(net)[1]
        zero = [name for name in params if not name.startswith("0.")]
        params |= {name: torch.zeros_like(params[name]) for name in zero}
        devices = [SimulatedDevice(system) for system in systems]
        rule = DFA(net, devices, slope=lambda a: 1 - a.tanh().square(), seed=seed)
        exact = InSilico(net, systems)
        start = exact(params, images, classes, loss=cross_entropy)[1]
        assert start["1.controls.offset"].equal(torch.zeros(4))
        for _ in range(20):
            grads = rule(params, images, classes, loss=cross_entropy)[1]
            params = {name: value - 0.2 * grads[name] for name, value in params.items()}
        pair = [each(params, images, classes, loss=cross_entropy)[1] for each in (rule, exact)]
        ours, theirs = (grads["1.controls.offset"] for grads in pair)
        assert torch.cosine_similarity(ours, theirs, dim=0) > 0.5


@pytest.mark.parametrize("kind", ["spsa", "dfa"])
def test_what_has_no_twin_is_a_constant_in_a_meta_loss(kind):
    net, systems = stack()
    devices = [SimulatedDevice(system) for system in systems]
    rule: TrainingRule = SPSA(net, devices) if kind == "spsa" else DFA(net, devices)
    params = {name: p.requires_grad_() for name, p in functional(net)[1].items()}
    value, grads = rule(params, X, Y, loss=cross_entropy)
    assert not value.requires_grad
    assert not any(grad.requires_grad for grad in grads.values())


def test_controls_inside_the_physics_are_refused_by_name(oscillators):
    net, devices = oscillators
    with pytest.raises(
        ValueError, match=r"`params` must .*layers.0.controls.coupling.*PAT or SPSA"
    ):
        DFA(net, devices)(functional(net)[1], X, Y, loss=cross_entropy)


def test_only_what_is_given_is_trained(oscillators):
    net, devices = oscillators
    params = functional(net)[1]
    some = {"layers.0.controls.force": params["layers.0.controls.force"]}
    for rule in (PAT(net, devices, net.systems), SPSA(net, devices)):
        assert list(rule(some, X, Y, loss=cross_entropy)[1]) == list(some)


def test_noise_is_measured_anew_and_the_network_stays_where_it_was(oscillators):
    net, _ = oscillators
    noisy = [WithNoise(SimulatedDevice(system), 0.1) for system in net.systems]
    params, before = functional(net)[1], [layer.f for layer in net.layers]
    rule = PAT(net, noisy, net.systems)
    values = [rule(params, X, Y, loss=cross_entropy)[0] for _ in range(2)]
    assert not values[0].equal(values[1])
    assert [layer.f for layer in net.layers] == before


ARRAY: Any = OscillatorArray(3)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda net, d: PAT(net, d[:1], net.systems), ValueError, "`devices` must be one for each"),
        (lambda net, d: PAT(net, d, net.systems[:1]), ValueError, "`twins` must be one for each"),
        (lambda net, d: PAT(net, net.systems, net.systems), TypeError, "`device` must be a Device"),
        (lambda net, d: InSilico(net, []), ValueError, "`twins` must be one for each of 2"),
        (lambda net, d: SPSA(net, d, shift=0.0), ValueError, "`shift` must be > 0"),
        (lambda net, d: SPSA(net, d, directions=0), ValueError, "`directions` must be >= 1"),
        (lambda net, d: DFA(nn.Linear(2, 2), d), ValueError, "`network` must be a module with"),
        (lambda net, d: Measured(ARRAY), TypeError, "`device` must be a Device"),
    ],
)
def test_misuse_is_refused(oscillators, build, error, message):
    with pytest.raises(error, match=message):
        build(*oscillators)
