"""Units that drift, kept at work by a few calls in every interval: ``drift.json``, and a page.

Run as ``python docs/results/drift.py VOWELS`` with the folder of ``vowdata.dat``. Every layer of a
unit walks at random for fifty intervals. A filter follows it from some random drives an interval,
and a few steps of training on the filter's twin follow the filter. Beside it: nothing done,
fine-tuning by physics-aware training with labels, and a ridge refit that forgets what it knew.
What a unit gave is stored at once; a stopped script goes on where it was.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from _rows import HERE, accuracy, fit, revision, scaled
from shg_vowels import SETUP
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metaphys.data import Split, digits, vowels
from metaphys.nn import FeatureNetwork, Measured, WaveformNetwork, run_on
from metaphys.physics import (
    SHG,
    Belief,
    Circuit,
    CircuitSpread,
    Device,
    DriftFilter,
    PhysicsAware,
    Plate,
    PlateSpread,
    SHGSpread,
    SimulatedDevice,
    Spread,
    System,
    ThinSHG,
    WithNoise,
    learn_walk,
    random_drives,
)
from metaphys.physics._seeds import derived, stream
from metaphys.training._problem import TEST_UNITS, VALIDATION_UNITS, generator

INTERVALS = 50
NOISE = 0.01  # of a readout, in deviations of the readout over random drives
FIRST, DRIVES = 10, 5  # random drives of a layer on the first day, and in every interval
TRAINING, LEARNING = (0, 1, 2), 15  # units, and days, that the walk is learned from
STEPS_FRESH, STEPS = 300, 10  # of training on the twin: on the first day, and in every interval
FIRST_STEPS, FILTER_STEPS = 15, 1  # of Gauss-Newton; yesterday is near
RATES = (0.003, 0.01, 0.03)  # of fine-tuning; the best on validation units
BATCH = 50
CALLS = 50  # at most in an interval
METHODS = ("filter", "no adaptation", "fine-tuning", "ridge refit")


@dataclass(frozen=True)
class Case:
    """A network of one system, and how its units differ and drift.

    Attributes:
        data: from the vowels' folder to training and test samples.
        network: with its first drives, on the twin.
        twin: the nominal system of a layer, as it is modelled.
        hardware: the nominal system of which units are made.
        layers: how many.
        limits: the least and the greatest drive.
        spread: of units on the first day.
        walk: by field of the mismatch, the step of an interval.
        steps: of training in silico.
        lr: its rate; a fifth of it is that on the twin.
    """

    data: Callable[[Path], tuple[Split, Split]]
    network: Callable[[], nn.Module]
    twin: System
    hardware: System
    layers: int
    limits: tuple[float, float]
    spread: Spread
    walk: Mapping[str, float]
    steps: int
    lr: float


def _vowels(root: Path, low: float) -> tuple[Split, Split]:
    data = vowels(root, seed=0, dtype=torch.float32)
    return scaled(data.train, data.test, low, 1.0)


def _digits(root: Path) -> tuple[Split, Split]:
    data = digits()

    def held(part: Split) -> Split:
        return Split(part.inputs.repeat_interleave(3, -1), part.targets)

    return held(data.train), held(data.test)


def _source() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _of_shg() -> FeatureNetwork:
    slots, picks = (torch.arange(100) // 2) % 12, range(3, 50, 7)
    drives: dict[str, Any] = {"low": 0.0, "high": 1.0, "spread": 0.3, "power": False, "layers": 2}
    return FeatureNetwork(CASES["shg"].twin, slots, picks, generator=_source(), **drives)


def _of_circuits() -> FeatureNetwork:
    slots, picks = torch.arange(84) % 12, range(11, 84, 12)
    drives: dict[str, Any] = {"low": -2.0, "high": 2.0, "spread": 0.6, "power": True, "layers": 3}
    return FeatureNetwork(CASES["circuit"].twin, slots, picks, generator=_source(), **drives)


def _of_plates() -> WaveformNetwork:
    return WaveformNetwork(CASES["plate"].twin, 10, layers=3, last=100, generator=_source())


CASES = {
    "shg": Case(
        functools.partial(_vowels, low=0.0),
        _of_shg,
        ThinSHG(**SETUP),
        SHG(**SETUP, steps=4),
        2,
        (0.0, 1.0),
        SHGSpread(coupling=0.02, dk0=0.5, crosstalk=0.02, shift=0.05),
        {"coupling": 0.013, "dk0": 0.4, "shift": 0.026},
        400,
        0.03,
    ),
    "circuit": Case(
        functools.partial(_vowels, low=-1.0),
        _of_circuits,
        Circuit(samples=84),
        Circuit(samples=84),
        3,
        (-2.0, 2.0),
        CircuitSpread(),
        {"R1": 0.025, "C": 0.05, "temperature": 5.0},
        200,
        0.05,
    ),
    "plate": Case(
        _digits,
        _of_plates,
        Plate(samples=192),
        Plate(samples=192),
        3,
        (-1.0, 1.0),
        PlateSpread(thickness=0.01, damping=0.1),
        {"thickness": 0.002, "damping": 0.04, "gain": 0.04},
        800,
        0.02,
    ),
}
"""The walks: gain (of the laser, the source's resistance, the microphone), temperature (of the
transistor, the plate's) and detuning (of the crystal, the resonance)."""


class Drifting:
    """Some units, all their layers in one fleet, on every day of their walks.

    Args:
        case: what they are units of.
        numbers: their seeds.
    """

    def __init__(self, case: Case, numbers: Sequence[int]) -> None:
        self.case, self.numbers = case, list(numbers)
        own = [derived(n, f"layer {layer}") for n in numbers for layer in range(case.layers)]
        self.fleet: Any = case.spread.perturb(case.hardware, own)
        self.walks = {
            name: torch.stack([_walk(seed, name, value[0], case.walk[name]) for seed in own], 1)
            for name in case.walk
            for value in [getattr(self.fleet.mismatch, name)]
        }

    def there(self, day: int) -> Any:
        """The fleet of all layers of all units on a day."""
        mismatch = self.fleet.mismatch
        moved = {n: getattr(mismatch, n) + walk[day].to(getattr(mismatch, n))
                 for n, walk in self.walks.items()}  # fmt: skip
        return self.fleet.with_mismatch(dataclasses.replace(mismatch, **moved))

    def devices(self, day: int, index: int, name: str) -> list[Device]:
        """The layers of one unit, with noise that depends on its number, day and name alone."""
        layers = slices(self.there(day), self.case.layers * index, self.case.layers)
        sigma, number = NOISE * deviation(self.case), self.numbers[index]
        seeds = [derived(number, f"noise {layer} {day} {name}") for layer in range(len(layers))]
        return [WithNoise(SimulatedDevice(s), sigma, seed=seed) for s, seed in zip(layers, seeds)]

    def measured(self, day: int, count: int) -> tuple[Tensor, Tensor]:
        """Random drives (layers of all units, count, N) and what they answered."""
        low, high = self.case.limits
        fleet, seeds = self.there(day), [derived(n, f"day {day}") for n in self.numbers]
        ports, layers = self.case.twin.ports, self.case.layers
        drives = torch.cat([
            random_drives(ports, layers * count, low=low, high=high, seed=s) for s in seeds
        ]).reshape(-1, count, ports.drive)  # fmt: skip
        noise = [derived(s, f"layer {layer}") for s in seeds for layer in range(layers)]
        device = WithNoise(SimulatedDevice(fleet), NOISE * deviation(self.case), seed=noise)
        return drives, device.measure(drives, {})


def slices(fleet: Any, begin: int, count: int) -> list[Any]:
    """Some systems of a fleet, each alone."""
    fields = {f.name: getattr(fleet.mismatch, f.name) for f in dataclasses.fields(fleet.mismatch)}
    given = {name: value for name, value in fields.items() if value is not None}
    kind = type(fleet.mismatch)
    return [
        fleet.with_mismatch(kind(**{name: value[n] for name, value in given.items()}))
        for n in range(begin, begin + count)
    ]


def _walk(seed: int, name: str, like: Tensor, step: float) -> Tensor:
    """(days, *), zero on the first day."""
    white = torch.randn(INTERVALS, *like.shape, generator=stream(seed, f"walk of {name}"))
    return torch.cat([torch.zeros(1, *like.shape), step * white.cumsum(0)])


def deviation(case: Case) -> float:
    """Of a layer's readout over random drives, in its unit."""
    low, high = case.limits
    drives = random_drives(case.twin.ports, 32, low=low, high=high, seed=1)
    with torch.no_grad():
        return float(case.twin(drives, {}).std())


def follow(units: Drifting, walk: Mapping[str, Any], days: int) -> list[Belief]:
    """What a filter believes of all layers on every day, the first included."""
    case = units.case
    fleet = (case.layers * len(units.numbers),)
    # The noise is estimated, since a twin also lacks what it does not model.
    each = DriftFilter(case.twin, prior=case.spread, walk=walk, units=fleet)
    each.update(*units.measured(0, FIRST), steps=FIRST_STEPS)
    beliefs = [each.belief]
    for day in range(1, days + 1):
        each.advance()
        each.update(*units.measured(day, DRIVES), steps=FILTER_STEPS)
        beliefs.append(each.belief)
    return beliefs


def refit(units: Drifting, first: Belief) -> list[Belief]:
    """What one regularised linear fit a day believes, which knows the first day alone."""
    case = units.case
    whole = {name: step * INTERVALS**0.5 for name, step in case.walk.items()}
    fleet = (case.layers * len(units.numbers),)
    each, beliefs = DriftFilter(case.twin, prior=case.spread, walk=whole, units=fleet), [first]
    for day in range(1, INTERVALS + 1):
        each.belief = first
        each.advance()
        each.update(*units.measured(day, DRIVES), steps=1)
        beliefs.append(each.belief)
    return beliefs


def twins(case: Case, belief: Belief, index: int) -> list[Any]:
    """The twins of one unit's layers."""
    each = DriftFilter(case.twin, prior=case.spread, walk={}, units=belief.mean.shape[:-1])
    each.belief = belief
    return slices(each.twin, case.layers * index, case.layers)


def learned(case: Case) -> dict[str, float]:
    """The walk, from training units; twice, since what is found depends on the guess a little."""
    walk = {name: 2 * step for name, step in case.walk.items()}  # a guess
    for _ in range(2):
        beliefs = follow(Drifting(case, TRAINING), walk, LEARNING)
        found = learn_walk(case.twin, case.spread, beliefs[1:])
        walk = {name: float(found[name].square().mean().sqrt()) for name in case.walk}
    return walk


class Bench:
    """A network with what it was trained to in silico, and its data.

    Args:
        case: the system.
        root: the vowels' folder.
    """

    def __init__(self, case: Case, root: Path) -> None:
        self.case = case
        self.train, self.test = case.data(root)
        self.net = case.network()
        fit(self.net, self.train, batch=BATCH, steps=case.steps, lr=case.lr)
        self.nominal, self.known = self._state(), dict[int, dict[str, Tensor]]()

    def judged(self, units: Drifting, day: int, index: int) -> float:
        """Accuracy of the network as it is on the unit as it is; nobody's budget."""
        with run_on(self.net, *map(Measured, units.devices(day, index, "judging"))):
            return accuracy(self.net, self.test)

    def fresh(self, number: int, physics: Sequence[Any]) -> None:
        """From in silico, training on the twins of a unit's first day; once a unit."""
        self.net.load_state_dict(self.known.get(number, self.nominal))
        if number not in self.known:
            with run_on(self.net, *physics):
                fit(self.net, self.train, steps=STEPS_FRESH, lr=self.case.lr / 3, batch=BATCH)
            self.known[number] = self._state()

    def _state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.net.state_dict().items()}

    def step(self, physics: Sequence[Any], optimizer: Any, count: int, *key: object) -> None:
        """One step with some samples of the training set."""
        rows = torch.randperm(len(self.train), generator=generator("drift", *key))[:count]
        with run_on(self.net, *physics):
            logits = self.net(self.train.inputs[rows])
            loss = cross_entropy(logits, self.train.targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def live(self, units: Drifting, index: int, method: str, days: Any, rate: float) -> list[float]:
        """Accuracies of one unit: fresh, then after every interval.

        Args:
            units: one of which it is.
            index: which.
            method: what is done in an interval.
            days: what the method believes on every day; the first at least.
            rate: of fine-tuning.
        """
        case, first = self.case, twins(self.case, days[0], index)
        self.fresh(units.numbers[index], first)
        lr = rate if method == "fine-tuning" else case.lr / 10
        optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, betas=(0.9, 0.99))
        values, number = [self.judged(units, 0, index)], units.numbers[index]
        for day in range(1, INTERVALS + 1):
            if method == "fine-tuning":
                devices = units.devices(day, index, "tuning")
                physics = [PhysicsAware(d, t) for d, t in zip(devices, first)]
                self.step(physics, optimizer, CALLS // case.layers, number, day)
            elif method != "no adaptation":
                physics = twins(case, days[day], index)
                for step in range(STEPS):
                    self.step(physics, optimizer, BATCH, number, day, step)
            values.append(self.judged(units, day, index))
        return values


def tuned(case: Case, bench: Bench, walk: Any) -> float:
    """The rate of fine-tuning that keeps most on a validation unit."""
    units = Drifting(case, [VALIDATION_UNITS])
    first = follow(units, walk, 0)
    return max(RATES, key=lambda rate: sum(bench.live(units, 0, "fine-tuning", first, rate)))


class Book:
    """What was found, in ``drift.json``, stored after every unit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else {}
        self.learned: dict[str, Any] = stored.get("learned", {})
        self.runs: list[dict[str, Any]] = stored.get("runs", [])

    def has(self, system: str, unit: int, method: str) -> bool:
        """Whether a unit is done."""
        return any(
            (r["system"], r["unit"], r["method"]) == (system, unit, method) for r in self.runs
        )

    def store(self) -> None:
        """Write all, with what follows from it."""
        self.path.write_text(json.dumps(self.summary(), indent=1) + "\n")

    def values(self, system: str, method: str) -> Tensor:
        """(units, intervals + 1) accuracies."""
        found = [r["accuracy"] for r in self.runs if (r["system"], r["method"]) == (system, method)]
        return torch.tensor(found, dtype=torch.float64)

    def kept(self, system: str, method: str) -> list[float]:
        """Of every unit: its mean accuracy after the first day over that of the first day."""
        values = self.values(system, method)
        return (values[:, 1:].mean(1) / values[:, 0]).tolist() if len(values) else []

    def summary(self) -> dict[str, Any]:
        """What is stored."""
        systems = {name: self._of(name) for name in CASES if len(self.values(name, "filter"))}
        kept = [value for name in systems for value in self.kept(name, "filter")]
        others = {
            f"{name}, {method}": {"mean": round(sum(values) / len(values), 6)}
            for name in systems
            for method in METHODS
            if method != "filter" and (values := self.kept(name, method))
        }
        return {
            "experiment": "drift",
            "command": "python docs/results/drift.py VOWELS",
            "metric": "mean accuracy over 50 intervals of drift over that of the fresh unit, "
            f"filtered; units of {', '.join(systems)}",
            "values": [round(value, 6) for value in kept],
            "mean": round(sum(kept) / len(kept), 6) if kept else None,
            "published": None,
            "baselines": others,
            "systems": systems,
            "notes": notes(),
            "commit": revision(),
            "torch": torch.__version__,
            "learned": self.learned,
            "seconds": round(sum(r["seconds"] for r in self.runs)),
            "runs": self.runs,
        }

    def _of(self, system: str) -> dict[str, Any]:
        """Of one system: what each method kept."""
        found: dict[str, Any] = {}
        for method in METHODS:
            values = self.values(system, method)
            if not len(values):
                continue
            fresh, later = values[:, 0], values[:, 1:]
            found[method] = {
                "units": len(values),
                "calls": calls(CASES[system], method),
                "fresh": round(float(fresh.mean()), 6),
                "kept": round(float(later.mean() / fresh.mean()), 6),
                "worst interval": round(float(later.mean(0).min() / fresh.mean()), 6),
                "worst unit": round(float((later.mean(1) / fresh).min()), 6),
                "last interval": round(float(later[:, -1].mean()), 6),
            }
        return found


def calls(case: Case, method: str) -> int:
    """Device calls in an interval."""
    own = {"no adaptation": 0, "fine-tuning": CALLS // case.layers * case.layers}
    return own.get(method, DRIVES * case.layers)


def notes() -> list[str]:
    """What has to be known beside the figures."""
    walks = "; ".join(f"{name}: {dict(case.walk)}" for name, case in CASES.items())
    return [
        f"Walk of each layer in an interval, by field: {walks}. Readout noise {NOISE:g} of the "
        "readout's deviation. On the first day a unit differs by "
        + "; ".join(f"{case.spread}" for case in CASES.values())
        + ".",
        f"First day: {FIRST} random drives a layer, {STEPS_FRESH} steps of training on the twins. "
        f"Every interval: {DRIVES} random drives a layer, {FILTER_STEPS} Gauss-Newton step and "
        f"{STEPS} steps of training on the twins. Fine-tuning: one step of physics-aware training "
        f"with labelled samples, {CALLS} calls, the twins of the first day, its rate chosen on a "
        "validation unit.",
        "The filter's walk is learned from training units, by field. The ridge refit is one "
        "linearised step around the twin of the first day, with the walk's deviation over all "
        "intervals as the prior, from the same drives.",
        "Shapes of the walks and rates were chosen on validation units.",
    ]


def main(
    root: Annotated[Path, tyro.conf.Positional],
    systems: tuple[str, ...] = tuple(CASES),
    units: int = 10,
    methods: tuple[str, ...] = METHODS,
) -> None:
    """Run what is left.

    Args:
        root: the folder of vowdata.dat.
        systems: which.
        units: how many.
        methods: which.
    """
    torch.set_num_threads(1)
    for name in systems:
        case, book = CASES[name], Book(HERE / "drift.json")
        numbers = [TEST_UNITS + n for n in range(units)]
        todo = [(m, i) for m in methods for i, n in enumerate(numbers) if not book.has(name, n, m)]
        if not todo:
            continue
        bench = Bench(case, root)
        if name not in book.learned:
            walk = learned(case)
            book.learned[name] = {"walk": walk, "rate": tuned(case, bench, walk)}
        told, fleet = book.learned[name], Drifting(case, numbers)
        days: dict[str, list[Belief]] = {"filter": follow(fleet, told["walk"], INTERVALS)}
        if any(method == "ridge refit" for method, _ in todo):
            days["ridge refit"] = refit(fleet, days["filter"][0])
        for method, index in todo:
            began = time.process_time()
            known = days.get(method, days["filter"][:1])
            values = bench.live(fleet, index, method, known, told["rate"])
            seconds = round(time.process_time() - began, 1)
            run = {"system": name, "unit": numbers[index], "method": method, "seconds": seconds}
            book.runs.append({**run, "accuracy": [round(v, 4) for v in values]})
            book.store()
            print(run, book.summary()["systems"].get(name, {}).get(method), flush=True)
    Book(HERE / "drift.json").store()


if __name__ == "__main__":
    tyro.cli(main)
