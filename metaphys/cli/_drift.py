"""``metaphys drift``: networks on units that walk away from what they were."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from metaphys.cli._base import RunCommand, Unchecked
from metaphys.training.drifting import DriftConfig


class DriftOptions(Unchecked, DriftConfig):
    """The experiment: random walks of the mismatch, a few calls in every interval."""


@dataclass(frozen=True, kw_only=True)
class Drift(RunCommand):
    """Keep networks on drifting units at work, beside fine-tuning, and write a report."""

    options: tyro.conf.OmitArgPrefixes[DriftOptions] = field(default_factory=DriftOptions)

    run_dir: Path = Path("runs/drift")
    """Where everything goes: configuration, figures, checkpoints, report."""

    def run(self) -> None:
        """Learn, follow, judge, report."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_courses
        from metaphys.training.drifting import build, drift
        from metaphys.training.drifting._report import write_report

        config, directory = self.begun(self.options, build)
        with shown() as progress:
            rows = drift(config, directory, progress)
        report = write_report([directory.path])
        print_courses(rows, config)
        print(f"\nreport: {report}")
