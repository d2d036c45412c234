"""The posterior of a unit's mismatch: derivatives, the known answers, the prior's own estimate."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false
# pyright: reportOptionalSubscript=false, reportOperatorIssue=false

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.func import jacrev, vmap

from metaphys.physics import (
    SHG,
    Circuit,
    CircuitMismatch,
    CircuitSpread,
    Crystal,
    MismatchUnknowns,
    OscillatorArray,
    OscillatorMismatch,
    OscillatorSpread,
    OscillatorUnknowns,
    Plate,
    PlateDesign,
    PlateSpread,
    SHGMismatch,
    SHGSpread,
    ThinSHG,
    calibrate,
    infer,
    nrmse,
    random_drives,
)
from metaphys.physics.oscillators._sensitivity import sensitivity
from metaphys.physics.shg import TimeWindow

SIZE = 5
ARRAY = OscillatorArray(SIZE, steps=3, dt=0.3)
PRIOR = OscillatorUnknowns(ARRAY, coupling=0.6, gain=0.1, gain_deviation=0.1)
PRIORS = {"one gain": PRIOR, "a gain each": dataclasses.replace(PRIOR, per_oscillator=True)}


def controls_of(generator, own=()):
    return {
        "coupling": torch.randn(*own, SIZE, SIZE, generator=generator),
        "force": torch.randn(*own, SIZE, generator=generator),
    }


# Derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("own", [(), (4,)], ids=["one setting", "a setting each"])
@pytest.mark.parametrize("name", PRIORS)
def test_linearised_is_central_differences_and_reverse_mode(name, own, steps, generator):
    array = OscillatorArray(SIZE, steps=steps, dt=0.3)
    unknowns = dataclasses.replace(PRIORS[name], array=array)
    drives = torch.randn(4, SIZE, generator=generator)
    controls = controls_of(generator, own)
    z = torch.randn(unknowns.size, generator=generator)

    def model(z):
        return unknowns.system(z)(drives, controls)

    value, found = unknowns.linearised(z, drives, controls)
    torch.testing.assert_close(value, model(z), rtol=1e-13, atol=1e-13)
    assert found.abs().amax((0, 1)).min() > 1e-3  # every score is seen
    torch.testing.assert_close(found, jacrev(model)(z), rtol=1e-11, atol=1e-12)
    h = 1e-5
    basis = h * torch.eye(unknowns.size)
    differences = torch.stack([(model(z + d) - model(z - d)) / (2 * h) for d in basis], -1)
    torch.testing.assert_close(found, differences, rtol=1e-6, atol=1e-8)


def test_the_nominal_array_has_sensitivities_too(generator):
    drives, controls = torch.randn(3, SIZE, generator=generator), controls_of(generator)
    found = sensitivity(ARRAY, drives, controls)

    def by_gain(eta):
        return ARRAY.with_mismatch(OscillatorMismatch(gain=eta))(drives, controls)

    torch.testing.assert_close(found.readout, ARRAY(drives, controls))
    torch.testing.assert_close(found.gain, jacrev(by_gain)(torch.zeros(SIZE)))


# Scores ---------------------------------------------------------------------------------------


def test_scores_are_symmetric_couplings_in_rows_and_then_gains():
    z = torch.arange(1.0, PRIOR.size + 1)
    mismatch = PRIOR.system(z).mismatch
    offsets = mismatch.coupling / PRIOR.coupling
    assert offsets.equal(offsets.mT) and not offsets.diagonal().any()
    torch.testing.assert_close(offsets[0], torch.arange(5.0))
    torch.testing.assert_close(offsets[1, 2:], torch.arange(5.0, 8.0))
    torch.testing.assert_close(mismatch.gain, torch.tensor([0.1 + 0.1 * 11]))
    fleet = PRIOR.system(torch.stack([z, 2 * z]))
    assert fleet.units == (2,)
    torch.testing.assert_close(fleet.mismatch.coupling[1], 2 * mismatch.coupling)


def test_the_scores_of_a_spread_have_its_moments():
    spread = OscillatorSpread(coupling=0.8, gain=0.1, gain_spread=0.05)
    unknowns = OscillatorUnknowns.of(ARRAY, spread)
    drawn = spread.perturb(ARRAY, range(400)).mismatch
    symmetric = (drawn.coupling + drawn.coupling.mT) / 2
    rows, columns = torch.triu_indices(SIZE, SIZE, 1)
    # 4000 numbers: their deviation is right to 1.1 %, that of 400 gains to 3.5 %.
    measured = float(symmetric[:, rows, columns].std())
    assert measured == pytest.approx(unknowns.coupling, rel=0.05)
    assert float(drawn.gain.std()) == pytest.approx(unknowns.gain_deviation, rel=0.15)


# Inference ------------------------------------------------------------------------------------


def problem(count, generator, unknowns=PRIOR, noise=0.0):
    unit = unknowns.system(torch.randn(unknowns.size, generator=generator))
    drives = random_drives(ARRAY.ports, count, low=-1.5, high=1.5, seed=3)
    controls = controls_of(generator)
    clean = unit(drives, controls)
    return unit, drives, controls, clean + noise * torch.randn(clean.shape, generator=generator)


@pytest.mark.parametrize("name", PRIORS)
def test_exact_readouts_give_the_unit(name, generator):
    unit, drives, controls, readouts = problem(6, generator, PRIORS[name])
    found = infer(PRIORS[name], drives, readouts, controls=controls, noise=1e-7)
    assert found.converged and found.misfit < 1e-8
    torch.testing.assert_close(
        found.twin.mismatch.coupling, unit.mismatch.coupling, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(found.twin.mismatch.gain, unit.mismatch.gain, atol=1e-5, rtol=0)
    assert found.used == pytest.approx(PRIORS[name].size, abs=1e-3)


def test_agrees_with_calibrate_where_few_readouts_tell_little(generator):
    """The same posterior by singular values of a Jacobian that forward mode made."""
    noise = 0.05
    _, drives, controls, readouts = problem(2, generator, noise=noise)
    found = infer(PRIOR, drives, readouts, controls=controls, noise=noise, tolerance=1e-8)
    upper = 2 * PRIOR.coupling * torch.ones(SIZE, SIZE).triu(1)  # of C, of which half acts on J
    mean = OscillatorMismatch(coupling=torch.zeros(SIZE, SIZE), gain=torch.tensor([0.1]))
    other = calibrate(
        ARRAY.with_mismatch(mean),
        drives,
        readouts,
        prior={"coupling": upper, "gain": torch.tensor([0.1])},
        controls=controls,
        noise=noise,
        tolerance=1e-8,
    )
    assert found.used < 0.8 * PRIOR.size  # the prior has much to say
    c = other.twin.mismatch.coupling
    torch.testing.assert_close(found.twin.mismatch.coupling, (c + c.mT) / 2, rtol=0, atol=1e-6)
    rows, columns = torch.triu_indices(SIZE, SIZE, 1)
    deviation = PRIOR.coupling * found.variance.sqrt()[: PRIOR.pairs]
    expected = other.deviation["coupling"][rows, columns] / 2
    torch.testing.assert_close(deviation, expected, rtol=1e-5, atol=1e-7)


def test_more_drives_than_are_held_at_a_time_and_a_setting_for_each(generator):
    count = 150
    unit = PRIOR.system(torch.randn(PRIOR.size, generator=generator))
    drives = random_drives(ARRAY.ports, count, low=-1.5, high=1.5)
    controls = controls_of(generator, (count,))
    readouts = unit(drives, controls)
    found = infer(PRIOR, drives, readouts, controls=controls, noise=1e-7)
    torch.testing.assert_close(
        found.z,
        infer(
            PRIOR,
            drives[:20],
            readouts[:20],
            controls={n: c[:20] for n, c in controls.items()},
            noise=1e-7,
        ).z,
        rtol=0,
        atol=1e-5,
    )


def test_draws_have_the_posteriors_moments(generator):
    _, drives, controls, readouts = problem(1, generator, noise=0.1)
    found = infer(PRIOR, drives, readouts, controls=controls, noise=0.1)
    drawn = found.scores(20_000, generator)
    precision = found.factor @ found.factor.mT
    # 20,000 draws: a mean is right to 0.7 % of a deviation, a covariance to 1 % of the variances.
    torch.testing.assert_close(drawn.mean(0), found.z, rtol=0, atol=0.04)
    torch.testing.assert_close(torch.cov(drawn.mT), precision.inverse(), rtol=0, atol=0.04)
    assert found.draw(3, generator).units == (3,)


def test_a_later_posterior_starts_from_an_earlier_one(generator):
    _, drives, controls, readouts = problem(8, generator, noise=0.01)
    cold = infer(PRIOR, drives, readouts, controls=controls, noise=0.01)
    warm = infer(PRIOR, drives, readouts, controls=controls, noise=0.01, start=cold.z)
    torch.testing.assert_close(warm.z, cold.z, rtol=0, atol=1e-3)
    assert warm.steps <= 1 < cold.steps and warm.converged


def test_far_from_the_prior_every_step_descends(generator):
    """A unit six deviations off: the first Gauss-Newton step alone would not do."""
    unknowns = dataclasses.replace(PRIOR, coupling=0.5)
    unit = unknowns.system(6 * torch.randn(unknowns.size, generator=generator))
    drives = random_drives(ARRAY.ports, 12, low=-1.5, high=1.5)
    controls = {"coupling": torch.zeros(SIZE, SIZE), "force": torch.zeros(SIZE)}
    found = infer(unknowns, drives, unit(drives, controls), controls=controls, noise=1e-4, steps=60)
    before = (ARRAY(drives, controls) - unit(drives, controls)).square().mean().sqrt()
    assert found.misfit < 0.05 * before


# The prior ------------------------------------------------------------------------------------


def test_expectation_maximisation_finds_the_populations_spread(generator):
    truth = OscillatorUnknowns(ARRAY, coupling=0.9, gain=0.15, gain_deviation=0.06)
    guess = OscillatorUnknowns(ARRAY, coupling=0.3, gain=0.0, gain_deviation=0.3)
    drives = random_drives(ARRAY.ports, 4, low=-1.5, high=1.5)
    controls = {"coupling": torch.zeros(SIZE, SIZE), "force": torch.zeros(SIZE)}
    units = [truth.system(torch.randn(truth.size, generator=generator)) for _ in range(16)]
    readouts = [unit(drives, controls) for unit in units]
    for _ in range(3):
        fits = [
            infer(guess, drives, y, controls=controls, noise=0.01, tolerance=0.1) for y in readouts
        ]
        guess = guess.refined([f.z for f in fits], [f.variance for f in fits])
    # 160 couplings tell their deviation to 6 %, 16 gains their mean to 0.015 and deviation to 18 %.
    assert guess.coupling == pytest.approx(truth.coupling, rel=0.18)
    assert guess.gain == pytest.approx(truth.gain, abs=0.045)
    assert guess.gain_deviation == pytest.approx(truth.gain_deviation, rel=0.54)


def test_a_prior_that_is_right_stays(generator):
    z = torch.randn(400, PRIOR.size, generator=generator)
    refined = PRIOR.refined(list(z), list(torch.zeros_like(z)))
    assert refined.coupling == pytest.approx(PRIOR.coupling, rel=0.04)
    assert refined.gain == pytest.approx(PRIOR.gain, abs=0.02)
    known = PRIOR.refined([torch.zeros(PRIOR.size)], [torch.ones(PRIOR.size)])
    assert known.coupling == pytest.approx(PRIOR.coupling)  # nothing was seen: nothing changes
    assert known.gain_deviation == pytest.approx(PRIOR.gain_deviation)


# Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 0.0}, "`noise`"),
        ({"readouts": (3, SIZE)}, "`readouts`"),
        ({"noise": float("nan")}, "`noise`"),
        ({"drives": (2, SIZE + 1)}, "`drive`"),
        ({"drives": (SIZE,)}, "`drives`"),
        ({"start": (2,)}, "`start`"),
        ({"controls": {}}, "`controls`"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, generator):
    given = {
        "drives": torch.zeros(2, SIZE),
        "readouts": torch.zeros(2, SIZE),
        "controls": controls_of(generator),
        "noise": 0.1,
    }
    shaped = {n: torch.zeros(v) if isinstance(v, tuple) else v for n, v in change.items()}
    with pytest.raises(ValueError, match=message):
        infer(PRIOR, **{**given, **shaped})


def test_readouts_that_are_not_finite_are_refused(generator):
    readouts = torch.tensor([[0.0, 1.0, float("nan"), 0.0, 0.0]])
    with pytest.raises(ValueError, match="finite"):
        infer(PRIOR, torch.zeros(1, SIZE), readouts, controls=controls_of(generator), noise=0.1)


@pytest.mark.parametrize("change", [{"coupling": 0.0}, {"gain_deviation": -1.0}])
def test_a_prior_without_a_meaning_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(PRIOR, **change)


def test_a_fleet_has_no_unknowns():
    fleet = OscillatorSpread(coupling=1.0).perturb(ARRAY, [1, 2])
    with pytest.raises(ValueError, match="array"):
        OscillatorUnknowns(fleet, coupling=1.0)


def test_the_offsets_are_right_under_vmap(generator):
    z = torch.randn(3, PRIOR.size, generator=generator)
    assert vmap(PRIOR.offsets)(z).equal(PRIOR.offsets(z))


# Unknowns of any mismatch ---------------------------------------------------------------------

SHG_SPREAD = SHGSpread(coupling=0.04, dk0=2.0, chirp=500.0, crosstalk=0.04, shift=0.1)
PLATE_SPREAD = PlateSpread(frequency=0.01)
WINDOW = TimeWindow(duration=16.0, points=512)
AMPLIFIERS = CircuitMismatch(source=torch.tensor(0.3), reading=torch.tensor(0.5))
AMPLIFIED = Circuit(samples=40, mismatch=AMPLIFIERS)
DEPLETED = ThinSHG(
    window=WINDOW,
    crystal=Crystal.bbo(coupling=4.0),
    mismatch=SHGMismatch(depletion=torch.tensor([0.6, 0.1], dtype=torch.float64)),
)
FEW = {
    "plate": (MismatchUnknowns(Plate(PlateDesign(modes=4), samples=40), PLATE_SPREAD), -1.0),
    "circuit": (MismatchUnknowns(Circuit(samples=40), CircuitSpread()), -2.0),
    "thin crystal": (MismatchUnknowns(ThinSHG(window=WINDOW), SHG_SPREAD), 0.0),
    "amplified circuit": (
        MismatchUnknowns(AMPLIFIED, CircuitSpread()).widened(source=0.05, reading=0.05),
        -2.0,
    ),
    "depleted crystal": (
        MismatchUnknowns(DEPLETED, SHG_SPREAD).widened(depletion=torch.tensor([0.1, 0.02])),
        0.0,
    ),
}
FEW_UNITS = {"plate": PLATE_SPREAD, "circuit": CircuitSpread()}


def driven(unknowns, low, count, seed=3):
    high = -low if low else 1.0
    return random_drives(unknowns.ports, count, low=low, high=high, seed=seed)


@pytest.mark.parametrize("name", FEW)
def test_derivatives_by_any_mismatch_are_central_differences_and_reverse_mode(name, generator):
    unknowns, low = FEW[name]
    drives = driven(unknowns, low, 2)
    z = 0.5 * torch.randn(unknowns.size, generator=generator)

    def model(z):
        return unknowns.system(z)(drives, {})

    value, found = unknowns.linearised(z, drives, {})
    scale = float(value.abs().max())
    torch.testing.assert_close(value, model(z), rtol=1e-12, atol=1e-13 * scale)
    assert found.abs().amax((0, 1)).min() > 1e-6 * scale  # every score is seen
    tolerance = {"rtol": 1e-7, "atol": 1e-9 * scale}
    torch.testing.assert_close(found, jacrev(model)(z), **tolerance)
    h = 1e-4
    basis = h * torch.eye(unknowns.size)
    differences = torch.stack([(model(z + d) - model(z - d)) / (2 * h) for d in basis], -1)
    # Third derivatives times h²; a plate's modes turn by 2 rad a deviation of the thickness.
    torch.testing.assert_close(found, differences, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("name", FEW)
def test_a_fleet_of_scores_is_its_units(name, generator):
    unknowns, low = FEW[name]
    z = 0.5 * torch.randn(3, unknowns.size, generator=generator)
    drives = driven(unknowns, low, 2)
    fleet = unknowns.system(z)
    found = fleet(drives.expand(3, *drives.shape), {})
    for index in range(3):
        expected = unknowns.system(z[index])(drives, {})
        torch.testing.assert_close(found[index], expected, rtol=1e-9, atol=1e-12)


def test_the_moments_are_those_of_the_spread():
    spread = CircuitSpread()
    found = MismatchUnknowns(Circuit(samples=10), spread)
    mean, deviation = found.moments()
    # Uniform within a tolerance; 256 units tell a deviation to 4 %, a mean to a sixteenth of it.
    expected = torch.tensor([0.05] * 6 + [0.3] * 2) / 3**0.5
    torch.testing.assert_close(deviation[:-1], expected, rtol=0.12, atol=0.0)
    assert (mean.abs() < 0.25 * deviation).all()
    assert deviation[-1] == pytest.approx(spread.temperature, rel=0.15)


def test_scores_are_what_a_system_is_made_of(generator):
    unknowns, _ = FEW["plate"]
    z = torch.randn(unknowns.size, generator=generator)
    fields = dataclasses.asdict(unknowns.system(z).mismatch)
    torch.testing.assert_close(unknowns.scores(fields), z, rtol=1e-10, atol=1e-10)
    mean, deviation = unknowns.moments()
    other = unknowns.with_moments(torch.stack([mean + 0.01, 2 * deviation]))
    moved = unknowns.translated(z, other)
    for name, value in dataclasses.asdict(other.system(moved).mismatch).items():
        torch.testing.assert_close(value, fields[name], rtol=1e-9, atol=1e-9)
    assert unknowns.with_moments(unknowns.moments()).moments().equal(unknowns.moments())


def test_a_refined_prior_has_the_moments_of_its_units(generator):
    """With variances of zero it is the sample's mean and deviation, field by field."""
    unknowns, _ = FEW["circuit"]
    scores = list(torch.randn(40, unknowns.size, generator=generator) + 0.5)
    found = unknowns.refined(scores, [torch.zeros(unknowns.size)] * 40)
    units = [unknowns.system(z).mismatch.given() for z in scores]
    sample = torch.stack([torch.stack(list(unit.values())) for unit in units])
    mean, deviation = found.moments()
    torch.testing.assert_close(mean, sample.mean(0))
    torch.testing.assert_close(deviation, sample.std(0, correction=0))
    wider = unknowns.refined(scores, [torch.full((unknowns.size,), 3.0)] * 40).moments()[1]
    before = unknowns.moments()[1]
    torch.testing.assert_close(wider.square(), deviation.square() + 3 * before.square())


def test_what_units_have_in_common_is_learned_where_no_spread_tells_of_it():
    """The split step depletes its pump; a thin crystal does where its prior was learned."""
    spread = SHGSpread(coupling=0.04, dk0=2.0)
    options = {"crystal": Crystal.bbo(coupling=4.0), "window": WINDOW}
    hardware, stated = SHG(**options, steps=4), MismatchUnknowns(ThinSHG(**options), spread)
    learned = stated.widened(depletion=torch.tensor([0.5, 0.1]))
    drives = driven(stated, 0.0, 7)
    noise = 0.01 * float(hardware(drives, {}).std())
    for _ in range(2):
        readouts = [spread.single(hardware, seed)(drives[:3], {}) for seed in range(4)]
        found = [infer(learned, drives[:3], y, noise=noise) for y in readouts]
        learned = learned.refined([f.z for f in found], [f.variance for f in found])
    unit = spread.single(hardware, 20_000)
    # One waveform: what the prior knows of the law is not asked of the unit again.
    fits = [
        infer(each, drives[:1], unit(drives[:1], {}), noise=noise) for each in (stated, learned)
    ]
    expected = unit(drives[3:], {})
    without, within = (nrmse(each.twin(drives[3:], {}), expected) for each in fits)
    assert without > 0.03 and within < 0.01
    # Without dispersion it would be tanh(u)/u, whose series has 2/3 and 1/15.
    law = learned.system(torch.zeros(learned.size)).mismatch.depletion
    assert (law - torch.tensor([2 / 3, 1 / 15])).abs().max() < 0.1


def test_further_fields_lie_around_the_systems_own():
    unknowns, _ = FEW["depleted crystal"]
    found = unknowns.system(torch.zeros(unknowns.size)).mismatch.depletion
    torch.testing.assert_close(found, torch.tensor([0.6, 0.1]))
    torch.testing.assert_close(unknowns.moments()[1, -2:], torch.tensor([0.1, 0.02]))


@pytest.mark.parametrize("deviations", [{"nothing": 1.0}, {"chirp": -1.0}])
def test_fields_that_a_mismatch_has_not_are_refused(deviations):
    with pytest.raises(ValueError, match="`prior"):
        MismatchUnknowns(ThinSHG(window=WINDOW), SHGSpread(dk0=1.0)).widened(**deviations)


@pytest.mark.parametrize("name", FEW_UNITS)
def test_the_posterior_covers_units_that_were_not_seen(name):
    """Fresh readouts of the unit lie within two deviations of those of the posterior's draws."""
    unknowns, low = FEW[name]
    system = unknowns.system(torch.zeros(unknowns.size)).with_mismatch(None)
    covered, left = [], []
    for unit in range(4):
        truth = FEW_UNITS[name].single(system, 20_000 + unit)
        drives = driven(unknowns, low, 7, seed=unit)
        readouts = truth(drives, {})
        noise = 0.1 * float(readouts.std())
        generator = torch.Generator().manual_seed(unit)
        seen = readouts[:4] + noise * torch.randn(readouts[:4].shape, generator=generator)
        found = infer(unknowns, drives[:4], seen, noise=noise, draws=50)
        fleet = found.draw(20, generator)
        told = fleet(drives[4:].expand(20, *drives[4:].shape), {})
        mean, deviation = told.mean(0), told.std(0)
        before = system(drives[4:], {})
        left.append(torch.stack([(each - readouts[4:]).norm() for each in (mean, before)]))
        covered.append(((readouts[4:] - mean).abs() < 2 * deviation).double().mean())
    assert 0.8 < float(torch.stack(covered).mean()) <= 1.0
    # Of all together: a unit that is nearly nominal has nothing to win under noise of 10 %.
    after, before = torch.stack(left).square().sum(0).sqrt()
    assert after < 0.5 * before


def test_draws_find_a_resonance_that_the_descent_alone_does_not():
    plate, spread = Plate(samples=196), PlateSpread()
    unknowns = MismatchUnknowns(plate, spread)
    drives = driven(unknowns, -1.0, 4, seed=0)
    readouts = spread.single(plate, 20_000)(drives, {})
    noise = 0.03 * float(readouts.std())
    alone, drawn = (
        infer(unknowns, drives, readouts, noise=noise, draws=draws, steps=8).misfit / noise
        for draws in (0, 300)
    )
    assert alone > 3 and drawn < 1
