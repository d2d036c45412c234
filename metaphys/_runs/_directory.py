"""A run directory: everything that a run leaves behind, and what it needs to go on."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

import torch

from metaphys._errors import check, refuse
from metaphys._runs._checkpoint import load_tree, save_tree
from metaphys._runs._environment import environment
from metaphys._runs._metrics import METRICS
from metaphys._runs._stored import KIND, read_config
from metaphys._saving import write_atomically

State = TypeVar("State")

MEASUREMENTS = "measurements.sqlite"
"""The file of a run in which measurements are kept as they are taken."""

SECONDS = "seconds.json"
"""The file of a run in which the seconds of all its processes are added."""

FILES = ("config.json", "metrics.csv", "curves.json", "summary.json", "report.html")
FILES += ("model.safetensors", "network.safetensors", "checkpoints", "pictures")
FILES += (MEASUREMENTS, SECONDS)


class RunDirectory:
    """The files of one run.

    =======================  ====================================================================
    ``config.json``          the configuration, the command, versions and machine
    ``metrics.csv``          the figures, one row for each
    ``measurements.sqlite``  what was measured, committed as it is taken, where it is archived
    ``checkpoints/``         the state of every phase, written atomically
    ``model.safetensors``    what ``adapt`` takes: what was meta-learned, or trained where it fits
    ``network.safetensors``  the parameters that were trained on a unit
    ``seconds.json``         how long each phase took, where a run of several processes adds them
    ``summary.json``         what else is to be kept, seconds among it
    ``report.html``          the comparison, with its pictures inside
    ``pictures/``            the same pictures as files
    =======================  ====================================================================

    Args:
        path: the directory; made if it is not there.
        config: plain values, to be stored and compared on resumption.
        resume: go on with the run that is there.
        overwrite: delete the run that is there.

    Raises:
        FileExistsError: there is a run and neither ``resume`` nor ``overwrite`` is given.
        ValueError: the run that is to be resumed has another configuration.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> run = RunDirectory(folder, {"seed": 0})
        >>> def halve(state, index):
        ...     return {"x": state["x"] / 2}
        >>> run.run_phase("halving", {"x": torch.tensor(8.0)}, halve, steps=3)
        {'x': tensor(1.)}
        >>> again = RunDirectory(folder, {"seed": 0}, resume=True)
        >>> again.finished("halving")
        True
    """

    def __init__(
        self,
        path: str | Path,
        config: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.config = json.loads(json.dumps(dict(config)))
        stored = self.path / "config.json"
        if not stored.exists():
            check(
                not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())),
                "run_dir",
                expected="a new or empty directory, or one that holds a run",
                got=f"{self.path}, which holds something else",
                remedy="Choose another one.",
                error=FileExistsError,
            )
        elif resume:
            self._check_same_config(read_config(self.path))
            return
        elif overwrite:
            read_config(self.path)  # Refuses to delete what is no run of ours.
            self._clear()
        else:
            refuse(
                "run_dir",
                expected="a new directory",
                got=f"{self.path}, which holds a run",
                remedy="Continue it with --resume, or delete it with --overwrite.",
                error=FileExistsError,
            )
        made = {"kind": KIND, "config": self.config, "environment": environment()}
        writable_or_refuse(self.path)
        write_atomically(stored, json.dumps(made, indent=2).encode())

    def _clear(self) -> None:
        for name in FILES:
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def _check_same_config(self, stored: Mapping[str, Any]) -> None:
        there = stored["config"]
        others = sorted(set(there) ^ set(self.config))
        check(
            not others,
            "run_dir",
            expected="a run of the same command and version",
            got=f"{self.path}, whose run differs in which options there are: {', '.join(others)}",
            remedy="Choose another one, or delete it with --overwrite.",
        )
        differing = {
            name: f"{there[name]!r} instead of {self.config[name]!r}"
            for name in sorted(there)
            if there[name] != self.config[name]
        }
        check(
            not differing,
            "run_dir",
            expected="a run with the same configuration",
            got=f"one with {differing}",
            remedy="Resume it with the options that it was started with.",
        )

    def finished(self, phase: str) -> bool:
        """Whether a phase has run to its end."""
        return (self.path / "checkpoints" / f"{phase}.done").exists()

    def run_phase(
        self,
        phase: str,
        state: State,
        step: Callable[[State, int], State],
        steps: int,
        *,
        until: Callable[[State], bool] = lambda state: False,
        advance: Callable[[int], None] = lambda done: None,
        every_seconds: float = 10.0,
    ) -> State:
        """Apply ``step`` to ``state`` ``steps`` times, so that it can be stopped and continued.

        ``step(state, index)`` must depend on its arguments alone: random numbers come from the
        index, not from a generator that runs along. Then a run that was stopped, by whatever
        means, ends with the same numbers to the bit.

        Args:
            phase: a name, unique in the run.
            state: a tree of tensors to start from.
            step: one step.
            steps: how many, at most.
            until: from a state to whether it is the last.
            advance: called with the number of steps that are done, for a progress bar.
            every_seconds: how often the state is stored.
        """
        file = self.path / "checkpoints" / f"{phase}.safetensors"
        done = (0, state)
        if file.exists():
            stored = load_tree(file, {"index": torch.tensor(0), "state": state})
            done = (int(stored["index"]), stored["state"])
        advance(done[0])
        saved = time.monotonic()
        try:
            while done[0] < steps and not until(done[1]):
                # One assignment: an interrupt finds the index and the state that belong together.
                done = (done[0] + 1, step(done[1], done[0]))
                advance(done[0])
                if time.monotonic() - saved > every_seconds:
                    self._store(file, *done)
                    saved = time.monotonic()
        finally:
            self._store(file, *done)
        write_atomically(file.with_suffix(".done"), b"")
        return done[1]

    def _store(self, file: Path, index: int, state: Any) -> None:
        save_tree(file, {"index": torch.tensor(index), "state": state}, {"kind": "phase"})

    def write_metrics(
        self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = METRICS
    ) -> None:
        """Write ``metrics.csv``: by default method, seed, unit, labels, device_calls, accuracy."""
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: row[name] for name in columns} for row in rows)
        write_atomically(self.path / "metrics.csv", text.getvalue().encode())

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file."""
        write_atomically(self.path / name, json.dumps(value, indent=2).encode())


WRITABLE = "a folder that can be made and written to"


def writable_or_refuse(folder: Path, argument: str = "run_dir", expected: str = WRITABLE) -> None:
    """Make a folder where there is none.

    Args:
        folder: the folder.
        argument: what named it.
        expected: what it has to be.

    Raises:
        OSError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refuse(
            argument,
            expected=expected,
            got=f"{folder} ({error.strerror})",
            error=type(error),
        )
