"""What commands have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metaphys._errors import check

Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """What every command has."""

    debug: Flag = False
    """Show the traceback of an error (METAPHYS_DEBUG=1 does so too)."""

    @abstractmethod
    def run(self) -> None:
        """Do it."""


@dataclass(frozen=True, kw_only=True)
class RunCommand(Command):
    """What every command has that leaves a run directory."""

    run_dir: Path = Path("runs/latest")
    """Where everything goes: configuration, figures, checkpoints, model, report."""

    resume: Flag = False
    """Go on with the run that is there; it ends with the same numbers as without the stop."""

    overwrite: Flag = False
    """Delete the run that is there."""

    quick: Flag = False
    """So few steps that the figures mean nothing: to see that all of it runs."""

    def checked_kept(self) -> dict[str, bool]:
        """What becomes of a run that is there: arguments of ``RunDirectory``.

        Raises:
            ValueError: it is to be continued and deleted.
        """
        check(
            not (self.resume and self.overwrite),
            "resume",
            expected="given without --overwrite",
            got="both",
            remedy="Continue the run or delete it.",
        )
        return {"resume": self.resume, "overwrite": self.overwrite}
