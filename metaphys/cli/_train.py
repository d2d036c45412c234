"""``metaphys train``: one physical network on one unit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import tyro

from metaphys.cli._base import RunCommand
from metaphys.training import TrainConfig


class TrainOptions(TrainConfig):
    """The training."""

    def __post_init__(self) -> None:
        # Checked in checked(): see Options.
        pass

    def checked(self) -> TrainConfig:
        """The configuration.

        Raises:
            ValueError: an option is out of range, or two do not go together.
        """
        return TrainConfig(**dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class Train(RunCommand):
    """Train a physical network on one unit, beside its baselines, and write a report."""

    options: tyro.conf.OmitArgPrefixes[TrainOptions] = field(default_factory=TrainOptions)

    def run(self) -> None:
        """Train, judge, report."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_training
        from metaphys.training import RunDirectory, train
        from metaphys.training.unit._machine import build_machine
        from metaphys.training.unit._report import write_report

        kept = self.checked_kept()
        config = self.options.checked()
        config = config.quick() if self.quick else config
        build_machine(config)  # Refuses what cannot be had before a directory is made for it.
        directory = RunDirectory(self.run_dir, config.to_json(), **kept)
        with shown() as progress:
            rows = train(config, directory, progress)
        report = write_report([directory.path])
        print_training(rows, quick=config.short)
        print(f"\nreport: {report}")
