"""Units never seen before of crystals, plates and circuits: ``recalibration-shg-vowels.json`` ….

Run as ``python docs/results/recalibration_units.py shg-vowels --data-root VOWELS`` (or with
``plate-mnist``, ``circuit-mnist`` and the folder of MNIST). Starts, the prior and a row for every
unit and method are stored as they are done; a stopped script goes on where it was, and the result
is made of the rows that are there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from _book import Book
from _recalibration_settings import (
    BEGUN,
    EXPERIMENTS,
    FULL_LR,
    NOMINAL_STEPS,
    TRAINING_UNITS,
    build_setting,
    richer,
)
from _rows import linear, with_validation

import metaphys
from metaphys._runs import RunDirectory, load_tree, save_tree
from metaphys.data import Split
from metaphys.physics import Device, PhysicsAware
from metaphys.training._adaptation import cross_entropy
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS, Params
from metaphys.training._flat import courses, ended
from metaphys.training.recalibration import (
    Known,
    Prior,
    Setting,
    Unit,
    adapted,
    always,
    gauss_newton,
    identify,
    imagined,
    learn_prior,
    learn_start,
    on_twin,
)
from metaphys.training.recalibration._full import full_training

PASSES = ((3, 1, 3, 1), (6, 1, 6, 2), (20, 1, 10, 3), (20, 3, 20, 5))
"""Units and seeds of ours, units of the rivals and of full training, in the passes over all:
wherever it is stopped, every method has been on some units."""
FINE_STEPS = 5
RATES = {"SGD": (0.03, 0.3, 3.0), "Adam": (0.003, 0.01, 0.03)}
TUNING = 3
POPULATION = "population start"
ANOTHER = 5
"""The training unit whose weights are moved."""


class Experiment:
    """One system on one data set."""

    def __init__(self, name: str, data_root: Path, runs: Path) -> None:
        self.config = dataclasses.replace(EXPERIMENTS[name], data_root=data_root)
        nominal = build_setting(self.config)
        self.setting: Setting = richer(nominal)
        self.begun = BEGUN.get(self.config.system, "in silico")
        self.rivals = rivals(nominal.guess, self.setting.guess, self.begun)
        self.folder = runs / f"recalibration-{name}"
        self.book = Book(self.folder / "rows.jsonl")
        self.layers = len(self.setting.nominal)
        self.identified: dict[int, list[Known]] = {}

    # What is learned on training units ------------------------------------------------------

    def prior(self) -> Prior:
        """The learned prior."""
        config, guess, file = self.config, self.setting.guess, self.folder / "prior.json"
        if not file.exists():
            many = self.layers * config.prior_calls
            units = [
                layer
                for unit in range(config.prior_units)
                for layer in self.setting.measurements(unit, many)
            ]
            found = learn_prior(guess, units, config.prior_calls, config.prior_rounds)
            moments = found.unknowns.moments().tolist()
            file.write_text(json.dumps({"moments": moments, "noise": found.noise}))
        stored = json.loads(file.read_text())
        moments = torch.tensor(stored["moments"], dtype=torch.float64)
        unknowns = guess.unknowns.with_moments(moments)
        return guess._replace(unknowns=unknowns, noise=stored["noise"])

    def start(self, kind: str, seed: int) -> Params:
        """Controls that were trained on the nominal unit, or over the population."""
        file = self.folder / f"{kind}-{seed}.safetensors".replace(" ", "-")
        initial, config = self.setting.initial(seed), self.config
        if file.exists():
            return load_tree(file, initial)
        units, steps = always(self.setting.nominal), config.start_steps
        if kind == POPULATION:
            units = self.population(seed, kind)
        else:
            steps = NOMINAL_STEPS.get(config.system, steps)
        rate = config.start_lr or config.rate
        learned = learn_start(self.setting, initial, units, steps=steps, lr=rate, key=(seed, kind))
        save_tree(file, learned, {"kind": kind})
        return learned

    def population(self, *key: object) -> Callable[[int], Unit]:
        """Training units; of crystals, which cost ten times their twins, imagined ones."""
        if self.config.system == "shg":
            return imagined(self.prior(), self.layers, *key)
        known = cache(lambda n: self.setting.training_unit(*key, n))
        return lambda step: known(step % TRAINING_UNITS)

    # Judging --------------------------------------------------------------------------------

    def judge(self, params: Params, unit: int) -> float:
        """Accuracy on test samples, measured; these calls are nobody's budget."""
        setting = self.setting
        return setting.accuracy(params, setting.devices(unit), setting.data.test)

    def looked_at(self, params: Params, unit: int) -> float:
        """Accuracy on samples that judge nothing, to choose by."""
        setting = self.setting
        samples = with_validation(setting.data).validation
        return setting.accuracy(params, setting.devices(unit), samples)

    def add(
        self, method: str, seed: int, unit: int, calls: int, params: Params, **more: Any
    ) -> None:
        """Judge and store."""
        value = round(self.judge(params, unit), 6)
        self.book.add(method=method, seed=seed, unit=unit, calls=calls, accuracy=value, **more)

    def has(self, method: str, seed: int, unit: int) -> bool:
        """Whether a method was judged on a unit."""
        return self.book.has(method=method, seed=seed, unit=unit)

    def linear(self) -> float:
        """A linear classifier on the same inputs, of at most 10,000 training samples."""
        file, data = self.folder / "linear.json", self.setting.data
        if not file.exists():
            few = Split(data.train.inputs[:10_000], data.train.targets[:10_000])
            file.write_text(json.dumps(linear(few, data.test)))
        return json.loads(file.read_text())

    # Methods --------------------------------------------------------------------------------

    def zero_shot(self, unit: int, seed: int) -> None:
        """Starts as they are, and what was made for another unit."""
        for kind in ("in silico", POPULATION):
            if not self.has(kind, seed, unit):
                self.add(kind, seed, unit, 0, self.start(kind, seed))
        if seed == 0 and not self.has("another unit's", seed, unit):
            self.add("another unit's", seed, unit, 0, self.of_another())

    def of_another(self) -> Params:
        """Controls that were made for a training unit."""
        file, start = self.folder / "another.safetensors", self.start("in silico", 0)
        if not file.exists():
            most = self.config.budgets[-1:]
            (known,) = identify(self.prior(), self.setting.measurements(ANOTHER, most[0]), most)
            save_tree(file, adapted(self.setting, start, known, (0, "other")), {})
        return load_tree(file, start)

    def ours(self, unit: int, seed: int) -> None:
        """The posterior under the learned prior, and training on draws of it."""
        budgets = self.config.budgets
        if self.has(f"recalibrated, {budgets[-1]} calls", seed, unit):
            return
        for budget, known in zip(budgets, self.known(unit), strict=True):
            method = f"recalibrated, {budget} calls"
            if not self.has(method, seed, unit):
                params = adapted(self.setting, self.start(self.begun, seed), known, (seed, unit))
                self.add(method, seed, unit, known.calls, params)

    def known(self, unit: int) -> list[Known]:
        """What each budget tells of a unit; it does not depend on a seed."""
        if unit not in self.identified:
            measured = self.setting.measurements(unit, self.config.budgets[-1])
            self.identified[unit] = identify(self.prior(), measured, self.config.budgets)
        return self.identified[unit]

    def classical(self, unit: int) -> None:
        """Gauss-Newton under each guess, then as much training on the most probable twin."""
        for words, (guess, kind) in self.rivals.items():
            for budget in self.config.budgets:
                method = f"Gauss-Newton{words} + training on the twin, {budget} calls"
                if not self.has(method, 0, unit):
                    measured = self.setting.measurements(unit, budget)
                    known = gauss_newton(guess, measured, budget, draws=guess.draws)
                    start = self.start(kind, 0)
                    params = on_twin(self.setting, start, known.twin, (0, unit))
                    self.add(method, 0, unit, known.calls, params)

    def fine_tuned(self, units: Sequence[int]) -> None:
        """A few physics-aware steps on labels, as many calls; the rate is a tuning unit's best."""
        tuning = [VALIDATION_UNITS + n for n in range(TUNING)]
        for kind in ("in silico", POPULATION):
            method = f"{kind} + fine-tuning, {self.config.budgets[-1]} calls"
            if all(self.has(method, 0, unit) for unit in units):
                continue
            recipe = self.book_of_rates(kind, tuning)
            for unit in units:
                if not self.has(method, 0, unit):
                    params, calls = self.few_steps(kind, unit, *recipe)
                    self.add(method, 0, unit, calls, params)

    def book_of_rates(self, kind: str, tuning: Sequence[int]) -> tuple[str, float]:
        """Optimizer and rate, chosen on units that are not judged."""
        file = self.folder / f"rate-{kind}.json".replace(" ", "-")
        if not file.exists():
            found = {}
            for name, rates in RATES.items():
                for rate in rates:
                    moved = (self.few_steps(kind, unit, name, rate)[0] for unit in tuning)
                    found[name, rate] = sum(map(self.looked_at, moved, tuning))
            file.write_text(json.dumps(max(found, key=lambda each: found[each])))
        name, rate = json.loads(file.read_text())
        return name, rate

    def few_steps(self, kind: str, unit: int, name: str, rate: float) -> tuple[Params, int]:
        """Five steps on the unit, backward through the nominal twins."""
        setting, devices = self.setting, self.setting.devices(unit)
        samples = self.config.budgets[-1] // (self.layers * FINE_STEPS)
        few = dataclasses.replace(self.config, batch=samples)
        setting = dataclasses.replace(setting, config=few)
        moved = tuple(PhysicsAware(d, twin) for d, twin in zip(devices, setting.nominal))
        rule = {"SGD": metaphys.sgd, "Adam": metaphys.adam}[name](lr=rate)
        params = self.start(kind, 0)
        state = rule.init(params)
        for index in range(FINE_STEPS):
            inputs, targets = setting.batch("fine-tuning", unit, index)
            held = {n: value.detach().requires_grad_() for n, value in params.items()}
            loss = cross_entropy(setting.logits(held, inputs, moved), targets)
            grads = torch.autograd.grad(loss, list(held.values()))
            updates, state = rule.update(dict(zip(held, grads)), state, params)
            params = metaphys.apply_updates(params, updates, inplace=False)
        return params, calls_of(devices)

    def fully(self, unit: int) -> None:
        """Training by the exact gradient of the unit's own physics until it is flat: a bound."""
        method = "full training"
        if self.has(method, 0, unit):
            return
        setting = dataclasses.replace(self.setting, data=with_validation(self.setting.data))
        lr = FULL_LR.get(self.config.system)
        training = full_training(setting, self.start(self.begun, 0), unit, lr=lr)
        begun, step, epochs = training
        run = RunDirectory(self.folder / "full", {"limit": epochs.limit}, resume=True)
        end = run.run_phase(f"unit-{unit}", begun, step, training.limit, until=ended)
        (course,) = courses(end)
        self.add(method, 0, unit, self.layers * epochs.measured(course), end.best, epochs=course)


class Rival(NamedTuple):
    """What classical identification begins with: a guess that nobody learned, and a start."""

    guess: Prior
    start: str = "in silico"


def rivals(stated: Prior, guess: Prior, begun: str = "in silico") -> dict[str, Rival]:
    """The classical rivals, by what tells them apart.

    Args:
        stated: of the nominal twin, as wide as twice the tolerances.
        guess: of the twin whose prior is learned.
        begun: the start that ours begins at.
    """
    alone = Rival(stated._replace(draws=0))
    found = {"": alone}
    if stated.draws:
        found[f" from the nearest of {stated.draws} draws"] = Rival(stated)
    if guess.unknowns is not stated.unknowns:
        found[f", {POPULATION}"] = alone._replace(start=POPULATION)
        found[" of the richer twin"] = Rival(guess)
        if begun != "in silico":
            found[f" of the richer twin, {begun}"] = Rival(guess, begun)
    return found


def calls_of(devices: Sequence[Device]) -> int:
    """Device calls of a unit so far."""
    return sum(device.calls for device in devices)


def stages(
    experiment: Experiment, units: range, judged: int, seeds: int, rivals: int, full: int
) -> list[Callable[[], Any]]:
    """What one pass does."""
    e = experiment
    both = [(unit, seed) for seed in range(seeds) for unit in units[:judged]]
    return [
        *(lambda unit=unit, seed=seed: e.zero_shot(unit, seed) for unit, seed in both),
        *(lambda unit=unit, seed=seed: e.ours(unit, seed) for unit, seed in both),
        *(lambda unit=unit: e.fully(unit) for unit in units[:full]),
        *(lambda unit=unit: e.classical(unit) for unit in units[:rivals]),
        lambda: e.fine_tuned(units[:rivals]),
    ]


def main(
    name: Annotated[Literal["shg-vowels", "plate-mnist", "circuit-mnist"], tyro.conf.Positional],
    data_root: Path,
    passes: int = len(PASSES),
    runs: Path = Path("runs"),
) -> None:
    """Run what is left of it, and store the result.

    Args:
        name: the experiment.
        data_root: the folder of the data set's files.
        passes: how many of the passes, each over more units.
        runs: where run directories are.
    """
    from recalibration_units_table import store

    torch.set_num_threads(1)
    experiment = Experiment(name, data_root, runs)
    setting = experiment.setting
    units = range(TEST_UNITS, TEST_UNITS + experiment.config.units)
    for counts in PASSES[:passes]:
        for stage in stages(experiment, units, *counts):
            with experiment.book.timed():
                stage()
            store(setting, experiment.book, name, linear=experiment.linear())


if __name__ == "__main__":
    tyro.cli(main)
