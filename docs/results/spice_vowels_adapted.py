"""Vowels on circuits in ngspice never seen before, few device calls: ``spice-vowels-adapted.json``.

Run as ``python docs/results/spice_vowels_adapted.py VOWELS`` with the folder of ``vowdata.dat``; it
needs ngspice. Network, units, start and full training are those of ``spice_vowels.py``. A few
random drives of each layer are measured; the posterior of the layer's components follows, and the
start is trained on circuits drawn from it, in this package, which costs no call. Rows are stored as
they are judged; a stopped script goes on where it was.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro
from _book import Book
from _rows import accuracy, fit, linear, scaled, with_validation
from _vowels import counted
from spice_vowels import EXPERIMENT, LAYERS, SPREAD, TWIN, circuits, in_ngspice, network
from spice_vowels_adapted_table import FULL, store
from torch import Tensor

import metaphys
from metaphys._runs import RunDirectory
from metaphys.data import Dataset, vowels
from metaphys.nn import FeatureNetwork, functional, run_on
from metaphys.physics import (
    Device,
    MismatchUnknowns,
    PhysicsAware,
    Population,
    SimulatedDevice,
    WithNoise,
)
from metaphys.training._adaptation import adapt, cross_entropy
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS, Params, generator, seed_of
from metaphys.training._epochs import Epochs
from metaphys.training._flat import UntilFlat, courses, ended, until_flat
from metaphys.training.recalibration import (
    Measurement,
    Prior,
    RecalibrationConfig,
    Setting,
    adapted,
    gauss_newton,
    identify,
    imagined,
    learn_prior,
    learn_start,
    on_twin,
)
from metaphys.training.recalibration._start import loss_and_grads

SPLITS, UNITS = 2, 8
BUDGET = 6
"""Device calls: two random drives of each layer."""
CONFIG = RecalibrationConfig(
    system="circuit",
    data="vowels",
    data_root=Path(),
    layers=LAYERS,
    budgets=(BUDGET,),
    batch=EXPERIMENT.batch,
    start_steps=600,
    start_lr=EXPERIMENT.lr,
    twin_steps=80,
    twin_lr=0.03,
    prior_units=2,
    prior_calls=4,
)
FULL_EPOCHS, EPOCH_STEPS, FULL_LR = 40, 20, EXPERIMENT.lr_on_unit
"""Of full training: epochs at most, steps of 50 vowels in each, and its first rate."""
FINE_STEPS = 5
FINE_LABELS = 16
"""Five steps on them are 240 calls."""
RATES = {"SGD": (0.03, 0.1, 0.3, 1.0, 3.0), "Adam": (0.003, 0.01, 0.03, 0.1)}
TUNING = range(VALIDATION_UNITS, VALIDATION_UNITS + 3)


class Case:
    """A split of the vowels with the network of a seed, and what was trained without the unit."""

    def __init__(self, root: Path, runs: Path, seed: int, split: int) -> None:
        data = vowels(root, seed=split, dtype=torch.float32)
        train, test = scaled(data.train, data.test, *EXPERIMENT.limits)
        self.seed, self.split, self.runs = seed, split, runs
        self.data: Dataset = dataclasses.replace(data, train=train, test=test)
        self.net: FeatureNetwork = network(TWIN, seed)
        self.sigma = self.net.deviation * 10 ** (-EXPERIMENT.snr / 20)
        stated = MismatchUnknowns(TWIN, SPREAD)
        mean, deviation = stated.moments()
        broad = stated.with_moments(torch.stack([mean, 2 * deviation]))
        self.setting = Setting(
            CONFIG,
            self.data,
            self.net,
            tuple(Population(TWIN, SPREAD, self.sigma, key=f"layer {n}") for n in range(LAYERS)),
            (TWIN,) * LAYERS,
            Prior(broad, 0.1 * self.net.deviation),
            lambda seed: functional(network(TWIN, seed))[1],
            *EXPERIMENT.hardware,
        )

    @functools.cached_property
    def start(self) -> Params:
        """The start of ``spice_vowels.py``: trained in silico, from the seed's first drives."""
        net = network(TWIN, self.seed)
        fit(net, self.data.train, steps=EXPERIMENT.steps, lr=EXPERIMENT.lr, **self.given)
        return functional(net)[1]

    @functools.cached_property
    def population(self) -> Params:
        """The start trained on, on another imagined set of circuits in every step."""
        units = imagined(self.prior, LAYERS, self.seed, self.split, "population")
        config, key = self.setting.config, (self.seed, self.split, "population")
        return learn_start(
            self.setting, self.start, units, steps=config.start_steps, lr=config.rate, key=key
        )

    def begun(self, kind: str) -> Params:
        """A start by its name."""
        return self.start if kind == "in silico" else self.population

    @property
    def given(self) -> dict[str, Any]:
        """How ``spice_vowels.py`` trains."""
        return {"batch": EXPERIMENT.batch, "smoothing": EXPERIMENT.smoothing}

    @functools.cached_property
    def prior(self) -> Prior:
        """Of the components, and the noise: learned from simulated training units."""
        file, guess = self.runs / "prior.json", self.setting.guess
        if not file.exists():
            most = LAYERS * CONFIG.prior_calls
            found = learn_prior(
                guess,
                [u for n in range(CONFIG.prior_units) for u in self.setting.measurements(n, most)],
                CONFIG.prior_calls,
                CONFIG.prior_rounds,
            )
            moments = found.unknowns.moments().tolist()
            file.write_text(json.dumps({"moments": moments, "noise": found.noise}))
        stored = json.loads(file.read_text())
        moments = torch.tensor(stored["moments"], dtype=torch.float64)
        return guess._replace(unknowns=guess.unknowns.with_moments(moments), noise=stored["noise"])

    # A unit ---------------------------------------------------------------------------------

    def bare(self, unit: int, spice: bool) -> list[Device]:
        """A unit's layers without noise."""
        make = in_ngspice if spice else SimulatedDevice
        return [make(each) for each in circuits(unit - TEST_UNITS)]

    def devices(self, unit: int, spice: bool = True) -> list[Device]:
        """A unit's layers with noise, its streams at their beginning."""
        seed = 100 * self.split
        return [
            WithNoise(d, self.sigma, seed=seed + n) for n, d in enumerate(self.bare(unit, spice))
        ]

    def measured(self, unit: int, spice: bool = True) -> list[Measurement]:
        """Random drives of each layer, of which none is taken yet."""
        low, high = EXPERIMENT.hardware
        return [
            Measurement(d, low=low, high=high, most=BUDGET // LAYERS, seed=100 * unit + n)
            for n, d in enumerate(self.devices(unit, spice))
        ]

    def judged(self, params: Params, unit: int, spice: bool = True) -> float:
        """Accuracy on the test vowels, measured; these calls are nobody's budget."""
        return self.setting.accuracy(params, self.devices(unit, spice), self.data.test)

    # Methods --------------------------------------------------------------------------------

    def recalibrated(self, unit: int, spice: bool = True) -> tuple[int, Params]:
        """Calls taken, and the start trained on circuits of the posterior."""
        (known,) = identify(self.prior, self.measured(unit, spice), (BUDGET,))
        return known.calls, adapted(self.setting, self.start, known, (self.seed, self.split, unit))

    def classical(self, unit: int) -> tuple[int, Params]:
        """Gauss-Newton under twice the stated spread, noise estimated; then its best twin."""
        known = gauss_newton(self.setting.guess, self.measured(unit), BUDGET)
        key = (self.seed, self.split, unit, "classical")
        return known.calls, on_twin(self.setting, self.start, known.twin, key)

    def in_silico(self) -> float:
        """Accuracy of the start on the circuit that it was trained on."""
        test, start = self.data.test, self.start
        with torch.no_grad():
            found = self.setting.logits(start, test.inputs, self.setting.nominal).argmax(-1)
        return float((found == test.targets).double().mean())

    def tuned(self, start: Params, unit: int, rule: Any, spice: bool = True) -> tuple[int, Params]:
        """Five physics-aware steps on 16 labelled vowels."""
        order = torch.randperm(len(self.data.train), generator=generator(unit, self.split))
        rows = order[:FINE_LABELS]
        apply, _ = functional(self.net)
        devices = self.devices(unit, spice)
        with run_on(self.net, *(PhysicsAware(d, TWIN) for d in devices)):
            found = adapt(
                apply,
                start,
                self.data.train.inputs[rows],
                self.data.train.targets[rows],
                rule=rule,
                steps=FINE_STEPS,
                loss=cross_entropy,
            )
        return sum(d.calls for d in devices), {n: v.detach() for n, v in found.items()}

    def briefly(self, unit: int) -> tuple[int, float]:
        """Physics-aware training as ``spice_vowels.py`` has it: calls and accuracy."""
        net, devices = network(TWIN, self.seed), self.devices(unit)
        net.load_state_dict(self.start, strict=False)
        with run_on(net, *(PhysicsAware(d, TWIN) for d in devices)):
            fit(
                net,
                self.data.train,
                steps=EXPERIMENT.steps_on_unit,
                lr=EXPERIMENT.lr_on_unit,
                **self.given,
            )
            calls = sum(d.calls for d in devices)
            return calls, accuracy(net, self.data.test)

    def full(self, unit: int, spice: bool = True) -> UntilFlat:
        """Physics-aware training with the nominal circuit as the twin, until it is flat."""
        bare = self.bare(unit, spice)
        epochs = Epochs(with_validation(self.data), EXPERIMENT.batch, FULL_EPOCHS, EPOCH_STEPS)

        def noisy(*key: object) -> list[Device]:
            seeds = [seed_of(self.split, unit, n, *key) for n in range(LAYERS)]
            return [WithNoise(d, self.sigma, seed=s) for d, s in zip(bare, seeds, strict=True)]

        def gradient(params: Params, index: int) -> tuple[Tensor, Params]:
            moved = tuple(PhysicsAware(device, TWIN) for device in noisy(index))
            samples = epochs.samples(index, self.split, unit)
            return loss_and_grads(self.setting, params, moved, samples)

        def look(params: Params) -> Tensor:
            reached = self.setting.accuracy(params, noisy("look"), epochs.looked_at)
            return torch.tensor(reached, dtype=torch.float64)

        return until_flat(self.start, gradient, look, epochs, lr=FULL_LR)


def rules() -> dict[str, Any]:
    """What fine-tuning is tuned over."""
    make: dict[str, Any] = {"SGD": metaphys.sgd, "Adam": metaphys.adam}
    return {f"{name}, {lr:g}": make[name](lr=lr) for name, rates in RATES.items() for lr in rates}


def chosen(case: Case, kind: str) -> Any:
    """The rule of fine-tuning that is best on validation units, which are simulated.

    By training vowels, though starts have seen them: test vowels are for the judging.
    """
    file, known = case.runs / f"tuning-{kind}.json".replace(" ", "-"), rules()
    if not file.exists():

        def reached(rule: Any, unit: int) -> float:
            _, params = case.tuned(case.begun(kind), unit, rule, spice=False)
            return case.setting.accuracy(params, case.devices(unit, spice=False), case.data.train)

        found = {
            name: sum(reached(rule, unit) for unit in TUNING) / len(TUNING)
            for name, rule in known.items()
        }
        file.write_text(json.dumps(found))
    found = json.loads(file.read_text())
    return known[max(found, key=found.__getitem__)]


class Experiment:
    """All units and splits."""

    def __init__(self, root: Path, runs: Path) -> None:
        self.root, self.runs = root, runs / "spice-vowels-adapted"
        self.book = Book(self.runs / "rows.jsonl")

    def case(self, number: int, unit: int) -> Case:
        """That of ``spice_vowels.py``: each unit with first drives and splits of its own."""
        seed = unit - TEST_UNITS
        return Case(self.root, self.runs, seed, UNITS * number + seed)

    def full(self, case: Case, unit: int) -> tuple[int, Params, list[float]]:
        """Calls taken, what was best, and the accuracy after each epoch; stored as it goes on."""
        training = case.full(unit)
        begun, step, epochs = training
        run = RunDirectory(self.runs / "full", {"limit": epochs.limit}, resume=True)
        name = f"unit-{unit}-split-{case.split}"
        end = run.run_phase(name, begun, step, training.limit, until=ended)
        (course,) = courses(end)
        return LAYERS * epochs.measured(course), end.best, course

    def add(
        self, case: Case, method: str, unit: int, calls: int, value: float, **more: Any
    ) -> None:
        """Store what a method reached."""
        self.book.add(
            method=method,
            unit=unit,
            split=case.split,
            calls=calls,
            accuracy=round(value, 6),
            **more,
        )

    def missing(self, case: Case, method: str, unit: int) -> bool:
        """Whether a method was not judged on a unit with a split yet."""
        return not self.book.has(method=method, unit=unit, split=case.split)

    def run(self, case: Case, unit: int) -> None:
        """All methods, where they are missing."""
        bare: dict[str, Callable[[], tuple[int, float]]] = {
            "linear classifier": lambda: (0, linear(case.data.train, case.data.test)),
            "in silico, not moved": lambda: (0, case.in_silico()),
            f"{EXPERIMENT.steps_on_unit} steps on the unit": lambda: case.briefly(unit),
        }
        adapting: dict[str, Callable[[], tuple[int, Params]]] = {
            "recalibrated": lambda: case.recalibrated(unit),
            "Gauss-Newton + training on the twin": lambda: case.classical(unit),
        }
        for kind in ("in silico", "population start"):
            adapting[kind] = lambda kind=kind: (0, case.begun(kind))
            adapting[f"{kind} + fine-tuning"] = lambda kind=kind: case.tuned(
                case.begun(kind), unit, chosen(case, kind)
            )
        for method, judge in bare.items():
            if self.missing(case, method, unit):
                self.add(case, method, unit, *judge())
        if self.missing(case, FULL, unit):
            calls, params, course = self.full(case, unit)
            self.add(case, FULL, unit, calls, case.judged(params, unit), epochs=course)
        for method, make in adapting.items():
            if self.missing(case, method, unit):
                calls, params = make()
                self.add(case, method, unit, calls, case.judged(params, unit))


def main(
    root: tyro.conf.Positional[Path],
    units: int = UNITS,
    splits: int = SPLITS,
    runs: Path = Path("runs"),
) -> None:
    """Run what is left of it, and store the result.

    Args:
        root: the folder of ``vowdata.dat``.
        units: how many held-out units.
        splits: of the vowels, for each unit.
        runs: where run directories are.
    """
    torch.set_num_threads(1)
    experiment = Experiment(root, runs)
    for number in range(splits):
        for unit in range(TEST_UNITS, TEST_UNITS + units):
            case = experiment.case(number, unit)
            with experiment.book.timed():
                experiment.run(case, unit)
            store(experiment.book, counted(case.net))


if __name__ == "__main__":
    tyro.cli(main)
