"""``metaphys train``: one physical network on one unit."""

from __future__ import annotations

from dataclasses import dataclass, field

import tyro

from metaphys.cli._base import RunCommand, Unchecked
from metaphys.training import TrainConfig


class TrainOptions(Unchecked, TrainConfig):
    """The training."""


@dataclass(frozen=True, kw_only=True)
class Train(RunCommand):
    """Train a physical network on one unit, beside its baselines, and write a report."""

    options: tyro.conf.OmitArgPrefixes[TrainOptions] = field(default_factory=TrainOptions)

    def run(self) -> None:
        """Train, judge, report."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_training
        from metaphys.training import train
        from metaphys.training.unit._machine import build_machine
        from metaphys.training.unit._report import write_report

        config, directory = self.begun(self.options, build_machine)
        with shown() as progress:
            rows = train(config, directory, progress)
        report = write_report([directory.path])
        print_training(rows, quick=config.short)
        print(f"\nreport: {report}")
