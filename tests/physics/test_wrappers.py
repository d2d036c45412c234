"""Wrappers of devices: converters, drift, averaging, limits, journal; alone and together."""

# Misuse is tested here, and attributes that a base class does not declare.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import math

import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from metaphys.physics import (
    Affine,
    Converter,
    Device,
    DriftingDevice,
    Encoded,
    OscillatorArray,
    OscillatorSpread,
    PhysicsAware,
    Plate,
    PlateDesign,
    PlateSpread,
    Ports,
    SimulatedDevice,
    WithAveraging,
    WithConverters,
    WithDrift,
    WithGain,
    WithJournal,
    WithLimits,
    WithNoise,
)


class Echo(Device):
    """Answers with its drive."""

    ports = Ports(drive=3, controls={}, readout=3)

    def __init__(self, units=()):
        self.units = units

    def _read(self, drive, controls):
        return drive


def plate():
    return Plate(PlateDesign(modes=3), samples=3)


def fleet(seeds=(5, 6)):
    return SimulatedDevice(PlateSpread().perturb(plate(), seeds))


# What all of them promise ---------------------------------------------------------------------

WRAPPERS = {
    "noise": lambda d: WithNoise(d, 0.1, drive_sigma=0.1, seed=3),
    "gain": lambda d: WithGain(d, 2.0, 0.1),
    "averaging": lambda d: WithAveraging(WithNoise(d, 0.1), 3),
    "converters": lambda d: WithConverters(d, Converter(6, -3.0, 3.0), Converter(6, -1.0, 1.0)),
    "drift": lambda d: WithDrift(d, gain=0.1, offset=0.1, interval=2, seed=4),
    "limits": lambda d: WithLimits(d, low=-9.0, high=9.0, slew=18.0, duty=1.0),
    "journal": WithJournal,
    "all": lambda d: WithJournal(
        WithAveraging(
            WithDrift(
                WithConverters(WithNoise(WithLimits(d, low=-9.0), 0.1), Converter(6, -3.0, 3.0)),
                gain=0.1,
            ),
            2,
        )
    ),
}


def chain(device):
    """A device and what it wraps."""
    found = [device]
    while hasattr(found[-1], "device"):
        found.append(found[-1].device)
    return found


@pytest.mark.parametrize("units", [(), (2,)])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_resumed_run_measures_the_same_again(name, units, generator):
    drive = torch.randn(*units, 5, 3, generator=generator)
    build = lambda: WRAPPERS[name](fleet() if units else SimulatedDevice(plate()))  # noqa: E731
    device, resumed = build(), build()
    device.measure(drive, {})
    resumed.load_state_dict(device.state_dict())
    assert [d.calls for d in chain(resumed)] == [d.calls for d in chain(device)]
    assert [d.seconds for d in chain(resumed)] == [d.seconds for d in chain(device)]
    for _ in range(2):
        assert resumed.measure(drive, {}).equal(device.measure(drive, {}))
    assert [d.calls for d in chain(resumed)] == [d.calls for d in chain(device)]


# An integer seed s is s, s + 1, … for the units of a fleet.
SEEDED = {
    "noise": lambda d, s: WithNoise(d, 0.1, drive_sigma=0.1, seed=s),
    "drift": lambda d, s: WithDrift(d, gain=0.1, offset=0.2, seed=s),
    "averaging": lambda d, s: WithAveraging(WithNoise(d, 0.1, seed=s), 3),
    "converters": lambda d, s: WithConverters(WithNoise(d, 0.1, seed=s), Converter(6, -3.0, 3.0)),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_unit_is_the_same_alone_and_in_a_fleet(name, generator):
    drive = torch.randn(2, 5, 3, generator=generator)
    together = SEEDED[name](fleet(), 8).measure(drive, {})
    for index, seed in enumerate((5, 6)):
        unit = SimulatedDevice(PlateSpread().single(plate(), seed))
        alone = SEEDED[name](unit, 8 + index).measure(drive[index], {})
        torch.testing.assert_close(together[index], alone, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_mapped_measurement_is_one_batch(name, generator):
    drive = torch.randn(5, 3, generator=generator)
    mapped, batched = (WRAPPERS[name](SimulatedDevice(plate())) for _ in range(2))
    found = vmap(lambda d: mapped.measure(d, {}))(drive)
    assert found.equal(batched.measure(drive, {})) and mapped.calls == batched.calls


@pytest.mark.parametrize("name", WRAPPERS)
def test_physics_aware_training_goes_through(name, generator):
    device, twin = WRAPPERS[name](SimulatedDevice(PlateSpread().single(plate(), 3))), plate()
    again = WRAPPERS[name](SimulatedDevice(PlateSpread().single(plate(), 3)))
    drive = torch.randn(5, 3, generator=generator, requires_grad=True)
    readout = PhysicsAware(device, twin)(drive, {})
    assert readout.equal(again.measure(drive, {})) and not readout.equal(twin(drive, {}))
    weights = torch.randn(5, 3, generator=generator)
    (found,) = torch.autograd.grad((weights * readout).sum(), drive)
    (expected,) = torch.autograd.grad((weights * twin(drive, {})).sum(), drive)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_what_is_no_device_is_refused():
    for wrap in WRAPPERS.values():
        with pytest.raises(TypeError, match="`device` must be a Device"):
            wrap(plate())


# Converters -----------------------------------------------------------------------------------


def test_a_converter_has_its_levels_and_no_others(generator):
    convert = Converter(3, -1.0, 2.5)
    x = 3 * torch.randn(2000, generator=generator)
    levels = -1.0 + 0.5 * torch.arange(8)
    found = convert(x)
    distance = (found.unsqueeze(-1) - levels).abs().amin(-1)
    assert distance.max() < 1e-15 and len(found.unique()) == 8
    nearest = levels[(x.unsqueeze(-1) - levels).abs().argmin(-1)]
    torch.testing.assert_close(found, nearest)


def test_the_error_of_a_converter_is_uniform():
    # A step of Δ leaves an error of Δ/√12, rms: 6 dB a bit.
    x = torch.linspace(-1, 1, 100_001)
    for bits in (4, 8, 12):
        convert = Converter(bits, -1.0, 1.0)
        rms = (convert(x) - x).square().mean().sqrt()
        assert abs(rms / (convert.step / math.sqrt(12)) - 1) < 0.02


def test_a_converter_is_differentiated_as_its_clamp():
    convert, x = Converter(3, -1.0, 1.0), torch.tensor([-2.0, -0.9, 0.3, 0.99, 1.5])

    offset = convert(x.sin() * 1.7) - (x.sin() * 1.7).clamp(-1, 1)

    def f(x):
        return convert(x.sin() * 1.7).square().sum()

    def surrogate(x):
        return ((x.sin() * 1.7).clamp(-1, 1) + offset).square().sum()

    for transform in (grad, hessian, lambda f: jacfwd(grad(f)), lambda f: jacrev(jacfwd(f))):
        torch.testing.assert_close(transform(f)(x), transform(surrogate)(x))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(convert(leaf).sum(), leaf)
    assert slope.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_converters_stand_at_every_port(generator):
    array = OscillatorArray(3)
    four, five, six = Converter(4, -1.0, 1.0), Converter(5, -2.0, 2.0), Converter(6, -1.0, 1.0)
    device = WithConverters(SimulatedDevice(array), four, five, controls={"force": six})
    drive, controls = torch.randn(4, 3, generator=generator), array.init_controls()
    inside = {"coupling": controls["coupling"], "force": six(controls["force"])}
    assert device.measure(drive, controls).equal(five(array(four(drive), inside)))


# Drift ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [1, 3])
def test_drift_does_not_depend_on_the_batches(interval):
    one, many = (
        WithDrift(Echo(), gain=0.1, offset=0.2, interval=interval, seed=2) for _ in range(2)
    )
    together = one.measure(torch.ones(40, 3), {})
    parts = [many.measure(torch.ones(n, 3), {}) for n in (1, 0, 20, 4, 15)]
    assert together.equal(torch.cat(parts))
    steps = (together.diff(dim=0) != 0).any(-1)
    assert steps.nonzero()[:, 0].tolist() == list(range(interval - 1, 39, interval))


def test_drift_grows_as_the_root_of_the_calls():
    device = WithDrift(Echo((3000,)), gain=0.01, offset=0.0, interval=5, seed=2)
    readout = device.measure(torch.ones(3000, 101, 3), {})[:, :, 0]
    assert (readout[:, :5] == 1).all()
    for calls in (5, 20, 100):
        stated = 0.01 * math.sqrt(calls / 5)
        assert abs(readout[:, calls].std() / stated - 1) < 0.05
        assert abs(readout[:, calls].mean() - 1) < 4 * stated / math.sqrt(3000)


def test_gain_and_offset_walk_by_themselves():
    device = WithDrift(Echo(), gain=0.01, offset=0.5, seed=1)
    zero, one = device.measure(torch.tensor([[0.0, 0.0, 1.0]] * 500), {}).T[[0, 2]]
    gain, offset = (one - zero).diff(), zero.diff()
    assert abs(gain.std() / 0.01 - 1) < 0.1 and abs(offset.std() / 0.5 - 1) < 0.1
    assert torch.corrcoef(torch.stack([gain, offset]))[0, 1].abs() < 0.15


@pytest.mark.parametrize("units", [(), (2,)])
def test_a_mismatch_drifts_between_measurements(units, generator):
    spread = PlateSpread()
    start = spread.perturb(plate(), [5, 6]) if units else spread.single(plate(), 5)
    steps = {"thickness": 1e-3, "damping": 1e-2}
    device = DriftingDevice(start, steps, interval=10, seed=1)
    drive = torch.randn(*units, 25, 3, generator=generator)
    assert device.measure(drive, {}).equal(start(drive, {}))
    now = device.system
    assert device.measure(drive, {}).equal(now(drive, {}))
    for name in ("thickness", "damping"):
        moved = getattr(now.mismatch, name) - getattr(start.mismatch, name)
        # Two steps after 25 calls, and no component as the other.
        assert 0 < moved.abs().max() < 6 * math.sqrt(2) * steps[name]
        assert len(moved.unique()) == moved.numel()
    assert now.mismatch.gain is start.mismatch.gain
    assert device.calls == 50 * math.prod(units)


def test_a_resumed_drifting_device_goes_on():
    start = PlateSpread().single(plate(), 5)
    device, resumed = (DriftingDevice(start, {"frequency": 0.01}, seed=7) for _ in range(2))
    device.measure(torch.ones(4, 3), {})
    resumed.load_state_dict(device.state_dict())
    for _ in range(2):
        assert resumed.measure(torch.ones(3), {}).equal(device.measure(torch.ones(3), {}))
    assert resumed.calls == 6


def test_any_system_with_a_mismatch_can_drift():
    unit = OscillatorSpread(coupling=0.5).single(OscillatorArray(3), 1)
    device = DriftingDevice(unit, {"coupling": 0.1})
    controls = unit.init_controls()
    first, second = (device.measure(torch.ones(3), controls) for _ in range(2))
    assert first.equal(unit(torch.ones(3), controls)) and not second.equal(first)


# Averaging, limits, journal -------------------------------------------------------------------


def test_averaging_costs_calls_and_lowers_noise(generator):
    device = WithGain(WithAveraging(WithNoise(Echo(), 0.3), 16), 2.0)
    readout = device.measure(torch.zeros(4000, 3), {})
    assert abs(readout.std() / (2 * 0.3 / 4) - 1) < 0.03
    assert [d.calls for d in chain(device)] == [64_000] * 4
    nested = WithAveraging(WithAveraging(Echo(), 2), 3)
    nested.measure(torch.zeros(5, 3), {})
    assert [d.calls for d in chain(nested)] == [30] * 3


LIMITS = [
    ({"low": -1.0, "high": 1.0}, [0.0, 1.5, 0.0], r"amplitude within \[-1.0, 1.0\].*1.5 at \(1, 1"),
    ({"low": 0.0}, [0.0, 0.0, -0.1], r"amplitude within \[0.0, inf\], but got -0.1 at \(1, 2\)"),
    ({"high": 1.0}, [0.0, math.nan, 0.0], r"amplitude .* but got nan at \(1, 1\)"),
    ({}, [math.inf, 0.0, 0.0], r"amplitude .* but got inf at \(1, 0\)"),
    ({"slew": 0.5}, [0.4, -0.2, 0.0], r"slew within 0.5 a sample, but got 0.6 at \(1, 1\)"),
    ({"slew": 0.5}, [0.6, 0.6, 0.3], r"slew within 0.5 a sample, but got 0.6 at \(1, 0\)"),
    ({"slew": 0.5}, [0.4, 0.6, 0.6], r"slew within 0.5 a sample, but got 0.6 at \(1, 3\)"),
    ({"slew": 0.5, "idle": 2.0}, [2.0, 1.5, 1.4], r"slew .* but got 0.6 at \(1, 3\)"),
    ({"duty": 0.5}, [0.1, 0.0, 0.1], r"duty within 0.5, but got 0.666667 at \(1,\)"),
]


@pytest.mark.parametrize(("limits", "drive", "message"), LIMITS)
def test_a_drive_beyond_a_limit_is_refused_before_anything_is_measured(limits, drive, message):
    good = torch.full((1, 3), limits.get("idle", 0.0))
    device = WithJournal(WithLimits(WithNoise(Echo(), 0.1), **limits))
    before = device.state_dict()
    batch = torch.cat([good, torch.tensor([drive])])
    for measure in (lambda: device.measure(batch, {}), lambda: vmap(device.measure)(batch, {})):
        with pytest.raises(ValueError, match=message):
            measure()
    after = device.state_dict()
    assert [d.calls for d in chain(device)] == [0] * 4 and device.entries == []
    assert device.seconds == 0
    states = (state["device"]["device"]["streams"][0] for state in (before, after))
    assert torch.equal(*states)
    assert device.measure(good, {}).shape == (1, 3)


def test_what_is_just_within_the_limits_is_measured():
    device = WithLimits(Echo(), low=-1.0, high=1.0, slew=0.1, duty=1.0)
    ramp = 0.1 * torch.tensor([1.0, 2.0, 1.0])
    for drive in (ramp, ramp.float()):
        assert device.measure(drive, {}).equal(drive)
    assert device.calls == 2


def test_an_encoding_keeps_a_drive_within_the_limits(generator):
    device = WithLimits(Echo(), low=-1.0, high=1.0)
    pat = PhysicsAware(device, lambda drive, controls: drive)
    x, controls = 5 * torch.ones(4, 3), {"scale": torch.ones(1, 3), "offset": torch.zeros(3)}
    with pytest.raises(ValueError, match="amplitude"):
        Encoded(pat, Affine())(x, controls)
    assert Encoded(pat, Affine(low=-1.0, high=1.0))(x, controls).equal(torch.ones(4, 3))


def test_the_journal_holds_every_measurement():
    device = WithJournal(WithAveraging(Echo(), 2))
    device.measure(torch.tensor([[1.0, -4.0, 2.0]] * 5), {})
    device.measure(torch.zeros(0, 3), {})
    assert [(entry.calls, entry.peak) for entry in device.entries] == [(10, 4.0), (0, 0.0)]
    assert device.entries[0].time <= device.entries[1].time
    total = sum(entry.seconds for entry in device.entries)
    assert 0 < total <= device.seconds
    device.reset_calls()
    assert (device.calls, device.seconds) == (0, 0.0) and len(device.entries) == 2


BAD = [
    (lambda: Converter(0, 0.0, 1.0), ValueError, "`bits` must be 1 … 24"),
    (lambda: Converter(8, 1.0, 1.0), ValueError, "`low` must be < high = 1.0"),
    (
        lambda: WithConverters(Echo(), controls={"force": Converter(8, 0.0, 1.0)}),
        ValueError,
        "`controls` must be for controls among",
    ),
    (lambda: WithAveraging(Echo(), 0), ValueError, "`repeats` must be >= 1"),
    (lambda: WithDrift(Echo(), gain=-1.0), ValueError, "`gain` must be >= 0"),
    (lambda: WithDrift(Echo(), offset=-1.0), ValueError, "`offset` must be >= 0"),
    (lambda: WithDrift(Echo(), interval=0), ValueError, "`interval` must be a number of calls"),
    (lambda: WithDrift(Echo(), seed=[1, 2]), ValueError, "`seed` must be an integer or 1 of"),
    (lambda: DriftingDevice(Echo(), {}), TypeError, "`system` must be a System with a mismatch"),
    (lambda: DriftingDevice(plate(), {"gain": 0.1}), ValueError, "`steps` must be for fields"),
    (
        lambda: DriftingDevice(PlateSpread().single(plate(), 1), {"gain": -0.1}),
        ValueError,
        r"`steps\['gain'\]` must be >= 0",
    ),
    (lambda: WithLimits(Echo(), low=1.0, high=0.0), ValueError, "`low` must be < high"),
    (lambda: WithLimits(Echo(), slew=0.0), ValueError, "`slew` must be > 0, or None"),
    (lambda: WithLimits(Echo(), duty=1.5), ValueError, r"`duty` must be in \(0, 1\]"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_misuse_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
