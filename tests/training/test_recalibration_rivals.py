"""The rivals of recalibration: a classical fit, labels, other units, training without a budget."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metaphys.training.recalibration import (
    RecalibrationConfig,
    always,
    build,
    cancelled,
    gauss_newton,
    on_twin,
    trained,
)

UNIT = 20_000


@pytest.fixture(autouse=True)
def single_precision() -> Any:
    torch.set_default_dtype(torch.float32)


# The classical rival ---------------------------------------------------------------------------


def test_the_fit_estimates_the_noise_that_it_was_not_told() -> None:
    setting = build(RecalibrationConfig(system="plate", layers=2, noise=0.02))
    layers, (truth, _) = setting.measurements(UNIT, 17), setting.simulated(UNIT)
    known = gauss_newton(setting.guess, layers, 17, draws=100)
    # All of a budget is spent, as far as the layers share it evenly.
    assert known.calls == 16 and [layer.calls for layer in layers] == [8, 8]
    drives, _ = layers[0].first(8)
    for posterior, population in zip(known.posteriors, setting.populations, strict=True):
        assert posterior.noise == pytest.approx(population.noise, rel=0.2)
        assert posterior.noise < 0.5 * setting.guess.noise
    plates = (known.twin[0], *setting.nominal[:1])
    off = [(plate(drives, {}) - truth(drives, {})).norm() for plate in plates]
    assert off[0] < 0.3 * off[1]


def test_exact_readouts_leave_little_noise() -> None:
    setting = build(RecalibrationConfig())
    known = gauss_newton(setting.guess, setting.measurements(UNIT, 40), 40)
    # What the first round's regularisation left unexplained, far below the guess of 0.01.
    assert 1e-5 <= known.posteriors[0].noise < 3e-4
    offset = setting.simulated(UNIT)[0].mismatch.coupling
    error = known.twin[0].mismatch.coupling - (offset + offset.mT) / 2
    assert error.fill_diagonal_(0).norm() < 0.02 * offset.norm()


def test_training_is_on_the_most_probable_twin_after_what_can_be_cancelled() -> None:
    setting = build(RecalibrationConfig(coupling_limit=4.0, batch=10, twin_steps=3))
    known = gauss_newton(setting.guess, setting.measurements(UNIT, 10), 10)
    start = setting.initial(0)
    corrected = cancelled(start, known.twin[0].mismatch.coupling, limit=4.0)
    expected = trained(setting, corrected, always(known.twin), ("a test",))
    found = on_twin(setting, start, known, ("a test",))
    assert all(found[name].equal(expected[name]) for name in start)
    assert not any(found[name].equal(corrected[name]) for name in start)
