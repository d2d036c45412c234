"""The network with one reading a class, on circuits and on second-harmonic generation."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from metaphys.nn import FeatureNetwork, functional, run_on, with_excess
from metaphys.physics import (
    Circuit,
    CircuitSpread,
    Encoded,
    OscillatorArray,
    PhysicsAware,
    PulseShaper,
    Spectrometer,
    ThinSHG,
    TimeWindow,
)

SLOTS = torch.arange(12) % 4
PICKS = (3, 7, 11)


def thin():
    return ThinSHG(
        shaper=PulseShaper(12, 6.0),
        spectrometer=Spectrometer(6, 6.0),
        window=TimeWindow(4.0, 64),
    )


def circuits(generator, **given):
    return FeatureNetwork(
        Circuit(samples=12), SLOTS, PICKS, low=-2.0, high=2.0, generator=generator, **given
    )


def crystals(generator):
    return FeatureNetwork(thin(), SLOTS, (1, 4), power=False, generator=generator)


NETS = {"circuit": circuits, "shg": crystals}


@pytest.fixture(params=NETS)
def net(request, generator):
    return NETS[request.param](generator)


@pytest.fixture
def features(generator):
    return torch.rand(5, 4, generator=generator)


def test_forward_is_the_chain_of_systems(net, features):
    (system, *_), x = net.systems, features[:, SLOTS]
    low, high = net.layers[0].f.encoding.limits
    first, second = (dict(layer.controls) for layer in net.layers)
    drive = first["scale"][0] * x + first["offset"]
    y = (system(drive.clamp(low, high), {}) - net._centre) / net._level
    again = y.repeat_interleave(12 // y.shape[-1], -1)
    drive = second["scale"][0] * again + second["scale"][1] * x + second["offset"]
    y = (system(drive.clamp(low, high), {}) - net._centre) / net._level
    picked = y[:, list(net._picks)]
    expected = 3 * (picked.square() if net.power else picked)
    torch.testing.assert_close(net(features), expected, rtol=1e-12, atol=1e-13)


def test_readings_are_of_order_one(net):
    (system, *_) = net.systems
    low, high = net.layers[0].f.encoding.limits
    readouts = system(low + (high - low) * torch.rand(500, 12), {})
    between = net._normal(readouts)
    if net.power:
        assert abs(between.std() - 1) < 0.1 and between.mean().abs() < 0.1
    else:
        torch.testing.assert_close(between.mean(0), torch.zeros(6), rtol=0, atol=0.1)
        assert 0.1 < between.std() < 1
    expected = (readouts - readouts.mean(0)).std()
    torch.testing.assert_close(torch.tensor(net.deviation), expected, rtol=0.1, atol=0)


def test_parameters_are_as_stated(net):
    classes, layers = len(net.weights), len(net.layers)
    total = sum(p.numel() for p in net.parameters())
    assert total == (2 * layers - 1) * 12 + layers * 12 + classes
    assert net.inputs == 4 and (net.weights == 3).all()


def test_the_same_in_every_precision(features):
    both = []
    for dtype in (torch.float32, torch.float64):
        net = circuits(torch.Generator().manual_seed(1), dtype=dtype)
        assert {p.dtype for p in net.parameters()} == {dtype}
        both.append(net(features.to(dtype)).double())
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)


def test_gradients(net, features):
    apply, params = functional(net)
    names, values = list(params), [p.requires_grad_() for p in params.values()]
    assert gradcheck(lambda *v: apply(dict(zip(names, v)), features[:1]), values)
    chosen = [values[names.index(name)] for name in ("weights", "layers.0.controls.offset")]

    def of_some(weights, offset):
        mixed = dict(zip(names, values)) | {"weights": weights, "layers.0.controls.offset": offset}
        return apply(mixed, features[:1])

    assert gradgradcheck(of_some, chosen)


def test_on_hardware_gradients_are_those_of_the_twins_there(generator, features):
    net = circuits(generator)
    nominal = net(features)
    hardware = net.populations(CircuitSpread(L=0.3, C=0.3), noise=0.01 * net.deviation)
    assert len(hardware) == 2
    pats = [PhysicsAware(each.unit(4), each.system) for each in hardware]
    with run_on(net, *pats):
        assert all(isinstance(layer.f, Encoded) for layer in net.layers)
        measured = net(features)
        measured.square().sum().backward()
    assert [pat.device.calls for pat in pats] == [5, 5]
    assert measured.isfinite().all() and not torch.allclose(measured, nominal)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    # By hand: readings are measured, their derivative is the twin's at what was measured.
    found = net.layers[0].controls["offset"].grad
    pats = [PhysicsAware(each.unit(4), each.system) for each in hardware]
    with run_on(net, *pats):
        first, second = net.layers
        x = features[:, SLOTS]
        readout = first(x).detach()
        twin = net.systems[0](first.f.drive(x, dict(first.controls)), {})
        y = net._normal(twin + (readout - twin).detach())
        logits = net.weights * net._normal(second(torch.cat([y, x], -1)))[:, PICKS].square()
    (expected,) = torch.autograd.grad(logits.square().sum(), first.controls["offset"])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_tasks_are_mapped(net, features):
    apply, params = functional(net)
    stacked = {name: torch.stack([p, 1.1 * p]) for name, p in params.items()}

    def loss(params, features):
        return apply(params, features).square().sum()

    found = vmap(grad(loss), in_dims=(0, None))(stacked, features)
    for index in range(2):
        alone = grad(loss)({name: p[index] for name, p in stacked.items()}, features)
        for name in params:
            torch.testing.assert_close(found[name][index], alone[name], rtol=1e-8, atol=1e-10)


def test_physics_mixes_what_the_computer_does_not(generator):
    """Of a causal circuit the first reading cannot know a feature that comes later."""
    slots = torch.tensor([0] * 4 + [1] * 8)
    net = FeatureNetwork(
        Circuit(samples=12), slots, (3, 11), low=-2.0, high=2.0, generator=generator
    )
    features = torch.rand(2, requires_grad=True)
    early, late = (torch.autograd.grad(net(features)[n], features)[0] for n in range(2))
    assert early[0].abs() > 0.01 and early[1].abs() < 1e-15  # zero within rounding
    assert (late.abs() > 0.01).all()


def test_what_is_clamped_is_seen(generator, features):
    wide = circuits(generator, spread=5.0)
    assert with_excess(wide, features)[1] > 0
    narrow = circuits(generator, spread=0.0)
    assert with_excess(narrow, features)[1] == 0


def test_it_learns_what_no_element_by_element_map_can():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(240, 2, generator=generator)
    labels = (features[:, 0] > features[:, 1]).long()
    net = FeatureNetwork(
        Circuit(samples=16),
        torch.arange(16) % 2,
        (7, 15),
        low=-2.0,
        high=2.0,
        spread=0.6,
        generator=generator,
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(net(features[:120]), labels[:120])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = net(features[120:]).argmax(-1) == labels[120:]
    assert right.double().mean() > 0.9


def test_systems_with_controls_of_their_own(generator):
    net = FeatureNetwork(OscillatorArray(6), torch.arange(6) % 3, (0, 5), generator=generator)
    assert net(torch.rand(4, 3)).shape == (4, 2)
    assert "layers.1.controls.coupling" in dict(net.named_parameters())


BAD = [
    (lambda s: FeatureNetwork(s, SLOTS[:5], PICKS), r"`slots` must be \(12,\) of int64"),
    (lambda s: FeatureNetwork(s, SLOTS.double(), PICKS), r"`slots` must be \(12,\) of int64"),
    (lambda s: FeatureNetwork(s, SLOTS - 1, PICKS), "`slots` must be .* none below 0"),
    (lambda s: FeatureNetwork(s, SLOTS, (3,)), "`picks` must be 2 readings or more"),
    (lambda s: FeatureNetwork(s, SLOTS, (3, 12)), "`picks` must be readings within 0 … 11"),
    (lambda s: FeatureNetwork(s, SLOTS, PICKS, layers=0), "`layers` must be >= 1"),
    (lambda s: FeatureNetwork(s, SLOTS, PICKS, low=1.0), "`low` must be < high"),
    (lambda s: FeatureNetwork(s, SLOTS, PICKS)(torch.zeros(3)), r"`features` must be of shape"),
    (
        lambda s: FeatureNetwork(Circuit(samples=12, guard=3), SLOTS, PICKS),
        "`system` must be a system whose drive is as long as its readout",
    ),
]


@pytest.mark.parametrize(("build", "message"), BAD)
def test_misuse_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build(Circuit(samples=12))
