"""Following units that drift: the exact Kalman filter, fleets, coverage, the walk's size."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest
import torch
from torch import Tensor

from metaphys.physics import (
    Belief,
    Circuit,
    CircuitSpread,
    DriftFilter,
    Ports,
    System,
    calibrate,
    learn_walk,
    random_drives,
)
from metaphys.physics._ports import align

WIDE = torch.float64
PRIOR = {"gain": torch.tensor([0.5, 0.2], dtype=WIDE), "offset": torch.tensor([0.3], dtype=WIDE)}
DEVIATIONS = np.array([0.5, 0.2, 0.3])
WALK = {"gain": 0.05, "offset": 0.02}
STEPS = np.array([0.05, 0.05, 0.02])
SIGMA = 0.1


@final
@dataclass(frozen=True)
class Shift:
    """What a unit differs by."""

    gain: Tensor | None = None
    offset: Tensor | None = None


@final
class Toy(System):
    """Readout (1 + gain_1) x_1 + (2 + gain_2) x_2 + offset, or its sinh: linear or not."""

    ports = Ports(drive=2, controls={}, readout=1)

    def __init__(self, bent: bool = False, mismatch: Any = None) -> None:
        self.bent, self.mismatch = bent, Shift() if mismatch is None else mismatch
        gain = self.mismatch.gain
        self.units = () if gain is None else tuple(gain.shape[:-1])

    def with_mismatch(self, mismatch: Any) -> Toy:
        """As every system's."""
        return Toy(self.bent, mismatch)

    def init_controls(self, *, generator=None, dtype=None, device=None) -> Any:
        """None."""
        return {}

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        gain, offset = (
            align(value.to(drive), 1, drive.ndim - 1)
            for value in (self.mismatch.gain, self.mismatch.offset)
        )
        nominal = torch.tensor([1.0, 2.0], dtype=drive.dtype)
        found = ((nominal + gain) * drive).sum(-1, keepdim=True) + offset
        return found.sinh() if self.bent else found


def world(units, days, count, bent=False, seed=0, walk=STEPS):
    """Truths (days, units, 3), drives and readouts (days, units, count, ...)."""
    rng = np.random.default_rng(seed)
    first = DEVIATIONS * rng.standard_normal((1, units, 3))
    steps = walk * rng.standard_normal((days - 1, units, 3))
    truth = torch.tensor(np.concatenate([first, steps]).cumsum(0))
    drives = torch.tensor(rng.uniform(-1, 1, (days, units, count, 2)))
    noise = SIGMA * torch.tensor(rng.standard_normal((days, units, count, 1)))
    clean = [
        Toy(bent, Shift(truth[day, :, :2], truth[day, :, 2:]))(drives[day], {})
        for day in range(days)
    ]
    return truth, drives, torch.stack(clean) + noise


def kalman(drives, readouts):
    """One unit by the textbook, in the fields' own units: means and covariances by day."""
    mean, cov, found = np.zeros(3), np.diag(DEVIATIONS**2), []
    for day, (x, y) in enumerate(zip(drives.numpy(), readouts.numpy())):
        cov = cov + np.diag(STEPS**2) * (day > 0)
        h = np.concatenate([x, np.ones((len(x), 1))], 1)
        innovation = y[:, 0] - x @ np.array([1.0, 2.0]) - h @ mean
        gain = cov @ h.T @ np.linalg.inv(h @ cov @ h.T + SIGMA**2 * np.eye(len(x)))
        mean, cov = mean + gain @ innovation, (np.eye(3) - gain @ h) @ cov
        found.append((mean, cov))
    return found


def followed(drives, readouts, *, noise=SIGMA, bent=False, steps=5, units=None, walk=None):
    """The filter, and its belief after every day."""
    fleet = (drives.shape[1],) if units is None else units
    each = DriftFilter(
        Toy(bent), prior=PRIOR, walk=WALK if walk is None else walk, noise=noise, units=fleet
    )
    beliefs = []
    for day, (x, y) in enumerate(zip(drives, readouts)):
        if day:
            each.advance()
        each.update(x, y, steps=steps)
        beliefs.append(each.belief)
    return each, beliefs


# The exact answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3])
def test_where_readouts_are_linear_it_is_the_kalman_filter(steps):
    _, drives, readouts = world(units=1, days=6, count=2)
    expected = kalman(drives[:, 0], readouts[:, 0])
    _, beliefs = followed(drives[:, 0], readouts[:, 0], steps=steps, units=())
    for (mean, covariance), belief in zip(expected, beliefs):
        scale = np.outer(DEVIATIONS, DEVIATIONS)
        np.testing.assert_allclose(belief.mean.numpy() * DEVIATIONS, mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(belief.covariance.numpy() * scale, covariance, rtol=1e-8)


def test_a_fleet_is_its_units():
    _, drives, readouts = world(units=3, days=4, count=2, bent=True)
    _, together = followed(drives, readouts, bent=True)
    for unit in range(3):
        _, alone = followed(drives[:, unit], readouts[:, unit], bent=True, units=())
        for one, all_of_them in zip(alone, together):
            # The last step is taken or not by rounding: the cost is flat to 1e-16 within 1e-8.
            near = {"rtol": 1e-6, "atol": 1e-7}
            torch.testing.assert_close(one.mean, all_of_them.mean[unit], **near)
            torch.testing.assert_close(one.covariance, all_of_them.covariance[unit], **near)


def test_where_readouts_are_not_linear_it_ends_where_the_posterior_is_greatest():
    _, drives, readouts = world(units=1, days=1, count=4, bent=True, seed=3)
    x, y = drives[0, 0], readouts[0, 0]
    each, _ = followed(drives[:, 0], readouts[:, 0], bent=True, steps=25, units=())
    z = each.belief.mean.clone().requires_grad_()
    at = z * torch.tensor(DEVIATIONS)
    misfit = (Toy(True, Shift(at[:2], at[2:]))(x, {}) - y) / SIGMA
    (slope,) = torch.autograd.grad((misfit.square().sum() + z.square().sum()) / 2, z)
    assert float(slope.abs().max()) < 1e-6 * float(misfit.detach().square().sum() + 1)
    found = calibrate(Toy(True), x, y, prior=PRIOR, noise=SIGMA)
    torch.testing.assert_close(found.twin.mismatch.gain, at[:2].detach(), rtol=1e-4, atol=1e-5)


# What it is for ---------------------------------------------------------------------------------


def test_it_knows_how_well_it_knows():
    truth, drives, readouts = world(units=60, days=15, count=1)
    _, beliefs = followed(drives, readouts)
    off = (truth[-1] / torch.tensor(DEVIATIONS) - beliefs[-1].mean).unsqueeze(-1)
    squares = (off.mT @ torch.linalg.solve(beliefs[-1].covariance, off)).flatten()
    # Chi-squared of 60 · 3 degrees of freedom over them: 1 ± 0.105.
    assert abs(float(squares.mean()) / 3 - 1) < 0.32
    # One number a day cannot tell three: yesterday is what the rest is known from.
    _, today = followed(drives[-1:], readouts[-1:])
    less = beliefs[-1].covariance.diagonal(dim1=-2, dim2=-1).mean()
    assert less < 0.5 * today[0].covariance.diagonal(dim1=-2, dim2=-1).mean()


def test_surprise_is_one_on_average_and_that_of_the_innovation():
    _, drives, readouts = world(units=60, days=15, count=1)
    each = DriftFilter(Toy(), prior=PRIOR, walk=WALK, noise=SIGMA, units=(60,))
    assert each.surprise.shape == (60,) and bool(each.surprise.isnan().all())
    found = []
    for day, (x, y) in enumerate(zip(drives, readouts)):
        if day:
            each.advance()
        mean, covariance = each.belief
        each.update(x, y)
        found.append(each.surprise)
        # One number is read, which tells one combination: by the textbook nu^2 / S.
        h = torch.cat([x, torch.ones(60, 1, 1, dtype=WIDE)], -1) * torch.tensor(DEVIATIONS)
        innovation = y - (x * torch.tensor([1.0, 2.0])).sum(-1, keepdim=True)
        innovation = innovation - h @ mean.unsqueeze(-1)
        expected = innovation.square() / (h @ covariance @ h.mT + SIGMA**2)
        torch.testing.assert_close(each.surprise, expected.flatten(), rtol=1e-6, atol=1e-9)
    # 900 values of chi-squared with one degree of freedom: a mean of 1 ± 0.047.
    assert abs(float(torch.stack(found).mean()) - 1) < 0.15


def test_a_jump_surprises_and_time_finds_the_unit_again():
    truth, drives, readouts = world(units=1, days=12, count=20)
    each, _ = followed(drives[:, 0], readouts[:, 0], units=())
    assert float(each.surprise) < 6
    jumped = truth[-1, 0] + torch.tensor([1.5, 0.0, 0.0])
    x = drives[-1, 0]
    y = Toy(False, Shift(jumped[:2], jumped[2:]))(x, {})
    each.advance()
    each.update(x, y)
    assert float(each.surprise) > 20
    off = (each.belief.mean * torch.tensor(DEVIATIONS) - jumped).norm()
    each.advance(1000)
    each.update(x, y)
    there = (each.belief.mean * torch.tensor(DEVIATIONS) - jumped).norm()
    assert float(there) < 0.2 * float(off)


def test_a_circuit_is_followed_from_one_waveform_a_day():
    nominal, spread = Circuit(samples=30), CircuitSpread()
    first: Any = spread.single(nominal, seed=5)
    walk = {"temperature": 4.0, "C": 0.02}
    each = DriftFilter(nominal, prior=spread, walk=walk, noise=1e-3)
    drives = random_drives(nominal.ports, 6, low=-2.0, high=2.0, seed=1)
    errors = []
    for day in range(6):
        moved = {n: getattr(first.mismatch, n) + 1.5 * s * day for n, s in walk.items()}
        unit = first.with_mismatch(dataclasses.replace(first.mismatch, **moved))
        if day:
            each.advance()
        drive = drives[day : day + 1]
        each.update(drive, unit(drive, {}), steps=3)
        answer = unit(drives, {})
        errors.append(float((each.twin(drives, {}) - answer).norm() / answer.norm()))
    stale = float((first(drives, {}) - answer).norm() / answer.norm())
    # It believes in a noise of 1 mV, which is 0.2 % here.
    assert errors[-1] < 0.004 < 0.02 < stale
    unmeasured = (5.0**2 + 5 * walk["temperature"] ** 2) ** 0.5
    assert float(each.deviation["temperature"]) < 0.7 * unmeasured


def test_noise_that_nobody_tells_is_estimated():
    _, drives, readouts = world(units=5, days=3, count=200)
    told, _ = followed(drives, readouts)
    found, _ = followed(drives, readouts, noise=None, steps=8)
    torch.testing.assert_close(found.belief.mean, told.belief.mean, rtol=0.05, atol=0.02)
    ratio = (found.belief.covariance.diagonal(dim1=-2, dim2=-1)
             / told.belief.covariance.diagonal(dim1=-2, dim2=-1))  # fmt: skip
    # A deviation from 200 numbers is known to 5 %, a variance to 10 %.
    assert bool(((ratio - 1).abs() < 0.35).all())


def test_the_walk_is_learned_from_what_was_believed():
    _, drives, readouts = world(units=60, days=20, count=3, seed=2)
    walk: Any = {name: 3 * step for name, step in WALK.items()}  # a bad guess
    for _ in range(4):
        _, beliefs = followed(drives, readouts, walk=walk)
        walk = learn_walk(Toy(), PRIOR, beliefs)
    found = np.concatenate([walk["gain"].numpy(), walk["offset"].numpy()])
    np.testing.assert_allclose(found, STEPS, rtol=0.25)


def test_time_that_passes_widens_and_moves_nothing():
    each, _ = followed(*world(units=2, days=1, count=2)[1:])
    before = each.belief
    each.advance(4.0)
    grown = each.belief.covariance - before.covariance
    expected = torch.tensor(4 * (STEPS / DEVIATIONS) ** 2).diag().expand(2, 3, 3)
    torch.testing.assert_close(grown, expected, rtol=1e-9, atol=1e-12)
    assert each.belief.mean.equal(before.mean)


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["nan", "shape", "units", "steps"])
def test_readouts_that_are_refused_change_nothing(wrong):
    _, drives, readouts = world(units=2, days=1, count=2)
    each, _ = followed(drives, readouts)
    before, given = each.belief, {}
    x, y = drives[0], readouts[0].clone()
    if wrong == "nan":
        y[0, 0] = torch.nan
    elif wrong == "shape":
        y = y[:, :1]
    elif wrong == "units":
        x, y = x[:1], y[:1]
    else:
        given = {"steps": 0}
    with pytest.raises(ValueError):
        each.update(x, y, **given)
    assert each.belief is before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"walk": {"gian": 0.1}}, "walk"),
        ({"walk": {"gain": -0.1}}, r"walk\['gain'\]"),
        ({"noise": 0.0}, "noise"),
    ],
)
def test_what_makes_no_filter_is_refused(given, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        DriftFilter(Toy(), **{"prior": PRIOR, "walk": WALK, **given})
    with pytest.raises(ValueError, match="`intervals`"):
        DriftFilter(Toy(), prior=PRIOR, walk=WALK).advance(-1.0)
    with pytest.raises(ValueError, match="`followed`"):
        learn_walk(Toy(), PRIOR, [Belief(torch.zeros(3), torch.eye(3))])
