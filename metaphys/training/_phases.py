"""The phases of a run, each stored and continued by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys._runs import Progress, RunDirectory
from metaphys.training._draws import Params
from metaphys.training._flat import Flat, UntilFlat, courses, ended
from metaphys.training._loop import Loop, begin


class Timed(NamedTuple):
    """A loop of whatever kind, and the seconds of all processes that it took."""

    loop: Any
    seconds: Tensor


class Phases:
    """Runs phases and keeps what is told of them.

    Args:
        run: where they are stored.
        progress: what a person sees meanwhile.

    Attributes:
        curves: the losses of each training; of training until it is flat a mean for each epoch,
            and for each unit its accuracies.
        seconds: how long each training took.
    """

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self.curves: dict[str, dict[str, list[Any]]] = {}
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, state: Any, step: Any, steps: int, **given: Any) -> Any:
        """One phase; one that was finished is read."""
        file = name.replace(" ", "-").replace(",", "").replace("'", "")
        with self._progress.phase(name, steps) as advance:
            return self._run.run_phase(file, state, step, steps, advance=advance, **given)

    def trained(
        self, name: str, start: Params, step: Callable[[Loop, int], Loop], steps: int
    ) -> Params:
        """A phase of training; what it learned."""
        return self.outer(name, begin(start, steps), step, steps)

    def outer(self, name: str, loop: Loop, step: Callable[[Loop, int], Loop], steps: int) -> Any:
        """One outer loop; what it learned, or the best of it where it was scored."""
        end: Loop = self.timed(name, loop, step, steps)
        losses = end.losses[:steps].tolist()
        self.curves[name] = {"step": list(range(1, steps + 1)), "loss": losses}
        return end.learned if end.score < 0 else end.best

    def flat(self, name: str, training: UntilFlat) -> Flat:
        """Training until it is flat."""
        begun, step, epochs = training
        limit, each = training.limit, epochs.steps
        end: Flat = self.timed(name, begun, step, limit, until=lambda timed: ended(timed.loop))
        accuracy = courses(end)
        done = max(map(len, accuracy))
        self.curves[name] = {
            "step": [each * (epoch + 1) for epoch in range(done)],
            "loss": end.losses[:done].tolist(),
            "accuracy": accuracy,
        }
        return end

    def timed(self, name: str, loop: Any, step: Any, steps: int, **given: Any) -> Any:
        """One phase whose seconds are told; its state at the end."""

        def timed(state: Timed, index: int) -> Timed:
            began = time.perf_counter()
            loop = step(state.loop, index)
            return Timed(loop, state.seconds + (time.perf_counter() - began))

        begun = Timed(loop, torch.zeros((), dtype=torch.float64))
        end: Timed = self(name, begun, timed, steps, **given)
        self.seconds[name] = round(float(end.seconds), 2)
        return end.loop

    @contextmanager
    def shown(self, name: str, steps: int) -> Iterator[Callable[[int], None]]:
        """What is not stored: timed, and shown to a person."""
        began = time.perf_counter()
        with self._progress.phase(name, steps) as advance:
            yield advance
        self.seconds[name] = round(time.perf_counter() - began, 2)
