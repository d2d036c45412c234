"""Every way to get controls for a unit that is judged, ours and the rivals'."""

from __future__ import annotations

import time
from collections.abc import Mapping

from metaphys.training._draws import Params
from metaphys.training.recalibration._attempts import Attempt, Attempts
from metaphys.training.recalibration._classical import gauss_newton, on_twin
from metaphys.training.recalibration._fine_tuning import Kind, fine_tuned
from metaphys.training.recalibration._prior import Prior
from metaphys.training.recalibration._recalibrate import Known, adapted, identify
from metaphys.training.recalibration._setting import Setting


def untouched(params: Params) -> Attempts:
    """The same controls on every unit."""
    return lambda unit: [Attempt(params)]


def recalibrated(setting: Setting, prior: Prior, start: Params) -> Attempts:
    """Ours: the posterior under the learned prior, and training on draws of it; for each budget."""
    config = setting.config

    def attempts(unit: int) -> list[Attempt]:
        found: list[Attempt] = []
        last: Known | None = None
        measured = setting.measurements(unit, config.budgets[-1])
        for known in identify(prior, measured, config.budgets):
            if last is None or not known.same(last):
                began, last = time.perf_counter(), known
                params = adapted(setting, start, known, (config.seed, unit))
                spent = time.perf_counter() - began
            found.append(Attempt(params, 0, known.calls, known.seconds + spent))
        return found

    return attempts


def classical(setting: Setting, start: Params, draws: int) -> Attempts:
    """Gauss-Newton under the guess, and as much training on its twin; for each budget."""
    config = setting.config

    def attempts(unit: int) -> list[Attempt]:
        found, measured = [], setting.measurements(unit, config.budgets[-1])
        for budget in config.budgets:
            began = time.perf_counter()
            known = gauss_newton(setting.guess, measured, budget, draws=draws)
            params = on_twin(setting, start, known.twin, (config.seed, unit))
            found.append(Attempt(params, 0, known.calls, time.perf_counter() - began))
        return found

    return attempts


def with_labels(setting: Setting, start: Params, name: str, chosen: Mapping[int, Kind]) -> Attempts:
    """Fine-tuning at the rate that was chosen for each budget."""

    def attempts(unit: int) -> list[Attempt]:
        return [
            fine_tuned(
                setting,
                start,
                setting.devices(unit, purpose=f"{name}, {budget} calls"),
                unit,
                budget,
                kind,
            )
            for budget, kind in chosen.items()
        ]

    return attempts
