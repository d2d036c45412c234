"""``metaphys recalibrate``: units never seen before, from readouts instead of labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from metaphys.cli._base import RunCommand, Unchecked
from metaphys.training.recalibration import RecalibrationConfig


class RecalibrateOptions(Unchecked, RecalibrationConfig):
    """The experiment: random drives of a unit, its posterior, controls that follow from it."""


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
        from metaphys.training.recalibration import build, recalibrate

        config, directory = self.begun(self.options, build)
        with shown() as progress:
            rows = recalibrate(config, directory, progress)
        print_methods(rows, quick=self.quick)
        print(f"\nfigures: {directory.path / 'metrics.csv'}")
