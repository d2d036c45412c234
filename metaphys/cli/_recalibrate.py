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
    """Adapt units never seen before from readouts, beside their rivals, and write a report."""

    options: tyro.conf.OmitArgPrefixes[RecalibrateOptions] = field(
        default_factory=RecalibrateOptions
    )

    run_dir: Path = Path("runs/recalibration")
    """Where everything goes: configuration, figures, checkpoints, report."""

    def run(self) -> None:
        """Learn, adapt, judge, report."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_recalibration
        from metaphys.training.recalibration import build, recalibrate
        from metaphys.training.recalibration._report import write_report

        config, directory = self.begun(self.options, build)
        with shown() as progress:
            rows = recalibrate(config, directory, progress)
        report = write_report([directory.path])
        print_recalibration(rows, config)
        print(f"\nreport: {report}")
