"""What commands have in common."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from metaphys._errors import check

if TYPE_CHECKING:
    from metaphys._runs import RunDirectory

Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """What every command has."""

    debug: Flag = False
    """Show the traceback of an error (METAPHYS_DEBUG=1 does so too)."""

    stored = False  # whether there is something by now that it could go on from; no option

    @abstractmethod
    def run(self) -> None:
        """Do it."""


class Unchecked:
    """A configuration as options: ``class Options(Unchecked, Config)``.

    It is checked in :meth:`checked`, out of the parser's reach, which would frame our messages in
    its own.
    """

    def __post_init__(self) -> None:
        pass

    def checked(self) -> Any:
        """The configuration.

        Raises:
            ValueError: an option is out of range, or two do not go together.
        """
        kind = type(self).__bases__[1]
        return kind(**dataclasses.asdict(self))  # type: ignore[call-overload]


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

    def begun(
        self, options: Unchecked, build: Callable[[Any], object] | None = None
    ) -> tuple[Any, RunDirectory]:
        """The configuration, and the run directory that is made for it or gone on with.

        Args:
            options: as they were given.
            build: refuses what cannot be had before a directory is made for it.

        Raises:
            ValueError: an option is out of range, or the run there is another one.
            FileExistsError: there is a run already.
        """
        from metaphys._runs import RunDirectory

        kept = self.checked_kept()
        config = options.checked()
        config = config.quick() if self.quick else config
        if build is not None:
            build(config)
        directory = RunDirectory(self.run_dir, config.to_json(), **kept)
        object.__setattr__(self, "stored", True)  # it is frozen but for that
        return config, directory

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
