"""``metaphys recalibrate``: units never seen before, from readouts instead of labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from metaphys.cli._base import RunCommand
from metaphys.training.recalibration import RecalibrationConfig


class RecalibrateOptions(RecalibrationConfig):
    """The experiment: random drives of a unit, its posterior, controls that follow from it."""

    def __post_init__(self) -> None:
        # Checked in checked(): see Options.
        pass

    def checked(self) -> RecalibrationConfig:
        """The configuration.

        Raises:
            ValueError: an option is out of range.
        """
        return RecalibrationConfig(**dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class Recalibrate(RunCommand):
    """Adapt units never seen before from readouts of random drives, without labels."""

    options: tyro.conf.OmitArgPrefixes[RecalibrateOptions] = field(
        default_factory=RecalibrateOptions
    )

    run_dir: Path = Path("runs/recalibration")
    """Where everything goes: configuration, figures, checkpoints."""

    def run(self) -> None:
        """Learn, adapt, print."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_methods
        from metaphys.training import RunDirectory
        from metaphys.training.recalibration import build, recalibrate

        kept = self.checked_kept()
        config = self.options.checked()
        config = config.quick() if self.quick else config
        build(config)  # Refuses what cannot be had before a directory is made for it.
        directory = RunDirectory(self.run_dir, config.to_json(), **kept)
        with shown() as progress:
            rows = recalibrate(config, directory, progress)
        print_methods(rows, quick=self.quick)
        print(f"\nfigures: {directory.path / 'metrics.csv'}")
