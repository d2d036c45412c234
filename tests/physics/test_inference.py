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
    OscillatorArray,
    OscillatorMismatch,
    OscillatorSpread,
    OscillatorUnknowns,
    calibrate,
    infer,
    random_drives,
)
from metaphys.physics.oscillators._sensitivity import sensitivity

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
