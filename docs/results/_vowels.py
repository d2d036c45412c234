"""What the scripts of vowels share: trained in silico, moved to a unit and trained there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _rows import HERE, Row, accuracy, fit, linear, scaled
from torch import nn

from metaphys.data import Dataset, vowels
from metaphys.nn import FeatureNetwork, run_on
from metaphys.physics import Device, PhysicsAware, System, WithNoise, nrmse
from metaphys.training._draws import TEST_UNITS
from metaphys.training._wire import Wire


@dataclass(frozen=True)
class Vowels:
    """One experiment: a network, its units, and how it is trained.

    The exact gradient, beside physics-aware training in all runs, goes through the simulated unit
    itself, from the same weights and as many steps; no experiment has it.

    Attributes:
        experiment: the name of its file.
        network: from what makes each layer and a seed to a network with its first drives.
        twin: the nominal system, in the place of each layer's device.
        unit: from a seed to one unit: the device of each layer, without noise.
        exact: from a seed to the systems of that unit, which are differentiated.
        gradient: what that is called.
        hardware: least and greatest drive.
        limits: where the training set's extremes are scaled to.
        snr: the readings' deviation over random drives to that of their noise, dB.
        batch: samples in a step.
        steps: of training in silico.
        steps_on_unit: after them.
        lr: Adam's first step size in silico.
        lr_on_unit: on the unit.
        smoothing: of the labels.
        apart: each seed has splits of its own.
        published: accuracies elsewhere.
        notes: what has to be known of this experiment beside what all have in common.
    """

    experiment: str
    network: Callable[[System, int], FeatureNetwork]
    twin: System
    unit: Callable[[int], Sequence[Device]]
    exact: Callable[[int], Sequence[System]]
    gradient: str
    hardware: tuple[float, float]
    limits: tuple[float, float]
    snr: float
    batch: int
    steps: int
    steps_on_unit: int
    lr: float
    lr_on_unit: float
    smoothing: float
    apart: bool
    published: dict[str, float] | None
    notes: tuple[str, ...]

    def train(self, data: Dataset, seed: int, split: int) -> dict[str, float]:
        """Accuracies of one split on one unit, by method."""
        known, test = scaled(data.train, data.test, *self.limits)
        given: dict[str, Any] = {"batch": self.batch, "smoothing": self.smoothing}
        wire, net = self.network(Wire(self.twin.ports), seed), self.network(self.twin, seed)
        fit(wire, known, steps=self.steps, lr=self.lr, **given)
        fit(net, known, steps=self.steps, lr=self.lr, **given)
        start = {name: value.clone() for name, value in net.state_dict().items()}
        found = {
            "linear classifier": linear(known, test),
            "physics removed": accuracy(wire, test),
            "in silico": accuracy(net, test),
        }
        bare, sigma = self.unit(seed), net.deviation * 10 ** (-self.snr / 20)
        twins = {"PAT": [self.twin] * len(bare), self.gradient: self.exact(seed)}
        for method, models in twins.items():
            devices = [WithNoise(each, sigma, seed=100 * split + n) for n, each in enumerate(bare)]
            net.load_state_dict(start)
            with run_on(net, *map(PhysicsAware, devices, models)):
                found["in silico, moved to the unit"] = accuracy(net, test)
                fit(net, known, steps=self.steps_on_unit, lr=self.lr_on_unit, **given)
                found[method] = accuracy(net, test)
        return found

    def gaps(self, seed: int, drives: int = 100) -> list[float]:
        """The twin's error on each layer of a unit, relative to the readings' deviation."""
        low, high = self.hardware
        uniform = torch.rand(
            drives, self.twin.ports.drive, generator=torch.Generator().manual_seed(1)
        )
        given = low + (high - low) * uniform
        answers = [device.measure(given, {}) for device in self.unit(seed)]
        return [round(nrmse(self.twin(given, {}), answer), 3) for answer in answers]

    def head(self, seeds: Sequence[int], splits: int) -> dict[str, Any]:
        """What is stored beside the runs."""
        physical, digital = counted(self.network(self.twin, 0))
        script, listed = self.experiment.replace("-", "_"), " ".join(map(str, seeds))
        return {
            "experiment": self.experiment,
            "command": f"python docs/results/{script}.py VOWELS --seed {listed} --splits {splits}",
            "metric": f"test accuracy on the unit, mean of {splits} stratified splits 175/84"
            + ", of its own for each seed" * self.apart,
            "published": self.published,
            "physical_parameters": physical,
            "digital_parameters": digital,
            "notes": self._notes(seeds),
        }

    def _notes(self, seeds: Sequence[int]) -> list[str]:
        errors = "; ".join(f"{seed}: {', '.join(map(str, self.gaps(seed)))}" for seed in seeds)
        return [
            f"SNR {self.snr:g} dB. NRMSE of the twin, the nominal system, by seed and layer: "
            f"{errors}.",
            f"{self.steps} steps of {self.batch} samples in silico, then {self.steps_on_unit} on "
            f"the unit. A seed is a unit (number {TEST_UNITS} + seed), first drives and noise. "
            "Formants are scaled by the training set alone.",
            "Physical parameters are the offsets of the drives; digital ones multiply element by "
            "element, and once for each class.",
            *self.notes,
        ]

    def main(self, text: str | None, splits: int) -> None:
        """Run, store, print.

        Args:
            text: what the script says of itself.
            splits: for each seed, by default.
        """
        parser = argparse.ArgumentParser(description=text)
        parser.add_argument("root", type=Path, help="the folder of vowdata.dat")
        parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2], help="unit, start")
        parser.add_argument("--splits", type=int, default=splits, help="for each seed")
        chosen = parser.parse_args()
        torch.set_num_threads(1)
        row = Row(self.head(chosen.seed, chosen.splits), folder=HERE)
        for number in range(chosen.splits):
            for seed in chosen.seed:
                # By threes, so that further splits leave those that were run.
                split = 3 * number + seed if self.apart else number
                data = vowels(chosen.root, seed=split, dtype=torch.float32)
                row.run(seed, split, partial(self.train, data, seed, split))


def counted(net: nn.Module) -> tuple[int, int]:
    """Numbers that are set in hardware, the offsets of the drives, and digital factors."""
    total = sum(value.numel() for value in net.parameters())
    offsets = sum(v.numel() for n, v in net.named_parameters() if n.endswith("offset"))
    return offsets, total - offsets
