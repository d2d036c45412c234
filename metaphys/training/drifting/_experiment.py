"""The experiment: units that drift for many intervals, under every method."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metaphys._runs import Progress, RunDirectory
from metaphys.physics import Belief
from metaphys.training._draws import TEST_UNITS, TRAINING_UNITS, Params
from metaphys.training._loop import Loop, begin
from metaphys.training.drifting import _following as following
from metaphys.training.drifting._config import DriftConfig
from metaphys.training.drifting._courses import ROW, Course, chosen, rows
from metaphys.training.drifting._equalizing import Equalizer
from metaphys.training.drifting._following import Followed, Step
from metaphys.training.drifting._methods import (
    FineTuning,
    Method,
    OnTwins,
    Untouched,
    lived,
    score,
)
from metaphys.training.drifting._setting import Setting, build
from metaphys.training.drifting._training import of_the_first_day, stepped
from metaphys.training.drifting._units import DriftingUnits

RATES, SPLITS = (0.001, 0.003, 0.01, 0.03), (1, 5)
"""What fine-tuning is tuned over: step sizes, and into how many steps the calls are split."""


class Experiment:
    """All phases of a run, each stored and continued by itself.

    Args:
        setting: what drifts.
        run: where to store it.
        progress: what a person sees meanwhile.
        numbers: seeds of the units that are judged; the first test units by default.
    """

    def __init__(
        self,
        setting: Setting,
        run: RunDirectory,
        progress: Progress,
        numbers: Sequence[int] | None = None,
    ) -> None:
        config = setting.config
        default = range(TEST_UNITS, TEST_UNITS + config.units)
        tuned = range(TRAINING_UNITS, TRAINING_UNITS + config.walk_units)
        self.setting, self.config, self.run, self.progress = setting, config, run, progress
        self.judged = DriftingUnits(setting, default if numbers is None else numbers)
        self.tuned = DriftingUnits(setting, tuned)

    def phase(self, name: str, state: Any, step: Any, steps: int) -> Any:
        """One phase; a phase that was finished is read."""
        with self.progress.phase(name, steps) as advance:
            return self.run.run_phase(name.replace(" ", "-"), state, step, steps, advance=advance)

    def in_silico(self) -> Params:
        """Training on the nominal systems."""
        setting, steps = self.setting, self.config.steps
        nominal = [setting.twin] * self.config.layers

        def step(loop: Loop, index: int) -> Loop:
            key = ("in silico", index)
            return stepped(setting, loop, nominal, self.config.lr, *key, at=(index, steps))

        return self.phase("in silico", begin(setting.initial, steps), step, steps).learned

    def met(self, name: str, units: DriftingUnits) -> Belief:
        """What is believed of units on the first day."""
        size = following.blank(self.setting, units)
        return self.phase(name, size, lambda _, index: following.met(self.setting, units), 1)

    def walk(self, first: Belief) -> dict[str, float]:
        """How far units drift in an interval, learned from training units."""
        step = following.learning(self.setting, self.tuned, first)
        guess = following.guess(self.setting)
        found = self.phase("learning the walk", guess, step, following.ROUNDS)
        return following.named(self.setting, found)

    def followed(self, name: str, first: Belief, step: Step) -> Followed:
        """What is believed of units, from the first day to the last."""
        days = self.config.intervals
        return self.phase(name, following.begun(first, days), step, days)

    def first_day(
        self, name: str, units: DriftingUnits, known: Belief, start: Params
    ) -> list[Params]:
        """What training on the twins of the first day makes of the start, for each unit."""

        def step(found: list[Params], index: int) -> list[Params]:
            physics = Equalizer(self.setting, following.twins(self.setting, known, index)).twins
            own = of_the_first_day(self.setting, start, physics, units.numbers[index])
            return [*found[:index], own, *found[index + 1 :]]

        return self.phase(name, [start] * len(units.numbers), step, len(units.numbers))

    def trials(self, start: Params, known: Belief) -> list[dict[str, Any]]:
        """What each kind of fine-tuning keeps on training units."""
        setting, units = self.setting, self.tuned
        first = self.first_day("first day of training units", units, known, start)
        kinds = list(itertools.product(RATES, SPLITS))

        def trial(found: Tensor, index: int) -> Tensor:
            method, every = FineTuning(known, *kinds[index]), range(len(units.numbers))
            reached = [score(setting, units, unit, method, first[unit]) for unit in every]
            found = found.clone()
            found[index] = sum(reached) / len(reached)
            return found

        zero = torch.zeros(len(kinds), dtype=torch.float64)
        found = self.phase("tuning fine-tuning", zero, trial, len(kinds)).tolist()
        return [
            {"lr": lr, "steps": steps, "accuracy": round(accuracy, 6)}
            for (lr, steps), accuracy in zip(kinds, found)
        ]

    def lives(self, name: str, method: Method, first: Sequence[Params]) -> Tensor:
        """(units, intervals + 1) accuracies under one method; a step is a unit."""
        units, days = self.judged, self.config.intervals + 1

        def step(found: Tensor, index: int) -> Tensor:
            found = found.clone()
            found[index] = lived(self.setting, units, index, method, first[index])
            return found

        nothing = torch.zeros(len(units.numbers), days, dtype=torch.float64)
        return self.phase(name, nothing, step, len(units.numbers))

    def main(self) -> tuple[list[Course], dict[str, Any]]:
        """Every method's course over time, and what was learned for them."""
        setting, units, start = self.setting, self.judged, self.in_silico()
        known = self.met("measuring training units", self.tuned)
        walk, trials = self.walk(known), self.trials(start, known)
        best = chosen(trials)
        known = self.met("measuring units", units)
        first = self.first_day("first day", units, known, start)
        step = following.filtering(setting, units, walk)
        believed = self.followed("following by the filter", known, step)
        refit = self.followed("refitting", known, following.refitting(setting, units))
        tuning = FineTuning(known, best["lr"], best["steps"])
        methods: dict[str, Method] = {
            "filter": OnTwins(believed),
            "no adaptation": Untouched(known),
            "fine-tuning": tuning,
            "ridge refit": OnTwins(refit),
        }
        courses = [
            Course(name, tuple(units.numbers), self.lives(name, method, first).tolist())
            for name, method in methods.items()
        ]
        return courses, {"walk": {"true": dict(setting.walk), "learned": walk}, "trials": trials}


def drift(
    config: DriftConfig, run: RunDirectory, progress: Progress, *, setting: Setting | None = None
) -> list[dict[str, Any]]:
    """Run the whole experiment into a run directory, or what is left of it.

    Args:
        config: what to do.
        run: where; what is stored there already is not computed again.
        progress: what a person sees meanwhile.
        setting: a network of your own, with this configuration; that of ``build`` by default.

    Returns:
        The rows of ``metrics.csv``: one for each method, unit and interval.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had.
        FloatingPointError: a loss is not finite; the last state is stored.

    Example:
        >>> import tempfile
        >>> from metaphys._runs import Silent
        >>> config = DriftConfig(units=1).quick()
        >>> run = RunDirectory(tempfile.mkdtemp(), config.to_json())
        >>> found = drift(config, run, Silent())
        >>> len(found), found[0]["method"], found[0]["interval"]
        (20, 'filter', 0)
    """
    torch.set_num_threads(1)
    built = build(config) if setting is None else setting
    courses, learned = Experiment(built, run, progress).main()
    found = rows(courses, config, chosen(learned["trials"])["steps"])
    run.write_json("summary.json", learned)
    run.write_metrics(found, ROW)
    return found
