"""What a run of the reinforcement-learning experiment is made of: every choice, documented once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from metaphys._errors import check
from metaphys._options import Options
from metaphys.rl._methods import METHODS


@dataclass(frozen=True)
class Config(Options):
    """Meta-reinforcement learning on random tabular Markov decision processes.

    Training, validation and test tasks are drawn from three generators, so that no task occurs
    twice.
    """

    methods: tuple[str, ...] = ("maml", "mlp", "tabular")
    """What to train, by name; ``all`` stands for the whole comparison."""

    seed: int = 0
    """The first seed of everything random: start parameters, tasks, trajectories."""

    seeds: int = 1
    """How many seeds to run, one after the other."""

    outer_iters: int = 500
    """Steps of the outer optimizer."""

    tasks: int = 40
    """Tasks in each."""

    evaluate_every: int = 10
    """Outer steps between two points of the learning curves."""

    evaluation_tasks: int = 100
    """Fresh tasks at each point of the curves."""

    test_tasks: int = 2000
    """Fresh tasks for the figures at the end."""

    threads: int = 1
    """Threads of the tensor library. Small tensors gain nothing from more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = ("seeds", "outer_iters", "tasks", "evaluate_every", "evaluation_tasks")
        for name in (*positive, "test_tasks", "threads"):
            value = getattr(self, name)
            check(value >= 1, name, expected=">= 1", got=value)
        # Generators take 64 bits, and each purpose adds to the seed.
        check(0 <= self.seed < 2**62, "seed", expected="from 0 to 2**62 - 1", got=self.seed)
        unknown = sorted(set(self.methods) - {*METHODS, "all"})
        expected = f"names among {['all', *METHODS]}"
        check(bool(self.methods) and not unknown, "methods", expected=expected, got=unknown)

    @property
    def names(self) -> tuple[str, ...]:
        """The methods to run, in the order of the comparison."""
        chosen = METHODS if "all" in self.methods else self.methods
        return tuple(name for name in METHODS if name in chosen)

    def quick(self) -> Config:
        """The same with so little of it that the figures mean nothing: to see that it runs."""
        most = {"outer_iters": 4, "tasks": 4, "evaluate_every": 2}
        most |= {"evaluation_tasks": 4, "test_tasks": 8}
        few = {name: min(getattr(self, name), value) for name, value in most.items()}
        return dataclasses.replace(self, **few)
