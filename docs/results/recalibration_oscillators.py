"""Units never seen before, MNIST 7x7 on 59 oscillators: ``recalibration-oscillators-mnist*.json``.

Run as ``python docs/results/recalibration_oscillators.py --data-root MNIST``. Everything is stored
as it is done, in run directories: what was learned, and a row for every unit and method; a stopped
script goes on where it was. ``recalibration_oscillators_table.py`` makes the results of the rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from _book import Book
from torch import Tensor

from metaphys._runs import load_tree, save_tree
from metaphys.physics import OscillatorUnknowns, infer
from metaphys.training._data import choosing
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS, Params, generator
from metaphys.training._judge import fine_tuning, judge
from metaphys.training.recalibration import (
    Known,
    Measurement,
    Prior,
    RecalibrationConfig,
    Setting,
    Unit,
    adapted,
    always,
    build,
    cancelled,
    identify,
    learn_prior,
    learn_start,
    problem_of,
    trained,
)

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
BUDGETS = (50, 100, 250)
PASSES = ((5, 1, 1), (10, 3, 2), (20, 5, 5))
"""Test units of all methods, of the classical rivals and of full training, in the passes over all:
wherever it is stopped, every method has been on some units."""
EPOCHS_FLAT, LOOKED_AT = 5, 500
"""Epochs without a better one that end full training, and validation images of each."""


VARIANTS: dict[str, dict[str, Any]] = {
    "1": {"spread": 1.0},
    "2": {"spread": 2.0},
    "uncancellable": {"spread": 1.0, "gain_spread": 0.05, "noise": 0.02},
}
"""Populations by name. The last has a gain of its own in every oscillator, which no control takes
back, noise, and 8-bit converters of the controls."""


class Experiment:
    """One population, with or without a limit of the couplings."""

    def __init__(self, data_root: Path, variant: str, limit: float | None, runs: Path) -> None:
        self.config = RecalibrationConfig(
            data_root=data_root,
            coupling_limit=limit,
            bits=8 if variant == "uncancellable" and limit is not None else None,
            budgets=BUDGETS,
            **VARIANTS[variant],
        )
        self.setting: Setting = build(self.config)
        self.folder = runs / f"recalibration-oscillators-{variant}"
        self.label = "no limit" if limit is None else f"limit {limit:g}"
        self.book = Book(self.folder / "rows.jsonl")
        self.limit, self.seeds = limit, SEEDS
        if limit is None:  # beside the table, where a table is about what can be cancelled
            self.seeds = () if variant == "uncancellable" else SEEDS[:1]

    # What is learned on training units ------------------------------------------------------

    def measurement(self, unit: int, most: int = BUDGETS[-1]) -> Measurement:
        """A unit, of which nothing was measured yet."""
        (found,) = self.setting.measurements(unit, most)
        return found

    def prior(self) -> Prior:
        """The learned prior; one for both limits."""
        config, file = self.config, self.folder / "prior.json"
        (array,) = self.setting.nominal
        if not file.exists():
            units = [self.measurement(k, config.prior_calls) for k in range(config.prior_units)]
            found = learn_prior(self.guess(), units, config.prior_calls, config.prior_rounds)
            unknowns: Any = found.unknowns
            stored = {
                "coupling": unknowns.coupling,
                "gain": unknowns.gain,
                "gain_deviation": unknowns.gain_deviation,
                "per_oscillator": unknowns.per_oscillator,
                "noise": found.noise,
            }
            file.write_text(json.dumps(stored))
        stored = json.loads(file.read_text())
        noise = stored.pop("noise")
        return Prior(OscillatorUnknowns(array, **stored), noise)

    def guess(self) -> Prior:
        """What is thought of the population before a unit was seen."""
        return self.setting.guess

    def start(self, kind: str, seed: int) -> Params:
        """Controls that were trained in one of three ways."""
        setting, config = self.setting, self.config
        # Training in silico sees no unit: one for all spreads.
        folder = (
            self.folder.parent / "recalibration-nominal" if kind == "in silico" else self.folder
        )
        file = folder / f"{self.label}-{kind}-{seed}.safetensors".replace(" ", "-")
        initial = setting.initial(seed)
        if file.exists():
            return load_tree(file, initial)
        key = (seed, kind)
        unknowns = self.prior().unknowns

        def imagined(index: int) -> Unit:
            z = torch.randn(unknowns.size, generator=generator(*key, "unit", index))
            return (unknowns.system(z),)

        units: dict[str, Callable[[int], Unit]] = {
            "in silico": always(setting.nominal),
            "population": lambda index: setting.training_unit(*key, index),
            "meta": imagined,
        }
        learned = learn_start(
            setting,
            initial,
            units[kind],
            steps=config.start_steps,
            lr=config.rate,
            key=key,
            correction=setting.correct if kind == "meta" else None,
        )
        save_tree(file, learned, {"kind": kind})
        return learned

    # Judging ----------------------------------------------------------------------------------

    def accuracy(self, params: Params, unit: int) -> float:
        """On all test images, measured on the unit; these calls are nobody's budget."""
        setting = self.setting
        return setting.accuracy(params, setting.devices(unit), setting.data.test)

    def add(self, method: str, seed: int, unit: int, budget: int, calls: int, value: float) -> None:
        """Store what a method reached."""
        self.book.add(
            label=self.label,
            method=method,
            seed=seed,
            unit=unit,
            budget=budget,
            calls=calls,
            accuracy=round(value, 6),
        )

    def missing(self, method: str, unit: int, seed: int = 0) -> bool:
        """Whether a method was not judged on a unit yet."""
        return not self.book.has(label=self.label, method=method, unit=unit, seed=seed)


def held_out(config: RecalibrationConfig) -> range:
    """The units that judge."""
    return range(TEST_UNITS, TEST_UNITS + config.units)


def recalibrated(experiments: list[Experiment], units: range, *, first: bool) -> None:
    """Our method, on every unit; it is measured once for all limits and seeds."""
    prior = experiments[0].prior()
    for unit in units:
        todo = [
            (experiment, seed)
            for experiment in experiments
            for seed in (experiment.seeds[:1] if first else experiment.seeds)
            if experiment.missing("recalibrated", unit, seed)
        ]
        known = identify(prior, [experiments[0].measurement(unit)], BUDGETS) if todo else []
        for experiment, seed in todo:
            _adapt(experiment, unit, seed, known)


def _adapt(experiment: Experiment, unit: int, seed: int, known: list[Known]) -> None:
    setting, start = experiment.setting, experiment.start("meta", seed)
    rows, value, last = [], 0.0, None
    for budget, each in zip(BUDGETS, known, strict=True):
        if last is None or not each.same(last):  # else the controls are the same, too
            offset = _offset(each)
            params = cancelled(start, offset, experiment.limit)
            bare = value = experiment.accuracy(params, unit)
            if experiment.limit is not None:  # else nothing is left to be trained away
                value = experiment.accuracy(adapted(setting, start, each, (seed, unit)), unit)
            last = each
        reached = {"cancelled alone": bare, "recalibrated": value}
        rows += [(name, budget, each.calls, at) for name, at in reached.items()]
    for method, budget, calls, reached in rows:
        experiment.add(method, seed, unit, budget, calls, reached)


ZERO_SHOT = {"in silico": "in silico", "population": "population start", "other": "another unit's"}


def zero_shot(
    experiment: Experiment, units: range, seeds: Sequence[int], kinds: Sequence[str]
) -> None:
    """Starts without any adaptation, and weights that were made for another unit."""
    for seed in seeds:
        for kind in kinds:
            name = ZERO_SHOT[kind]
            if not any(experiment.missing(name, unit, seed) for unit in units):
                continue
            start = experiment.start(kind, seed) if kind != "other" else _of_another(experiment)
            for unit in units:
                if experiment.missing(name, unit, seed):
                    experiment.add(name, seed, unit, 0, 0, experiment.accuracy(start, unit))


def _of_another(experiment: Experiment) -> Params:
    """What was made for a training unit."""
    measured = experiment.measurement(5, BUDGETS[0])
    (known,) = identify(experiment.prior(), [measured], BUDGETS[:1])
    return adapted(experiment.setting, experiment.start("meta", 0), known, (0, "other"))


def _offset(known: Known) -> Tensor:
    (twin,) = known.twin
    return twin.mismatch.coupling


RATES = {"SGD": (0.3, 1.0, 3.0, 10.0), "Adam": (0.01, 0.03, 0.1)}


def tuned(experiment: Experiment, units: range) -> None:
    """Five steps of physics-aware fine-tuning on 50 labels, 250 calls; seed 0."""
    problem = problem_of(experiment.config)
    tuning = range(VALIDATION_UNITS, VALIDATION_UNITS + 6)
    for kind in ("in silico", "population"):
        method = f"{kind}{' start' if kind == 'population' else ''} + fine-tuning"
        if not experiment.missing(method, units[-1]):
            continue
        start, best = experiment.start(kind, 0), (-1.0, None)
        for optimizer, rates in RATES.items():
            for lr in rates:
                recipe = fine_tuning(optimizer, "cross entropy", lr)
                part = problem.choosing
                value = float(judge(problem, tuning, start, part, recipe=recipe).accuracy.mean())
                best = max(best, (value, recipe), key=lambda each: each[0])
        verdict = judge(problem, list(units), start, problem.data.test, recipe=best[1])
        for unit, value in zip(units, verdict.accuracy.tolist()):
            experiment.add(method, 0, unit, 250, verdict.device_calls, value)


def classical(experiments: list[Experiment], units: range) -> None:
    """Ridge and Gauss-Newton under a prior nobody learned, then training of the in-silico start."""
    first = experiments[0]
    guess: Any = first.guess().unknowns
    noise = first.config.noise
    # One linearised step extrapolates the gain to where the twin is of no use (a unit at 76 %):
    # ridge fits the couplings alone. 0.15 is near the best for couplings, on a validation unit.
    alone = dataclasses.replace(guess, gain_deviation=0.0, per_oscillator=False)
    kinds = {
        "Gauss-Newton": (guess, max(noise, 1e-3), 30, (50,) if noise == 0 else BUDGETS),
        "ridge on the couplings": (alone, 0.15, 1, BUDGETS),
    }
    for name, (unknowns, sigma, steps, budgets) in kinds.items():
        method = f"{name} + training on the fitted twin"
        for unit in units:
            todo = [e for e in experiments if e.missing(method, unit)]
            measured = first.measurement(unit)
            for budget in budgets if todo else ():
                drives, readouts = measured.first(budget)
                posterior = infer(
                    unknowns,
                    drives,
                    readouts,
                    noise=sigma,
                    controls=measured.controls,
                    steps=steps,
                )
                known = Known((posterior,), budget)
                for experiment in todo:
                    value = _on_twin(experiment, known, unit, name)
                    experiment.add(method, 0, unit, budget, budget, value)


def _on_twin(experiment: Experiment, known: Known, unit: int, name: str) -> float:
    """The in-silico start, cancelled and trained on the most probable twin."""
    start = cancelled(experiment.start("in silico", 0), _offset(known), experiment.limit)
    params = trained(experiment.setting, start, always(known.twin), (0, unit, name))
    return experiment.accuracy(params, unit)


def fully(experiment: Experiment, units: range) -> None:
    """Training on the unit itself until its validation accuracy is flat: an upper bound."""
    setting, config = experiment.setting, experiment.config
    epoch = len(setting.data.train) // config.batch
    part = choosing(setting.data, LOOKED_AT)
    for unit in units:
        if not experiment.missing("full training", unit):
            continue
        system: Any = setting.simulated(unit)[0]
        offset = (system.mismatch.coupling + system.mismatch.coupling.mT) / 2
        start = experiment.start("meta", 0)
        params = best = cancelled(start, offset.fill_diagonal_(0), experiment.limit)
        reached, flat, epochs = -1.0, 0, 0
        while flat < EPOCHS_FLAT:
            params = learn_start(
                setting, params, always((system,)), steps=epoch, lr=0.03, key=(unit, epochs)
            )
            with torch.no_grad():
                found = setting.logits(params, part.inputs, (system,)).argmax(-1)
            value = float((found == part.targets).double().mean())
            epochs += 1
            if value > reached:
                reached, best, flat = value, params, 0
            else:
                flat += 1
        calls = epochs * epoch * config.batch
        experiment.add("full training", 0, unit, -1, calls, experiment.accuracy(best, unit))


def stages(
    units: range, judged: int, rivals: int, full: int, *, first: bool
) -> list[Callable[[Experiment, Experiment], None]]:
    """What one pass does with the limited experiment and with the free one."""
    seeds = SEEDS[:1] if first else SEEDS
    free_kinds = ("in silico",) if first else tuple(ZERO_SHOT)
    return [
        lambda limited, free: recalibrated([limited, free], units[:judged], first=first),
        lambda limited, free: zero_shot(limited, units[:judged], seeds, tuple(ZERO_SHOT)),
        lambda limited, free: zero_shot(free, units[:judged], free.seeds, free_kinds),
        lambda limited, free: tuned(limited, units),
        lambda limited, free: fully(limited, units[:full]),
        lambda limited, free: classical([limited], units[:rivals]),
    ]


def main(
    data_root: Path,
    variants: tuple[str, ...] = tuple(VARIANTS),
    limit: float = 4.0,
    passes: int = len(PASSES),
    runs: Path = Path("runs"),
) -> None:
    """Run what is left of it.

    Args:
        data_root: the folder of MNIST's files.
        variants: the populations.
        limit: of the couplings; one seed of the first two is also done without.
        passes: how many of the passes, each over more units.
        runs: where run directories are.
    """
    torch.set_num_threads(1)
    pairs = [
        [Experiment(data_root, variant, each, runs) for each in (limit, None)]
        for variant in variants
    ]
    units = held_out(pairs[0][0].config)
    for number, counts in enumerate(PASSES[:passes]):
        for stage in stages(units, *counts, first=number == 0):
            for limited, free in pairs:
                with limited.book.timed():
                    stage(limited, free)


if __name__ == "__main__":
    tyro.cli(main)
