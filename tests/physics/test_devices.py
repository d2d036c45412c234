"""Devices, wrappers and populations: what is measured, counted, and drawn."""

# Misuse is tested here, and attributes that a base class does not declare.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.func import vmap

from metaphys.physics import (
    Device,
    OscillatorArray,
    OscillatorMismatch,
    OscillatorSpread,
    Population,
    Ports,
    SimulatedDevice,
    WithGain,
    WithNoise,
)


class Instrument(Device):
    """Answers with what it was given: numpy in float32, as drivers do."""

    ports = Ports(drive=2, controls={"gain": ()}, readout=2)

    def __init__(self, answer=None):
        self.answer = answer

    def _read(self, drive, controls):
        assert not torch.is_grad_enabled()
        assert not drive.requires_grad
        if self.answer is not None:
            return self.answer
        gain = controls["gain"].numpy()
        return (drive.numpy() * gain[(...,) + (None,) * (drive.ndim - gain.ndim)]).astype("float32")


COUNTS = [((4,), 1), ((3, 4), 3), ((2, 3, 4), 6), ((0, 4), 0)]


@pytest.mark.parametrize(("shape", "calls"), COUNTS)
def test_one_call_is_one_sample(shape, calls, unit, controls):
    device = SimulatedDevice(unit)
    for repeat in (1, 2):
        device.measure(torch.zeros(shape), controls)
        assert device.calls == repeat * calls
    device.reset_calls()
    assert device.calls == 0


def test_vmap_counts_every_index_once(unit, controls, drive):
    device = SimulatedDevice(unit)
    readout = vmap(lambda d: device.measure(d, controls))(drive)
    assert device.calls == 3
    assert readout.equal(SimulatedDevice(unit).measure(drive, controls))


@pytest.mark.parametrize("dims", [(0, None), (1, None), (None, 0), (0, 0), (1, 0)])
def test_vmap_over_any_argument_is_the_loop(dims, unit, controls, generator):
    settings = {k: v + torch.randn(3, *v.shape, generator=generator) for k, v in controls.items()}
    drive = torch.randn(3, 3, 4, generator=generator)
    mapped = controls if dims[1] is None else settings
    device = SimulatedDevice(unit)
    found = vmap(device.measure, in_dims=dims)(drive, mapped)
    for index in range(3):
        one = drive if dims[0] is None else drive.select(dims[0], index)
        setting = mapped if dims[1] is None else {k: v[index] for k, v in mapped.items()}
        torch.testing.assert_close(found[index], unit(one, setting), rtol=1e-12, atol=1e-13)
    assert device.calls == found.numel() // 4


def test_vmap_over_units_and_then_over_samples(array, controls, generator):
    mismatch = OscillatorMismatch(torch.randn(2, 4, 4, generator=generator))
    fleet = SimulatedDevice(array.with_mismatch(mismatch))
    drive = torch.randn(2, 5, 4, generator=generator)
    found = vmap(vmap(lambda d: fleet.measure(d, controls)))(drive)
    torch.testing.assert_close(found, fleet.measure(drive, controls), rtol=1e-12, atol=1e-13)
    assert fleet.calls == 20


def test_a_control_that_is_no_tensor_is_named_under_vmap_too(unit, controls, drive):
    device = SimulatedDevice(unit)
    with pytest.raises(TypeError, match=r"`controls\.force` must be a tensor"):
        vmap(lambda d: device.measure(d, {**controls, "force": 1.0}))(drive)


def test_a_readout_has_no_graph(unit, controls, drive):
    leaves = {k: v.clone().requires_grad_() for k, v in controls.items()}
    readout = SimulatedDevice(unit).measure(drive.clone().requires_grad_(), leaves)
    assert not readout.requires_grad
    assert readout.equal(unit(drive, controls))


def test_numpy_goes_in_and_comes_out_as_the_drive_is(generator):
    drive = torch.randn(3, 2, generator=generator)
    device = Instrument()
    readout = device.measure(drive.numpy(), {"gain": np.array(2.0)})
    assert readout.dtype == torch.float64
    np.testing.assert_allclose(readout.numpy(), 2 * drive.numpy(), rtol=1e-6)
    settings = vmap(device.measure)(drive, {"gain": torch.tensor([1.0, 2.0, 3.0])})
    torch.testing.assert_close(
        settings, drive * torch.tensor([[1.0], [2.0], [3.0]]), rtol=1e-6, atol=0
    )
    assert device.calls == 6


def test_what_is_not_finite_is_data():
    readout = Instrument(np.array([np.nan, np.inf])).measure(
        torch.zeros(2), {"gain": torch.ones(())}
    )
    assert readout.isnan()[0] and readout.isinf()[1]


def test_an_answer_of_the_wrong_shape_is_refused():
    device = Instrument(np.zeros(3))
    with pytest.raises(RuntimeError, match=r"`readout` must be of shape \(2,\), but got \(3,\)"):
        device.measure(torch.zeros(2), {"gain": torch.ones(())})
    assert device.calls == 0


def test_bad_drives_are_refused_before_anything_is_measured(unit, controls, drive):
    device = SimulatedDevice(unit)
    with pytest.raises(ValueError, match=r"`drive` must be of shape \(..., 4\)"):
        device.measure(drive[:, :2], controls)
    with pytest.raises(ValueError, match=r"`drive` must be of shape \(..., 4\)"):
        vmap(lambda d: device.measure(d, controls))(drive[:, :2])
    assert device.calls == 0


def test_a_copied_network_runs_on_the_same_unit(unit, array, controls, drive):
    device = WithNoise(SimulatedDevice(unit), 0.1)
    copied = copy.deepcopy({"device": device})
    assert copied["device"] is device


def test_noise_has_the_stated_size_and_is_fresh(array, controls):
    drive = torch.zeros(4000, 4)
    clean = array(drive, controls)
    device = WithNoise(SimulatedDevice(array), 0.03, seed=1)
    first, second = (device.measure(drive, controls) - clean for _ in range(2))
    for noise in (first, second):
        assert noise.mean().abs() < 0.001
        assert abs(noise.std() - 0.03) < 0.001
    assert (first * second).mean().abs() < 2e-5
    assert device.calls == device.device.calls == 8000


def test_noise_on_the_drive_goes_through_the_physics(array, controls, drive):
    device = WithNoise(SimulatedDevice(array), 0.0, drive_sigma=0.02, seed=5)
    readout = device.measure(drive, controls)
    gap = (readout - array(drive, controls)).abs()
    assert 0 < gap.max() < 0.2
    again = WithNoise(SimulatedDevice(array), 0.0, drive_sigma=0.02, seed=5)
    assert again.measure(drive, controls).equal(readout)


def test_state_restores_noise_and_counter(array, controls, drive):
    def build():
        return WithGain(WithNoise(SimulatedDevice(array), 0.1, seed=2), gain=2.0, offset=0.5)

    device, resumed = build(), build()
    device.measure(drive, controls)
    resumed.load_state_dict(device.state_dict())
    assert resumed.calls == resumed.device.calls == resumed.device.device.calls == 3
    assert resumed.measure(drive, controls).equal(device.measure(drive, controls))


def test_wrappers_compose(array, controls, drive):
    device = WithGain(SimulatedDevice(array), gain=3.0, offset=torch.arange(4.0))
    expected = 3 * array(drive, controls) + torch.arange(4.0)
    torch.testing.assert_close(device.measure(drive, controls), expected)


BAD_WRAPPERS = [
    (lambda d: WithNoise(d, -1.0), ValueError, "`sigma` must be >= 0"),
    (lambda d: WithNoise(d, 1.0, drive_sigma=-1), ValueError, "`drive_sigma` must be >= 0"),
    (lambda d: WithNoise(d, 1.0, seed=[1, 2]), ValueError, "`seed` must be an integer or 1 of"),
    (lambda d: WithNoise(d.system, 1.0), TypeError, "`device` must be a Device"),
    (lambda d: WithGain(d.system), TypeError, "`device` must be a Device"),
    (lambda d: SimulatedDevice(d), TypeError, "`system` must be a System"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD_WRAPPERS)
def test_bad_wrappers_are_refused(build, error, message, array):
    with pytest.raises(error, match=message):
        build(SimulatedDevice(array))


SPREADS = [
    OscillatorSpread(coupling=1.0),
    OscillatorSpread(gain=0.1, gain_spread=0.05),
    OscillatorSpread(coupling=0.5, gain=0.1, gain_spread=0.05, per_oscillator=True),
]


@pytest.mark.parametrize("noise", [{}, {"noise": 0.02}, {"noise": 0.02, "drive_noise": 0.01}])
@pytest.mark.parametrize("spread", SPREADS)
def test_a_unit_is_the_same_alone_and_in_any_fleet(spread, noise, array, controls, generator):
    population = Population(array, spread, **noise)
    drive = torch.randn(3, 5, 4, generator=generator)
    fleet = population.draw([7, 20_001, 3]).measure(drive, controls)
    other = population.draw([3, 7]).measure(drive[[2, 0]], controls)
    torch.testing.assert_close(other, fleet[[2, 0]], rtol=1e-13, atol=1e-14)
    for row, seed in enumerate([7, 20_001, 3]):
        alone = population.unit(seed).measure(drive[row], controls)
        torch.testing.assert_close(alone, fleet[row], rtol=1e-13, atol=1e-14)
    assert not torch.allclose(fleet[0], population.unit(8).measure(drive[0], controls))


def test_a_fleet_by_number_has_the_first_seeds(array):
    population = Population(array, OscillatorSpread(coupling=1.0))
    found, expected = (population.draw(u).system.mismatch.coupling for u in (3, [0, 1, 2]))
    assert found.equal(expected)


def test_under_another_key_a_seed_is_another_unit(array):
    spread = OscillatorSpread(coupling=1.0)
    populations = [Population(array, spread, key=key) for key in ("", "layer 0", "layer 1")]
    offsets = [p.unit(3).system.mismatch.coupling for p in populations]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        correlation = torch.corrcoef(torch.stack([offsets[first], offsets[second]]).flatten(1))
        assert correlation[0, 1].abs() < 0.9
    alone, fleet = populations[1].unit(3), populations[1].draw([5, 3])
    assert fleet.system.mismatch.coupling[1].equal(alone.system.mismatch.coupling)


def test_a_seed_is_the_same_pattern_at_every_spread_and_dtype(array):
    small, large = (OscillatorSpread(coupling=s, gain=0.1).single(array, 4) for s in (0.5, 1.0))
    assert (2 * small.mismatch.coupling).equal(large.mismatch.coupling)
    torch.set_default_dtype(torch.float32)
    single = OscillatorSpread(coupling=1.0).single(array, 4).mismatch.coupling
    assert single.equal(large.mismatch.coupling.float())


def test_the_spread_is_as_stated():
    spread = OscillatorSpread(coupling=0.5, gain=0.1, gain_spread=0.05)
    mismatch = spread.perturb(OscillatorArray(10), range(400)).mismatch
    assert abs(mismatch.coupling.std() - 0.5) < 0.01
    assert abs(mismatch.gain.mean() - 0.1) < 0.01
    assert abs(mismatch.gain.std() - 0.05) < 0.006
    assert mismatch.gain.shape == (400, 1)


def test_a_unit_serves_both_dtypes(array, controls, drive):
    unit = Population(array, OscillatorSpread(coupling=1.0, gain=0.1)).unit(0)
    single = unit.measure(drive.float(), {k: v.float() for k, v in controls.items()})
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), unit.measure(drive, controls), rtol=1e-4, atol=1e-5)


BAD_POPULATIONS = [
    (lambda a: OscillatorSpread(coupling=-1), ValueError, "`coupling` must be >= 0"),
    (lambda a: OscillatorSpread(gain_spread=-1), ValueError, "`gain_spread` must be >= 0"),
    (lambda a: OscillatorSpread(gain=-1), ValueError, "`gain` must be > -1"),
    (lambda a: Population(a, OscillatorSpread(), noise=-1), ValueError, "`noise` must be >= 0"),
    (lambda a: Population(a, OscillatorSpread(), drive_noise=-1), ValueError, "`drive_noise`"),
    (lambda a: Population(a, OscillatorSpread()).draw(0), ValueError, "`units` must be at least"),
    (lambda a: Population(None, OscillatorSpread()), TypeError, "`system` must be a System"),
    (lambda a: Population(a, 0.1), TypeError, "`spread` must be a Spread"),
    (lambda a: OscillatorSpread().single(None, 0), TypeError, "`system` must be an Oscillator"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD_POPULATIONS)
def test_bad_populations_are_refused(build, error, message, array):
    with pytest.raises(error, match=message):
        build(array)


def test_a_fleet_wants_its_units_in_front(array, controls, drive):
    fleet = SimulatedDevice(array.with_mismatch(OscillatorMismatch(gain=torch.zeros(5, 1))))
    with pytest.raises(
        ValueError, match=r"`drive` must be of shape \(5, ..., 4\): one row for each"
    ):
        fleet.measure(drive, controls)
