"""The script of twins of ngspice circuits: what it draws, what it expects, what it stores."""

from __future__ import annotations

import pytest
import torch

from tests.docs.scripts import result_script

script = result_script("spice_twin")


def test_units_are_what_the_prior_expects() -> None:
    nominal, prior = script.expected()
    drawn = [script.drawn(seed).mismatch for seed in range(200)]
    assert set(prior) == {"R1", "L", "RL", "C", "Rb", "Rc", "Bf", "temperature"}
    for name, deviation in prior.items():
        values = torch.stack([getattr(mismatch, name) for mismatch in drawn])
        mean = getattr(nominal.mismatch, name)
        # 200 uniform draws: the mean is right to 7 % of a deviation, the deviation to 3 %.
        centre = 0.0 if mean is None else float(mean)
        assert float(values.mean()) == pytest.approx(centre, abs=0.25 * float(deviation))
        assert float(values.std()) == pytest.approx(float(deviation), rel=0.12)
    celsius = [27 + float(mismatch.temperature) for mismatch in drawn]
    assert -20 <= min(celsius) < -10 and 50 < max(celsius) <= 60
    assert all(float(mismatch.Is) == 0 for mismatch in drawn)


def test_what_is_stored_is_of_the_rows() -> None:
    kinds = ("uncalibrated", *script.STEPS)
    rows = [
        {"unit": 20_000 + n, "seconds": 1.0, **{kind: 0.01 * (n + 1) for kind in kinds}}
        for n in range(3)
    ]
    found = script.stored(rows)
    assert found["mean"] == 0.02 and found["worst"] == 0.03 and found["seconds"] == 3.0
    assert found["baselines"]["uncalibrated, worst"] == 0.03
    assert (
        found["units"] == [20_000, 20_001, 20_002] and "2 steps, median" not in found["baselines"]
    )
