"""Vowels of men, learned from women, boys and girls and one labelled vowel of each kind of one man.

Run as ``python docs/results/vowels_new_talker.py shg VOWELS --vowels 7`` (or ``circuit``, or 12)
with the folder of ``vowdata.dat``: ``vowels-new-talker.json`` and, for the others, the same with
``-circuit`` and ``-12``. A network on a unit with its controller is meta-learned on talkers of the
known groups; then a man gives one vowel of each class, and other men are judged. ``--new w`` takes
women as the new group, ``b`` boys and ``g`` girls, and leaves men out: all was chosen so.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from _controller import Controller, Ensemble, accuracy, fine_tune, fit
from _rows import HERE, Row
from _talker_machines import MACHINES, Machine
from _talker_page import MAIN, tell
from _talkers import FORMANTS, Episodes, Talkers
from _vowels import counted
from torch import nn

from metaphys.nn import run_on
from metaphys.physics import Device, PhysicsAware, System
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS
from metaphys.training._wire import Wire

DRAWS = 20
EPISODES = 4  # of one step
CALLS = 250
APART = 1000
"""Between the seeds of two members of an ensemble."""
RATES = (0.001, 0.003, 0.01)  # of fine-tuning
SHIFTED = {
    "in silico, moved to the unit": "in silico",
    MAIN: "shift",
    "meta-learned shift and gradient steps": "steps",
}


class Experiment:
    """One machine, one seed: a unit, its controllers, and the talkers that judge them."""

    def __init__(self, machine: Machine, talkers: Talkers, seed: int) -> None:
        self.machine, self.talkers, self.seed = machine, talkers, seed
        order = torch.randperm(
            len(talkers.givers(talkers.new)), generator=torch.Generator().manual_seed(seed)
        )
        self.givers = [talkers.givers(talkers.new)[n] for n in order[:DRAWS]]
        self._trained: dict[str, Ensemble] = {}

    @property
    def inner(self) -> int:
        """Gradient steps of the controller."""
        return self.machine.inner[self.talkers.classes]

    # What is learned from the known groups -----------------------------------------------------

    def controller(self, steps: int, net: nn.Module | None = None, member: int = 0) -> Controller:
        """As it begins, with the machine's network or another."""
        machine = self.machine
        if net is None:
            net = machine.network(self.talkers.classes, self._first(member))
        return Controller(net, self.talkers, steps, machine.offset, machine.scale)

    def _first(self, member: int) -> int:
        """Of the first drives of a member, and of its episodes."""
        return self.seed + APART * member

    def on_unit(self, ensemble: Ensemble, key: int) -> run_on:
        """Physics-aware on this seed's unit, with noise of ``key``."""
        return run_on(ensemble, *self.layers(key) * len(ensemble.members))

    def layers(self, key: int) -> list[PhysicsAware]:
        """The unit of each layer with its twin."""
        return [PhysicsAware(device, twin) for device, twin in zip(self._unit(key), self.twins)]

    @functools.cached_property
    def twins(self) -> list[System]:
        """What the gradients of the unit's layers go through: nominal, or fitted to it."""
        return self.machine.fitted(self.talkers.classes, self._unit(1 + DRAWS))

    def _unit(self, key: int) -> list[Device]:
        first = TEST_UNITS if self.talkers.new == "m" else VALIDATION_UNITS
        return self.machine.unit(self.talkers.classes, first + self.seed, key)

    def learned(self, kind: str) -> Ensemble:
        """``in silico``; from there on the unit: ``shift``, ``steps`` or ``unshifted``."""
        if kind not in self._trained:
            train = (
                self._in_silico if kind == "in silico" else functools.partial(self._on_unit, kind)
            )
            self._trained[kind] = Ensemble(map(train, self.members))
        return self._trained[kind]

    @property
    def members(self) -> range:
        """Of an ensemble."""
        return range(self.machine.members[self.talkers.classes])

    def _in_silico(
        self, member: int, net: nn.Module | None = None, steps: int | None = None
    ) -> Controller:
        machine, found = self.machine, self.controller(0, net, member)
        steps = machine.steps if steps is None else steps
        fit(found, self._draw, steps=steps, lr=machine.lr, seed=self._first(member))
        return found

    @functools.cached_property
    def without(self) -> dict[str, Ensemble]:
        """Without physics, on the same episodes: wires for systems, and a linear layer."""
        classes = self.talkers.classes
        wire, steps = Wire(self.machine.twin(classes).ports), self.machine.steps_without[classes]

        def removed(member: int) -> nn.Module:
            return self.machine.network(classes, self._first(member), wire)

        def linear(member: int) -> nn.Module:
            layer = nn.Linear(12, classes)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            return layer

        nets = {"physics removed": removed, "linear layer, the same episodes": linear}
        return {
            name: Ensemble(self._in_silico(m, net(m), steps) for m in self.members)
            for name, net in nets.items()
        }

    def _on_unit(self, kind: str, member: int) -> Controller:
        machine = self.machine
        found = self.controller(self.inner if kind == "steps" else 0, member=member)
        found.begin_as(self.learned("in silico").members[member])
        classes, shifted, seed = self.talkers.classes, kind != "unshifted", self._first(member)
        if steps := machine.steps_on_twin[classes]:
            averaged = machine.averaged[classes]
            how: dict[str, Any] = {"steps": steps, "lr": machine.lr, "averaged": averaged}
            with run_on(found, *self.twins):
                fit(found, self._draw, seed=2000 + seed, shifted=shifted, **how)
        how = {"steps": machine.steps_on_unit[classes], "lr": machine.lr_on_unit[classes]}
        with run_on(found, *self.layers(0)):
            fit(found, self._draw, seed=1000 + seed, shifted=shifted, **how)
        return found

    def _draw(self, generator: torch.Generator) -> Episodes:
        machine, classes = self.machine, self.talkers.classes
        noise = machine.jitter[classes], machine.jitter_of_class[classes]
        return self.talkers.episodes(EPISODES, machine.queries[classes], generator, *noise)

    # Judging -----------------------------------------------------------------------------------

    def judge(self, draw: int) -> dict[str, float]:
        """Accuracies on what other talkers of the new group said, by method."""
        episode = self.talkers.episode(self.givers[draw])
        found = self.linear(episode) | self.removed(episode)
        for method, kind in SHIFTED.items():
            if kind == "steps" and not self.inner:
                continue
            ensemble = self.learned(kind)
            with self.on_unit(ensemble, 1 + draw):
                found[method] = accuracy(ensemble, episode)
        found["not adapted"] = self.few_steps(episode, 1 + draw, rate=None)
        found["not adapted, then fine-tuned"] = self.few_steps(episode, 1 + draw, rate=self.rate)
        return found

    def few_steps(self, episode: Episodes, key: int, rate: float | None) -> float:
        """Adam on the labelled vowels for all calls, on what was learned without shifts."""
        ensemble = copy.deepcopy(self.learned("unshifted"))
        calls = self.talkers.classes * self.machine.layers * len(self.members)
        with self.on_unit(ensemble, key):
            if rate is not None:
                for member in ensemble.members:
                    fine_tune(member, episode, CALLS // calls, rate)
            return accuracy(ensemble, episode, shifted=False)

    @functools.cached_property
    def rate(self) -> float:
        """Of fine-tuning: the best for talkers of the known groups."""
        talkers = self.talkers
        names = [talkers.givers(group)[self.seed] for group in talkers.known]

        def reached(rate: float) -> float:
            episodes = (talkers.episode(name) for name in names)
            return sum(self.few_steps(episode, 0, rate) for episode in episodes)

        return max(RATES, key=reached)

    def removed(self, episode: Episodes) -> dict[str, float]:
        """What the rest of the method understands without physics."""
        return {name: accuracy(each, episode) for name, each in self.without.items()}

    def linear(self, episode: Episodes) -> dict[str, float]:
        """A linear classifier of log formants, without and with the talker's mean shift."""
        shifted = self.talkers.shifted(episode.inputs, episode.residuals)
        inputs = {
            "linear classifier": episode.inputs,
            "linear classifier, mean shift of log formants": shifted,
        }
        targets, model = episode.targets[0].numpy(), self._linear
        return {n: round(float(model.score(x[0].numpy(), targets)), 6) for n, x in inputs.items()}

    @functools.cached_property
    def _linear(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        known = self.talkers.learned_from()
        model = LogisticRegression(max_iter=5000)
        return model.fit(known.inputs.numpy(), known.targets.numpy())


def name(system: str, classes: int) -> str:
    """The experiment's, and its file's."""
    parts = [
        "vowels-new-talker",
        *(["12"] if classes == 12 else []),
        *([system] * (system != "shg")),
    ]
    return "-".join(parts)


def head(system: str, talkers: Talkers, seeds: Sequence[int]) -> dict[str, Any]:
    """What is stored beside the runs."""
    machine, classes = MACHINES[system], talkers.classes
    net = machine.network(classes, 0)
    physical, digital = counted(net)
    inner, members = machine.inner[classes], machine.members[classes]
    once = classes * machine.layers * members
    calls, at_most = inner * once, CALLS // once * once
    listed = " ".join(map(str, seeds))
    return {
        "experiment": name(system, classes),
        "command": f"python docs/results/vowels_new_talker.py {system} VOWELS --vowels {classes} "
        f"--seed {listed}",
        "metric": f"accuracy of {classes} vowels of other men, after one labelled vowel of each "
        f"kind of one man, mean of {DRAWS} men",
        "published": None,
        "device_calls": {"to adapt": 0, "with gradient steps": calls, "fine-tuning": at_most},
        "physical_parameters": members * physical,
        "digital_parameters": members * (digital + FORMANTS),
        "notes": [
            f"{machine.layers} layers on a unit of {machine.spread}, number {TEST_UNITS} + seed; "
            f"SNR {machine.snr:g} dB; the twin is {_twin(machine, classes)}. A seed is also the "
            f"first drives and which {DRAWS} men give their vowels.",
            f"{_training(machine, classes)}, on women, boys and girls; "
            "men are heard in the test alone. With women as the new group, learned from boys and "
            "girls, settings were chosen, and the shift alone above the shift and gradient steps; "
            f"{inner} of these are tried here.",
            "Digital parameters are the element-wise scales, a factor for each class, and how far "
            "the mean shift of each formant is trusted.",
            *_chosen(machine, classes),
            *_ensemble(members),
        ],
    }


def _twin(machine: Machine, classes: int) -> str:
    nominal, count = "the nominal system", machine.drives[classes]
    return f"fitted to {count} random drives of each layer" if count else nominal


def _chosen(machine: Machine, classes: int) -> list[str]:
    if not machine.averaged[classes]:
        return []
    without = machine.steps_without[classes]
    return [
        "The noise on each formant of a class, and the running mean, were chosen with women, boys "
        "and girls as the new group in turn. What is trained without physics takes "
        f"{without} steps, as many as the machine in all."
    ]


def _ensemble(members: int) -> list[str]:
    if members == 1:
        return []
    return [
        f"{members} networks, each from first drives of its own, run on the unit one after the "
        "other, and their logits are averaged; so do those without physics. Fine-tuning's calls "
        "are shared among them."
    ]


def _training(machine: Machine, classes: int) -> str:
    on_twin, jitter = machine.steps_on_twin[classes], machine.jitter[classes]
    of_class = machine.jitter_of_class[classes]
    return (
        f"{machine.steps} steps in silico"
        + f", {on_twin} on the fitted twins" * (on_twin > 0)
        + " with a running mean of the numbers" * machine.averaged[classes]
        + f" and {machine.steps_on_unit[classes]} on the unit of {EPISODES} episodes of "
        f"{machine.queries[classes]} vowels"
        + f" with {jitter:g} deviations of noise on each formant" * (jitter > 0)
        + f" and {of_class:g} on each of a class" * (of_class > 0)
    )


def main(
    system: Annotated[Literal["shg", "circuit"], tyro.conf.Positional],
    root: Annotated[Path, tyro.conf.Positional],
    vowels: Literal[7, 12] = 7,
    seed: tuple[int, ...] = (0, 1, 2),
    new: Literal["m", "w", "b", "g"] = "m",
) -> None:
    """Run what is left of it, store, print.

    Args:
        system: what the layers are.
        root: the folder of ``vowdata.dat``.
        vowels: how many.
        seed: units, first drives and draws.
        new: the new group; the others are for choosing settings: men are left out, each of three
            groups is learned about from the other two, and nothing is stored.
    """
    torch.set_num_threads(1)
    talkers = Talkers(root, vowels, known="wbg".replace(new, ""), new=new)
    stored = Row(head(system, talkers, seed), main=MAIN, folder=HERE)
    for number in seed:
        experiment = Experiment(MACHINES[system], talkers, number)
        if new != "m":
            found = [experiment.judge(draw) for draw in range(DRAWS)]
            print({n: round(sum(f[n] for f in found) / DRAWS, 4) for n in found[0]}, flush=True)
            continue
        for draw in range(DRAWS):
            stored.run(number, draw, functools.partial(experiment.judge, draw))
    if new == "m":
        tell()


if __name__ == "__main__":
    tyro.cli(main)
