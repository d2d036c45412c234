"""What the scripts of trained units share: training, judging, storing after each training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metaphys._runs import half_interval
from metaphys._runs._environment import revision
from metaphys.data import Dataset, Split
from metaphys.data._splits import stratified

HERE = Path(__file__).parent


def fit(
    net: nn.Module,
    data: Split,
    *,
    steps: int,
    lr: float,
    batch: int,
    seed: int = 0,
    smoothing: float = 0.0,
    penalty: Callable[[], Tensor] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> None:
    """Adam with a cosine to zero; the last step counts.

    Args:
        net: what is trained, where it runs at present.
        data: samples; in another random order in every epoch.
        steps: of the optimizer.
        lr: the first step size.
        batch: samples in a step.
        seed: of the order.
        smoothing: of the labels.
        penalty: added to the loss, evaluated after the network.
        augment: from the inputs of a batch and a source of numbers to other inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(data), generator=generator)
        index, order = order[:batch], order[batch:]
        inputs = data.inputs[index]
        logits = net(inputs if augment is None else augment(inputs, generator))
        loss = cross_entropy(logits, data.targets[index], label_smoothing=smoothing)
        loss = loss if penalty is None else loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(net: nn.Module, data: Split) -> float:
    """The fraction of samples whose largest logit is that of their class."""
    classes = torch.cat([net(part).argmax(-1) for part in data.inputs.split(500)])
    return round(float((classes == data.targets).double().mean()), 6)


def linear(train: Split, test: Split) -> float:
    """Accuracy of logistic regression on the same inputs."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=5000)
    model.fit(train.inputs.numpy(), train.targets.numpy())
    return round(float(model.score(test.inputs.numpy(), test.targets.numpy())), 6)


def scaled(train: Split, test: Split, low: float, high: float) -> tuple[Split, Split]:
    """Each feature as the training set's extremes make it ``low`` … ``high``; the test follows."""
    least, most = train.inputs.min(0).values, train.inputs.max(0).values

    def each(part: Split) -> Split:
        unit = (part.inputs - least) / (most - least)
        return Split(low + (high - low) * unit, part.targets)

    return each(train), each(test)


HELD = 0.2


def with_validation(data: Dataset) -> Dataset:
    """The same with samples to look at while a unit is trained on.

    Vowels come without any; of them these are a fifth of the training set, each class alike.
    """
    if len(data.validation):
        return data
    parts = stratified(data.train.targets, (HELD,), seed=0)
    held, rest = (Split(data.train.inputs[part], data.train.targets[part]) for part in parts)
    return replace(data, validation=held, train=rest)


class Row:
    """One experiment's file, written after each training: a killed script goes on where it was.

    Args:
        head: what does not depend on the runs: ``experiment``, ``command``, ``metric`` …; where the
            stored one is another, the experiment begins anew.
        main: the method whose accuracies are the result.
        folder: where the file lies.
    """

    def __init__(self, head: dict[str, Any], main: str = "PAT", folder: Path = HERE) -> None:
        self.head, self.main = head, main
        self.path = folder / f"{head['experiment']}.json"
        self.commit = revision(HERE)
        self.runs: list[dict[str, Any]] = []
        if self.path.exists():
            stored = json.loads(self.path.read_text())
            if all(stored.get(key) == value for key, value in head.items()):
                self.runs = stored["runs"]

    def run(self, seed: int, split: int, train: Callable[[], dict[str, float]]) -> None:
        """``train()`` gives accuracies by method; it is not called if they are stored already."""
        if any((run["seed"], run["split"]) == (seed, split) for run in self.runs):
            return
        begin = time.perf_counter()
        found = train()
        seconds = round(time.perf_counter() - begin, 1)
        run = {"seed": seed, "split": split, "accuracy": found, "seconds": seconds}
        self.runs.append(run)
        self.path.write_text(json.dumps(self.summary(), indent=2) + "\n")
        print(json.dumps(run), flush=True)

    def summary(self) -> dict[str, Any]:
        """What is stored: the mean over splits for each seed, and of these the mean."""
        seeds = sorted({run["seed"] for run in self.runs})
        values = [self._mean(self.main, seed) for seed in seeds]
        return {
            **self.head,
            "commit": self.commit,
            "torch": torch.__version__,
            "seeds": seeds,
            "values": values,
            "mean": round(sum(values) / len(values), 6),
            "interval": half_interval(values),
            "baselines": self._baselines(),
            "seconds": [round(sum(self._of(seed, "seconds"))) for seed in seeds],
            "runs": self.runs,
        }

    def _baselines(self) -> dict[str, float]:
        runs = self._of(None, "accuracy")
        names = dict.fromkeys(name for run in runs for name in run if name != self.main)
        found = {name: self._mean(name) for name in names}
        for name in names:  # what was not run everywhere stands beside the result of the same runs
            both = [run[self.main] for run in runs if {name, self.main} <= run.keys()]
            if 0 < len(both) < sum(self.main in run for run in runs):
                same = f"{self.main} in the same runs as {name}"
                found[same] = round(sum(both) / len(both), 6)
        return found

    def _of(self, seed: int | None, key: str) -> list[Any]:
        return [run[key] for run in self.runs if seed in (None, run["seed"])]

    def _mean(self, method: str, seed: int | None = None) -> float:
        found = [of[method] for of in self._of(seed, "accuracy") if method in of]
        return round(sum(found) / len(found), 6)
