"""Training on one unit, beside its baselines; what a run directory then holds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from metaphys._runs import MEASUREMENTS, SECONDS, Progress, RunDirectory
from metaphys._runs._shape import EACH, check_like
from metaphys._runs._stored import read_json
from metaphys.nn import InSilico
from metaphys.training._draws import Params
from metaphys.training._first_rates import first_rates
from metaphys.training._judge import linear_accuracy
from metaphys.training._kinds import KINDS
from metaphys.training._wire import Wire
from metaphys.training.unit._config import TrainConfig
from metaphys.training.unit._gradients import Rules, rules
from metaphys.training.unit._learning import accuracy, learning_step, on_unit, predicted, start
from metaphys.training.unit._machine import Machine, build_machine, build_network
from metaphys.training.unit._saved import on_others, save_adaptable, save_network
from metaphys.training.unit._twins import (
    Fitting,
    begin_fitting,
    fitted,
    fitting_step,
    with_fitted,
)
from metaphys.training.unit._way import excess, way


class Training:
    """All phases of a run, each stored and continued by itself.

    Args:
        machine: what is trained.
        run: where to store it.
        progress: what a person sees meanwhile.
    """

    def __init__(self, machine: Machine, run: RunDirectory, progress: Progress) -> None:
        # What our own simulation answers costs no more than reading it back.
        archive = None if machine.config.device == "simulated" else run.path / MEASUREMENTS
        self.machine = dataclasses.replace(machine, archive=archive)
        self.run, self.progress = run, progress
        self.rows: list[dict[str, Any]] = []
        self.curves: dict[str, dict[str, list[float]]] = {}
        clock = run.path / SECONDS
        self.seconds: dict[str, float] = read_json(clock)
        check_like(self.seconds, {EACH: 0.0}, clock)
        self.fitting: Fitting | None = None

    @contextmanager
    def timed(self, method: str) -> Iterator[None]:
        """Add the seconds that this takes to those of processes that were stopped in it."""
        began = time.monotonic()
        try:
            yield
        finally:
            before = self.seconds.get(method, 0.0)
            self.seconds[method] = round(before + time.monotonic() - began, 2)
            self.run.write_json(SECONDS, self.seconds)

    def fit(self) -> None:
        """Fit the twins to the unit, where the configuration says so."""
        machine, layers = self.machine, self.machine.config.layers
        if machine.config.twin == "nominal":
            return
        called = "fitting the twins"
        with self.timed(called), self.progress.phase(called, layers) as advance:
            step = fitting_step(machine)
            self.fitting = self.run.run_phase(
                "twins", begin_fitting(machine), step, layers, advance=advance
            )
        self.machine = with_fitted(machine, self.fitting)

    def learn(self, method: str, rule: Rules, initial: Params, looked: bool) -> tuple[Params, int]:
        """One phase: what it learned, and the device calls that it took."""
        machine, steps = self.machine, self.machine.config.steps
        part = machine.looked_at

        def look(params: Params, index: int) -> float:
            return accuracy(on_unit(machine, params, part, method, "look", index), part)

        step = learning_step(machine, method, rule, look if looked else None)
        phase = method.replace(" ", "_")  # the rule "in-silico" and the baseline "in silico" differ
        with self.timed(method), self.progress.phase(method, steps) as advance:
            end = self.run.run_phase(phase, start(initial, steps), step, steps, advance=advance)
        self.curves[method] = {
            "step": list(range(1, steps + 1)),
            "loss": end.loop.losses[:steps].tolist(),
        }
        if looked:
            seen = (~end.accuracy.isnan()).nonzero().flatten()
            found = {"step": (seen + 1).tolist(), "accuracy": end.accuracy[seen].tolist()}
            self.curves[method] |= {f"look_{name}": values for name, values in found.items()}
        return end.loop.learned, int(end.calls)

    def row(self, method: str, labels: int, calls: int, reached: float, unit: bool = True) -> None:
        """One row of ``metrics.csv``."""
        config = self.machine.config
        given = {"method": method, "seed": config.seed, "unit": config.unit if unit else -1}
        cost = {"labels": labels, "device_calls": calls, "accuracy": round(reached, 6)}
        self.rows.append({**given, **cost})

    def main(self) -> tuple[Params, Tensor]:
        """The rule itself: what it learned, and the classes that the unit then tells."""
        machine, method = self.machine, self.machine.config.rule
        params, calls = self.learn(method, rules(machine), machine.initial, looked=True)
        classes = on_unit(machine, params, machine.data.test, "test")
        labels = len(machine.data.train) if calls else 0
        calls += 0 if self.fitting is None else int(self.fitting.calls)
        self.row(method, labels, calls, accuracy(classes, machine.data.test))
        return params, classes

    def for_others(self, params: Params) -> None:
        """Write what was trained as a model to adapt, with step sizes that other units bear."""
        others = on_others(self.machine)
        if others is None:
            return
        sizes, step, count = first_rates(others, params)
        called = "step sizes for other units"
        with self.timed(called), self.progress.phase(called, count) as advance:
            file = called.replace(" ", "-")
            sizes = self.run.run_phase(file, sizes, step, count, advance=advance)
        save_adaptable(self.run.path, others, params, sizes)

    def baselines(self) -> None:
        """What the rule has to be compared with, trained for as many steps on the same samples."""
        machine, test = self.machine, self.machine.data.test
        self.row(
            "linear classifier", len(machine.data.train), 0, linear_accuracy(machine.plain), False
        )
        network, known = machine.network, {"in silico": machine.nominal}
        if self.fitting is not None:
            known["in silico on the fitted twin"] = machine.twins
        if machine.config.rule == "in-silico":
            known.popitem()  # It is the run itself.
        if machine.exact is not None:
            known["exact gradient"] = machine.exact
        for method, systems in known.items():
            rule = InSilico(network, systems, penalty=machine.config.penalty)
            params, _ = self.learn(method, lambda _, rule=rule: rule, machine.initial, False)
            classes = on_unit(machine, params, test, "test")
            self.row(method, 0, 0, accuracy(classes, test))
        self._without_physics()

    def _without_physics(self) -> None:
        machine, test = self.machine, self.machine.data.test
        kind = KINDS[machine.config.system]
        network, initial = build_network(machine.config, kind, machine.data, wired=True)
        wires = [Wire(twin.ports) for twin in machine.twins]
        method = "physics removed"
        rule = InSilico(network, wires, penalty=machine.config.penalty)
        params, _ = self.learn(method, lambda _: rule, initial, False)
        classes = predicted(network, wires, params, test.inputs)
        self.row(method, len(machine.data.train), 0, accuracy(classes, test), False)


def train(config: TrainConfig, run: RunDirectory, progress: Progress) -> list[dict[str, Any]]:
    """Train on one unit and train its baselines, into a run directory, or what is left of it.

    Args:
        config: what to do.
        run: where; what is stored there already is not computed again.
        progress: what a person sees meanwhile.

    Returns:
        The rows of ``metrics.csv``.

    Raises:
        ValueError, FileNotFoundError: the data or ngspice cannot be had.
        FloatingPointError: a loss is not finite; the last state is stored.

    Example:
        >>> import tempfile
        >>> from metaphys.training import RunDirectory
        >>> from metaphys._runs import Silent
        >>> config = TrainConfig(system="plate", layers=1, batch=4).quick()
        >>> run = RunDirectory(tempfile.mkdtemp(), config.to_json())
        >>> [row["method"] for row in train(config, run, Silent())]
        ['pat', 'linear classifier', 'in silico', 'exact gradient', 'physics removed']
    """
    torch.set_num_threads(config.threads)
    training = Training(build_machine(config), run, progress)
    training.fit()
    machine = training.machine
    params, classes = training.main()
    save_network(run.path, machine, params)
    training.baselines()
    run.write_json("curves.json", training.curves)
    physical, digital = machine.counted()
    summary = {
        "confusion": _confusion(classes, machine),
        "way": way(machine, params),
        "physical_parameters": physical,
        "digital_parameters": digital,
        "judged": len(machine.data.test),
        "looked_at": "validation" if len(machine.data.validation) else "training",
        "seconds": training.seconds,
        "excess": excess(machine, params),
        "twin": fitted(training.fitting),
    }
    run.write_json("summary.json", summary)
    training.for_others(params)
    run.write_metrics(training.rows)  # last: a run that has it is whole
    return training.rows


def _confusion(classes: Tensor, machine: Machine) -> list[list[int]]:
    """Test samples by their class (row) and by the class that the unit told (column)."""
    count = machine.data.classes
    pairs = count * machine.data.test.targets + classes
    return torch.bincount(pairs, minlength=count**2).reshape(count, count).tolist()
