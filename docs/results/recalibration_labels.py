"""Units never seen before by fifty labelled images alone: ``recalibration-labels-only.json``.

Run as ``python docs/results/recalibration_labels.py --data-root MNIST``: MNIST 7x7 on 59
oscillators as in ``recalibration_oscillators.py``, but no readout is fitted: what is measured goes
into physics-aware training and nothing else. Starts and rows are stored as they are done;
a stopped script goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optree
import torch
import tyro
from _book import Book
from _chosen import choose
from _descent import learn
from _labelled import LABELS, LEARNING, Learned, adapt, begin, spread
from _linear import metric
from recalibration_labels_table import store
from torch import Tensor
from torch.func import functional_call

import metaphys
from metaphys._runs import load_tree, save_tree
from metaphys.data import Split
from metaphys.nn import run_on
from metaphys.physics import PhysicsAware, SimulatedDevice, System
from metaphys.training import _adaptation
from metaphys.training._data import choosing
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS, Params, generator
from metaphys.training.recalibration import RecalibrationConfig, Setting, build

SEEDS, UNITS = (0, 1, 2), 20
LIMIT = 4.0
STEPS = 10
"""Of fine-tuning."""
TUNING = range(VALIDATION_UNITS, VALIDATION_UNITS + 10)
SILICO = {"steps": 8000, "lr": 0.3, "batch": 128}
POPULATION = {"steps": 4000, "lr": 0.3, "batch": 32, "units": 8}
META = {"steps": 600, "batch": 300, "units": 4, "refresh": 25}
"""The metric is made again after as many steps as ``refresh`` says."""
CLIP = 0.15
"""Some steps leave what is linear, and a great gradient would hold Adam back for long."""
POOL, ASKED, RIGHT = 1500, 400, 300
"""Training images to choose from, to be asked about, and for controls to make up on."""
RADIUS = 1.0
LOOKED_AT = 500
"""Validation images that choices are made on."""
RATES = {
    ("SGD", "cross entropy"): (0.3, 1.0, 3.0, 10.0),
    ("SGD", "squared error"): (0.01, 0.03, 0.1, 0.3),
    ("Adam", "cross entropy"): (0.003, 0.01, 0.03, 0.1),
    ("Adam", "squared error"): (0.003, 0.01, 0.03, 0.1),
}
"""Of fine-tuning, by optimizer and loss."""

ZERO_SHOT = ("in silico", "sharpness-aware", "population start")
OURS, BEGUN, RIVAL = "meta-learned", "in silico", "population start"

Samples = tuple[Tensor, Tensor]
"""Inputs and labels."""


class Experiment:
    """The array with its population, what is learned on training units, and the rows."""

    def __init__(self, data_root: Path | None, runs: Path) -> None:
        config = RecalibrationConfig(data_root=data_root, coupling_limit=LIMIT)
        self.setting: Setting = build(config)
        self.folder = runs / "recalibration-labels-only"
        self.book = Book(self.folder / "rows.jsonl")
        (self.population,) = self.setting.populations
        train = self.setting.data.train
        self.classes = [(train.targets == c).nonzero().squeeze(-1) for c in range(10)]

    # Units and samples ----------------------------------------------------------------------

    def fleet(self, units: list[int]) -> System:
        """Simulated units."""
        return self.population.spread.perturb(self.population.system, units)

    def training_fleet(self, count: int, *key: object) -> System:
        """Units of the training population."""
        drawn = torch.randint(VALIDATION_UNITS, (count,), generator=generator(*key, "units"))
        return self.fleet(drawn.tolist())

    def batch(self, *shape: int, key: tuple[object, ...]) -> Samples:
        """Training images and labels."""
        part = self.setting.data.train
        rows = torch.randint(len(part), shape, generator=generator(*key, "batch"))
        return part.inputs[rows], part.targets[rows]

    def labelled(self, *key: object) -> Samples:
        """Five images of each class with their labels, drawn for a unit."""
        source, part = generator(*key, "labelled"), self.setting.data.train
        each = LABELS // len(self.classes)
        rows = torch.cat(
            [of[torch.randperm(len(of), generator=source)[:each]] for of in self.classes]
        )
        return part.inputs[rows], part.targets[rows]

    def labelled_fleet(self, *keys: tuple[object, ...]) -> Samples:
        """The same for several units."""
        drawn = [self.labelled(*key) for key in keys]
        return torch.stack([x for x, _ in drawn]), torch.stack([y for _, y in drawn])

    # What is learned on training units ------------------------------------------------------

    def loss(self, params: Params, samples: Samples, units: System) -> Tensor:
        """Cross entropy on a model of some units."""
        inputs, targets = samples
        with run_on(self.setting.network, units):
            logits = functional_call(self.setting.network, params, (inputs,))
        return _adaptation.cross_entropy(logits, targets)

    def start(self, kind: str, seed: int) -> Params:
        """Controls that were trained in one of three ways, from the same first ones."""
        key = (seed, kind)

        def in_silico(params: Params, index: int) -> Tensor:
            samples = self.batch(SILICO["batch"], key=(*key, index))
            return self.loss(params, samples, self.setting.nominal[0])

        def over_units(params: Params, index: int) -> Tensor:
            count = POPULATION["units"]
            samples = self.batch(count, POPULATION["batch"], key=(*key, index))
            units = self.training_fleet(count, *key, index)
            return self.loss(spread(params, count), samples, units)

        ways: dict[str, Callable[[Params], Params]] = {
            "in silico": lambda p: learn(p, in_silico, steps=SILICO["steps"], lr=SILICO["lr"]),
            "sharpness-aware": lambda p: learn(
                p, in_silico, steps=SILICO["steps"] // 2, lr=SILICO["lr"], radius=RADIUS
            ),
            "population start": lambda p: learn(
                p, over_units, steps=POPULATION["steps"], lr=POPULATION["lr"]
            ),
        }
        initial = self.setting.initial(seed)
        return self._stored(f"{kind}-{seed}", initial, lambda: ways[kind](initial))

    def chosen(self, seed: int) -> Samples:
        """The images that every unit is measured with, and their labels."""
        part, start = self.setting.data.train, self.start(BEGUN, seed)

        def make() -> dict[str, Tensor]:
            pool, source = self.some(POOL, seed, "pool"), generator(seed, "mixtures")
            inputs, asked = part.inputs, self.some(ASKED, seed, "asked")
            best = choose(self.setting, start, inputs[pool], inputs[asked], LABELS, source)
            return {"rows": pool[best]}

        like = {"rows": torch.zeros(LABELS, dtype=torch.int64)}
        rows = self._stored(f"images-{seed}", like, make)["rows"]
        return part.inputs[rows], part.targets[rows]

    def some(self, count: int, *key: object) -> Tensor:
        """Rows of training images, none twice."""
        return torch.randperm(len(self.setting.data.train), generator=generator(*key))[:count]

    def metric(self, learned: Learned, images: Tensor, seed: int) -> Tensor:
        """That of the rule, for some images."""
        inputs = self.setting.data.train.inputs[self.some(RIGHT, seed, "asked")]
        return metric(self.setting, learned["start"], images, inputs, learned["gain"])

    def learned(self, seed: int) -> Learned:
        """The start and the rule, learned through the steps, from the start in silico."""
        first, count = begin(self.setting, self.start(BEGUN, seed)), META["units"]
        images, labels = self.chosen(seed)
        made: dict[str, Tensor] = {}

        def after(learned: Learned, index: int) -> Tensor:
            if index % META["refresh"] == 0:
                made["metric"] = self.metric(learned, images, seed)
            key = (seed, OURS, index)
            units = self.training_fleet(count, *key)
            params, _ = adapt(self.setting, learned, made["metric"], units, images, labels)
            return self.loss(params, self.batch(count, META["batch"], key=key), units)

        lr = {n: optree.tree_map(lambda _, rate=LEARNING[n]: rate, v) for n, v in first.items()}
        return self._stored(
            f"{OURS}-{seed}",
            first,
            lambda: learn(first, after, steps=META["steps"], lr=lr, clip=CLIP),
        )

    def _stored(self, name: str, like: Any, make: Callable[[], Any]) -> Any:
        file = self.folder / f"{name.replace(' ', '-')}.safetensors"
        if not file.exists():
            save_tree(file, make(), {"kind": name})
        return load_tree(file, like)

    # Judging --------------------------------------------------------------------------------

    @torch.no_grad()
    def accuracy(self, params: Params, units: System, part: Split) -> list[float]:
        """Of each unit with its own parameters, (U, …) each."""
        (count,), right = units.units, []
        with run_on(self.setting.network, units):
            for inputs, targets in zip(part.inputs.split(1000), part.targets.split(1000)):
                given = inputs.expand(count, *inputs.shape)
                logits = functional_call(self.setting.network, params, (given,))
                right.append(logits.argmax(-1) == targets)
        return torch.cat(right, -1).double().mean(-1).tolist()

    def fine_tuned(
        self, start: Params, units: list[int], way: tuple[str, str, float], samples: Samples
    ) -> tuple[Params, int]:
        """Plain steps on labels, (U, n) each; and the device calls of a unit."""
        optimizer, loss, lr = way
        make: dict[str, Any] = {"SGD": metaphys.sgd, "Adam": metaphys.adam}
        device = SimulatedDevice(self.fleet(units))
        inputs, labels = samples

        def total(params: Params, _: Any) -> Tensor:
            logits = functional_call(self.setting.network, params, (inputs,))
            return len(units) * _adaptation.LOSSES[loss](logits, labels)

        with run_on(self.setting.network, PhysicsAware(device, self.setting.nominal[0])):
            begun = {n: v.clone() for n, v in spread(start, len(units)).items()}
            end = metaphys.unroll(total, make[optimizer](lr=lr), begun, steps=STEPS)
        return {n: v.detach() for n, v in end.params.items()}, device.calls // len(units)

    def samples(self, units: list[int], seed: int, *, chosen: bool) -> Samples:
        """What units are fine-tuned on: images that are drawn for each, or our choice."""
        if not chosen:
            return self.labelled_fleet(*((seed, unit) for unit in units))
        images, labels = self.chosen(seed)
        count = len(units)
        return images.expand(count, *images.shape), labels.expand(count, *labels.shape)

    def tuned(self, kind: str, *, chosen: bool) -> tuple[str, str, float]:
        """The way of fine-tuning that is best on validation units; seed 0."""
        name = f"tuning-{kind.replace(' ', '-')}{'-chosen' * chosen}.json"
        file, units = self.folder / name, list(TUNING)
        if not file.exists():
            start, tried, part = self.start(kind, 0), [], choosing(self.setting.data, LOOKED_AT)
            samples = self.samples(units, 0, chosen=chosen)
            for (optimizer, loss), rates in RATES.items():
                for lr in rates:
                    way = (optimizer, loss, lr)
                    params, _ = self.fine_tuned(start, units, way, samples)
                    reached = self.accuracy(params, self.fleet(units), part)
                    tried.append([sum(reached) / len(reached), way])
            file.write_text(json.dumps(sorted(tried, reverse=True)))
        optimizer, loss, lr = json.loads(file.read_text())[0][1]
        return optimizer, loss, lr

    def by_rule(
        self, learned: Learned, units: list[int], samples: Samples, seed: int
    ) -> tuple[Params, int]:
        """What the rule makes of labels, (n) each, of each unit."""
        bent = self.metric(learned, samples[0], seed)
        params, calls = adapt(self.setting, learned, bent, self.fleet(units), *samples)
        return {n: v.detach() for n, v in params.items()}, calls

    def methods(self, seed: int, units: list[int]) -> dict[str, Callable[[], Any]]:
        """Parameters and device calls, by method."""
        learned = self.learned(seed)
        first = begin(self.setting, self.start(BEGUN, seed))

        def still(params: Params) -> tuple[Params, int]:
            return spread(params, len(units)), 0

        def tuned(kind: str, *, chosen: bool = False) -> tuple[Params, int]:
            samples = self.samples(units, seed, chosen=chosen)
            way = self.tuned(kind, chosen=chosen)
            return self.fine_tuned(self.start(kind, seed), units, way, samples)

        def ruled(learned: Learned, samples: Samples) -> tuple[Params, int]:
            return self.by_rule(learned, units, samples, seed)

        found: dict[str, Callable[[], Any]] = {}
        for kind in ZERO_SHOT:
            found[kind] = lambda kind=kind: still(self.start(kind, seed))
            found[f"{kind} + fine-tuning"] = lambda kind=kind: tuned(kind)
        chosen, drawn = self.chosen(seed), self.labelled(seed, "for all units")
        return {
            **found,
            f"{RIVAL} + fine-tuning, our images": lambda: tuned(RIVAL, chosen=True),
            f"{OURS}, not adapted": lambda: still(learned["start"]),
            f"{OURS}, images drawn": lambda: ruled(learned, drawn),
            "the rule before anything is learned": lambda: ruled(first, chosen),
            OURS: lambda: ruled(learned, chosen),
        }

    def judge(self, seed: int, units: list[int], part: Split) -> None:
        """All methods on some units, where they are missing."""
        for method, make in self.methods(seed, units).items():
            if self.book.has(method=method, seed=seed, unit=units[-1]):
                continue
            params, calls = make()
            for unit, value in zip(units, self.accuracy(params, self.fleet(units), part)):
                self.book.add(
                    method=method, seed=seed, unit=unit, calls=calls, accuracy=round(value, 6)
                )


def main(
    data_root: Path, seeds: tuple[int, ...] = SEEDS, units: int = UNITS, runs: Path = Path("runs")
) -> None:
    """Run what is left of it, and store the result.

    Args:
        data_root: the folder of MNIST's files.
        seeds: of starts, batches and labelled images.
        units: held-out units; below 0 as many validation units, of which nothing is stored here.
        runs: where run directories are.
    """
    torch.set_num_threads(1)
    experiment = Experiment(data_root, runs)
    first = TEST_UNITS if units > 0 else VALIDATION_UNITS
    data = experiment.setting.data
    part = data.test if units > 0 else choosing(data, LOOKED_AT)
    for seed in seeds:
        with experiment.book.timed():
            experiment.judge(seed, list(range(first, first + abs(units))), part)
        if units > 0:
            store(experiment.book)


if __name__ == "__main__":
    tyro.cli(main)
