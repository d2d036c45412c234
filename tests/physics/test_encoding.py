"""Encodings: data and controls into one drive, in front of systems and of devices alike."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev, vmap

from metaphys.nn import PhysicalLayer, encode, run_on
from metaphys.physics import (
    Affine,
    Device,
    Encoded,
    Interleaved,
    OscillatorArray,
    OscillatorSpread,
    PhysicsAware,
    Population,
    Ports,
    SimulatedDevice,
)

ENCODINGS = [
    Affine(spread=0.3),
    Affine(inputs=2, low=-0.9, high=0.9, scale=0.5, offset=0.1, spread=0.3),
    Interleaved(-1.0, 1.0),
]


class Recorder(Device):
    """Keeps what it was given, and answers with it."""

    ports = Ports(drive=4, controls={}, readout=4)

    def __init__(self):
        self.seen = []

    def _read(self, drive, controls):
        self.seen.append(drive.clone())
        return drive


def settings(encoded, generator, *lead):
    found = encoded.init_controls(generator=generator)
    noise = {k: torch.randn(*lead, *v.shape, generator=generator) for k, v in found.items()}
    return {k: v + 0.1 * noise[k] for k, v in found.items()}


def test_affine_is_the_formula(array, generator):
    encoded = Encoded(array, Affine(inputs=2, low=-0.5, high=0.6, spread=0.5))
    controls = settings(encoded, generator)
    x, image = torch.randn(2, 5, 4, generator=generator)
    scale, offset = controls["scale"], controls["offset"]
    expected = encode(x, scale[0], scale[1] * image + offset, low=-0.5, high=0.6)
    drive = encoded.drive(torch.cat([x, image], -1), controls)
    torch.testing.assert_close(drive, expected)
    assert drive.min() == -0.5 and drive.max() == 0.6
    inner = {name: controls[name] for name in ("coupling", "force")}
    assert encoded(torch.cat([x, image], -1), controls).equal(array(drive, inner))


def test_interleaved_takes_turns(array, generator):
    encoded = Encoded(array, Interleaved(-1.0, 1.0))
    controls = settings(encoded, generator)
    x = torch.randn(5, 2, generator=generator)
    drive = encoded.drive(x, controls)
    assert drive[:, 0::2].equal(x.clamp(-1, 1))
    assert drive[:, 1::2].equal(controls["inserted"].clamp(-1, 1).expand(5, 2))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_settings_batch_and_map_as_the_loop(encoding, array, generator):
    encoded = Encoded(array, encoding)
    controls = settings(encoded, generator, 3)
    x = torch.randn(3, 5, encoded.ports.drive, generator=generator)
    batched, mapped = encoded(x, controls), vmap(encoded)(x, controls)
    for index in range(3):
        expected = encoded(x[index], {k: v[index] for k, v in controls.items()})
        torch.testing.assert_close(batched[index], expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(mapped[index], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_derivatives(check, encoding, array, generator):
    encoded = Encoded(array, encoding)
    controls = settings(encoded, generator)
    x = torch.randn(2, encoded.ports.drive, generator=generator, requires_grad=True)
    leaves = [value.requires_grad_() for value in controls.values()]
    assert check(lambda x, *c: encoded(x, dict(zip(controls, c))), [x, *leaves])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_forward_and_reverse_mode_agree(encoding, array, generator):
    encoded = Encoded(array, encoding)
    controls = settings(encoded, generator)
    x = torch.randn(encoded.ports.drive, generator=generator)
    forward, reverse = (mode(encoded, argnums=1)(x, controls) for mode in (jacfwd, jacrev))
    for name in controls:
        torch.testing.assert_close(forward[name], reverse[name])


def test_where_it_is_clamped_the_derivative_is_zero():
    encoded = Encoded(PhysicsAware(Recorder(), lambda drive, controls: drive), Affine(high=1.0))
    x = torch.tensor([0.2, 0.9, 1.1, 5.0], requires_grad=True)
    encoded(x, {"scale": torch.ones(1, 4), "offset": torch.zeros(4)}).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_device_is_given_the_finished_drive():
    device = Recorder()
    encoded = Encoded(PhysicsAware(device, lambda drive, controls: drive), Affine(low=-1, high=1))
    controls = {"scale": torch.full((1, 4), 3.0), "offset": torch.full((4,), 0.5)}
    encoded(torch.tensor([[-1.0, 0.0, 0.1, 1.0]]), controls)
    assert device.seen[0].tolist() == [[-1.0, 0.5, 0.8, 1.0]]


def test_physics_aware_training_goes_through(array, generator):
    unit = OscillatorSpread(coupling=1.0).single(array, 3)
    nominal = Encoded(array, Affine(spread=0.3))
    pat = nominal.on(PhysicsAware(SimulatedDevice(unit), array))
    controls = settings(nominal, generator)
    x = torch.randn(2, 4, generator=generator)
    assert pat(x, controls).equal(nominal.on(unit)(x, controls))
    # The loss is linear in the readout, so that its gradient is the twin's to the last bit.
    found, expected = (
        torch.func.grad(lambda c, f=f: f(x, c).sum())(controls) for f in (pat, nominal)
    )
    for name in controls:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)


def test_a_fleet_keeps_its_units(array, generator):
    fleet = Population(array, OscillatorSpread(coupling=1.0)).draw(3)
    encoded = Encoded(PhysicsAware(fleet, array), Affine())
    controls = settings(Encoded(array, Affine()), generator)
    assert encoded.units == (3,)
    x = torch.randn(3, 2, 4, generator=generator)
    inner = {name: controls[name] for name in array.ports.controls}
    assert encoded(x, controls).equal(fleet.measure(encoded.drive(x, controls), inner))


def test_a_layer_keeps_its_encoding_on_another_unit(array, generator):
    nominal = Encoded(array, Affine(inputs=2, low=-1, high=1, spread=0.2))
    layer = PhysicalLayer(nominal, nominal.init_controls(generator=generator))
    unit = OscillatorSpread(coupling=1.0).single(array, 3)
    x = torch.randn(5, 8, generator=generator)
    before = layer(x)
    with run_on(layer, PhysicsAware(SimulatedDevice(unit), array)):
        assert isinstance(layer.f, Encoded) and layer.f.encoding == nominal.encoding
        assert layer(x).equal(nominal.on(unit)(x, dict(layer.controls)))
    assert layer.f is nominal and layer(x).equal(before)


def test_init_controls_are_random_as_stated(array, generator):
    controls = Encoded(array, Affine(scale=2.0, offset=-1.0)).init_controls(dtype=torch.float32)
    assert controls["scale"].tolist() == [[2.0] * 4] and controls["offset"].tolist() == [-1.0] * 4
    assert all(value.dtype == torch.float32 for value in controls.values())
    wide = Affine(inputs=3, scale=0.5, spread=0.2).init_controls(4000, generator)
    assert abs(wide["scale"].mean() - 0.5) < 0.01 and abs(wide["scale"].std() - 0.2) < 0.01
    uniform = Interleaved(2.0, 4.0).init_controls(8000, generator)["inserted"]
    assert 2 <= uniform.min() < 2.01 and 3.99 < uniform.max() <= 4


BAD = [
    (lambda a: Encoded(SimulatedDevice(a), Affine()), TypeError, "`f` must be a System or a Phy"),
    (lambda a: Encoded(lambda d, c: d, Affine()), TypeError, "`f` must be a System or a Phy"),
    (lambda a: Encoded(a, 2.0), TypeError, "`encoding` must be an Encoding"),
    (lambda a: Encoded(Encoded(a, Affine()), Affine()), ValueError, "other than scale, offset"),
    (lambda a: Encoded(OscillatorArray(3), Interleaved()), ValueError, "an even number of values"),
    (lambda a: Affine(inputs=0), ValueError, "`inputs` must be >= 1"),
    (lambda a: Affine(spread=-1), ValueError, "`spread` must be >= 0"),
    (lambda a: Affine(low=1.0, high=1.0), ValueError, "`low` must be < high = 1.0"),
    (lambda a: Interleaved(1.0, 0.0), ValueError, "`low` must be < high = 0.0"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_misuse_is_refused(build, error, message, array):
    with pytest.raises(error, match=message):
        build(array)


def test_data_and_controls_are_checked(array):
    encoded = Encoded(array, Affine(inputs=2))
    controls = encoded.init_controls()
    with pytest.raises(ValueError, match=r"`drive` must be of shape \(..., 8\)"):
        encoded(torch.zeros(4), controls)
    with pytest.raises(ValueError, match=r"`controls.scale` must be of shape \(..., 2, 4\)"):
        encoded(torch.zeros(8), {**controls, "scale": torch.zeros(4)})
