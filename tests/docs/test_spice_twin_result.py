"""The script of twins of ngspice circuits: what it draws, what it expects, what it stores."""

from __future__ import annotations

import dataclasses
import math

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
        {
            "unit": 20_000 + n,
            "seconds": 1.0,
            **{kind: 0.01 * (n + 1) for kind in kinds},
            "off": {kind: dict.fromkeys(script.COMBINATIONS, 0.1 * n) for kind in kinds},
        }
        for n in range(3)
    ]
    found = script.stored(rows)
    assert found["mean"] == 0.02 and found["worst"] == 0.03 and found["seconds"] == 3.0
    assert found["baselines"]["uncalibrated, worst"] == 0.03
    assert found["components"]["2 steps"]["L C"] == pytest.approx((0.05 / 3) ** 0.5)
    assert (
        found["units"] == [20_000, 20_001, 20_002] and "2 steps, median" not in found["baselines"]
    )


def test_a_common_scale_of_the_impedances_changes_no_combination_that_can_be_told() -> None:
    unit, up = script.drawn(3), 1.1
    mismatch = unit.mismatch
    scaled = {n: up * (1 + getattr(mismatch, n)) - 1 for n in ("R1", "RL", "Rb", "L")}
    other = dataclasses.replace(mismatch, **scaled, C=(1 + mismatch.C) / up - 1)
    found = script.combinations(unit, unit.with_mismatch(other))
    for label in ("L C", "R C", "Rb / R"):
        assert found[label] == pytest.approx(0.0, abs=1e-6)
    for label in ("L", "R"):
        assert found[label] == pytest.approx(math.log(up), abs=1e-6)
    nominal, _ = script.expected()
    of = script.components(nominal)
    assert (of["R"], of["L"], of["C"]) == (103.0, 1e-3, 1e-8)
    longer = dataclasses.replace(mismatch, C=1.02 * (1 + mismatch.C) - 1)
    more = script.combinations(unit, unit.with_mismatch(longer))
    assert more["L C"] == pytest.approx(math.log(1.02), abs=1e-6) and more["L"] == 0
