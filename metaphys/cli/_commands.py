"""The commands, each a dataclass: its fields are the options, its ``run`` does the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from metaphys.cli._base import Command, Flag, OptionalPath, RunCommand, Unchecked
from metaphys.cli._drift import Drift
from metaphys.cli._recalibrate import Recalibrate
from metaphys.cli._train import Train
from metaphys.rl import Config as RLConfig
from metaphys.training import Config
from metaphys.training._patience import Patience


@dataclass(frozen=True, kw_only=True)
class Info(Command):
    """Say what is installed, which kernels run and which data are there."""

    data_root: OptionalPath = None
    """A folder to look for MNIST in."""

    def run(self) -> None:
        """Print names and values."""
        from metaphys.cli._info import facts
        from metaphys.cli._tables import print_pairs

        print_pairs(facts(self.data_root))


class Options(Unchecked, Config):
    """The experiment.

    Units are named by integer seeds: below 10,000 they are for training, from there to 20,000 for
    choosing rates, from 20,000 on for the figures.
    """


@dataclass(frozen=True, kw_only=True)
class MetaTrain(RunCommand):
    """Meta-train over a population of units, judge on units never seen, and write a report."""

    options: tyro.conf.OmitArgPrefixes[Options] = field(default_factory=Options)

    def run(self) -> None:
        """Train, judge, report."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_comparison
        from metaphys.training import build, meta_train
        from metaphys.training._report import write_report

        config, directory = self.begun(self.options, build)
        with shown() as progress:
            rows = meta_train(config, directory, progress)
        report = write_report([directory.path])
        print_comparison(rows, quick=config == config.quick())
        print(f"\nreport: {report}")


class PatienceOptions(Unchecked, Patience):
    """How often and how long a device may fail."""


@dataclass(frozen=True, kw_only=True)
class Adapt(Command):
    """Adapt a meta-learned network to one new unit and store its controls."""

    checkpoint: Path
    """The model.safetensors of a run."""

    unit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The seed of a unit of the run's population; those from 20,000 on were never used in
    training."""

    device: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PLACE [PLACE ...]")] = ()
    """In its place a device of your own for each layer, as module:name or file.py:name (of a
    Device, or of a function that makes one)."""

    judged: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Test samples that the unit is judged on, at most; those of the run by default."""

    output: OptionalPath = None
    """Where to put the adapted controls; beside the checkpoint by default."""

    patience: tyro.conf.OmitArgPrefixes[PatienceOptions] = field(default_factory=PatienceOptions)

    def run(self) -> None:
        """Adapt, and say what it gained and cost."""
        from metaphys.cli._devices import named_device
        from metaphys.cli._tables import print_pairs
        from metaphys.training import adapt_unit

        devices = [named_device(place) for place in self.device] or None
        patience = self.patience.checked()
        given: Any = {"devices": devices, "judged": self.judged, "patience": patience}
        print_pairs(_adapted(adapt_unit(self.checkpoint, self.unit, self.output, **given)))


def _adapted(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("accuracy before", f"{100 * result['accuracy_before']:.1f} %"),
        ("accuracy after", f"{100 * result['accuracy_after']:.1f} %"),
        ("labels", f"{result['labels']:,}"),
        ("device calls", f"{result['device_calls']:,}"),
        ("controls", str(result["output"])),
    ]


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of a run again, or compare several runs of one command.

    Runs of meta-train or recalibrate that differ in their seed alone are pooled.
    """

    run_dirs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN_DIR [RUN_DIR ...]", help_behavior_hint=""),
    ]
    """Directories of finished runs."""

    output: OptionalPath = None
    """The file (.html) or directory to write to; the first run's directory by default."""

    def run(self) -> None:
        """Write it, and say where it is."""
        from metaphys.cli._reports import writer

        print(f"report: {writer(self.run_dirs)(self.run_dirs, self.output)}")


class RLOptions(Unchecked, RLConfig):
    """The experiment."""


@dataclass(frozen=True, kw_only=True)
class RL(RunCommand):
    """Meta-reinforcement learning on the tabular MDP, all tasks in one batch."""

    options: tyro.conf.OmitArgPrefixes[RLOptions] = field(default_factory=RLOptions)

    run_dir: Path = Path("runs/rl")
    """Where everything goes: configuration, figures, checkpoints, report."""

    def run(self) -> None:
        """Train, judge, report."""
        from metaphys.cli._progress import shown
        from metaphys.cli._tables import print_returns
        from metaphys.rl import run
        from metaphys.rl._report import write_report

        config, directory = self.begun(self.options)
        with shown() as progress:
            summary = run(config, directory, progress)
        report = write_report([directory.path])
        print_returns(summary, quick=config == config.quick())
        print(f"\nreport: {report}")


@dataclass(frozen=True, kw_only=True)
class Characterize(Command):
    """Measure noise, delay, range, memory and linearity of a device; propose windows and guard."""

    device: Annotated[str, tyro.conf.Positional]
    """circuit, plate, oscillators, shg (simulated), or yours: module:name or file.py:name."""

    low: float = -1.0
    """The least drive that may be played, in its unit."""

    high: float = 1.0
    """The greatest."""

    rate: Annotated[float | None, tyro.conf.arg(metavar="HZ")] = None
    """Samples a second; that of the simulated circuit or plate by default. Without it the drive is
    no waveform, and nothing is said of times."""

    unit: int = 0
    """The seed of a simulated unit."""

    noise: float = 0.0
    """Readout noise of a simulated unit, in the readout's unit."""

    seed: int = 0
    """Seed of the drives."""

    run_dir: Path = Path("runs/characterization")
    """Where figures (json) and picture go."""

    patience: tyro.conf.OmitArgPrefixes[PatienceOptions] = field(default_factory=PatienceOptions)

    overwrite: Flag = False
    """Replace those that are there."""

    def run(self) -> None:
        """Measure, print, store."""
        from metaphys.cli._characterize import (
            RATES,
            device_at,
            lines,
            prepared,
            results_in,
            store,
        )
        from metaphys.cli._tables import print_table
        from metaphys.physics import characterize

        patience = self.patience.checked()
        prepared(self.run_dir, self.overwrite)
        device = patience.patiently(device_at(self.device, self.unit, self.noise))
        rate = RATES.get(self.device) if self.rate is None else self.rate
        with results_in(self.run_dir):
            found = characterize(device, low=self.low, high=self.high, rate=rate, seed=self.seed)
            store(self.run_dir, found)
        print_table(("quantity", "value", ""), lines(found))
        print(f"\npicture: {self.run_dir / 'characterization.png'}")


COMMANDS = (
    Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[MetaTrain, tyro.conf.subcommand("meta-train")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Adapt, tyro.conf.subcommand("adapt")]
    | Annotated[Recalibrate, tyro.conf.subcommand("recalibrate")]
    | Annotated[Drift, tyro.conf.subcommand("drift")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[RL, tyro.conf.subcommand("rl")]
    | Annotated[Characterize, tyro.conf.subcommand("characterize")]
)
DESCRIPTION = """Differentiable meta-optimization for networks whose layers are physical systems.

metaphys --version prints the version; metaphys info also what it runs on."""
STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments ask for; ends the process where they ask for help or fail."""
    return tyro.cli(
        COMMANDS,  # type: ignore[arg-type]
        prog="metaphys",
        description=DESCRIPTION,
        args=arguments,
        config=STYLE,
    )
