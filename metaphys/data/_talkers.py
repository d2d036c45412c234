"""Vowels by talker: who said what, for tests on people and groups never heard before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.data._vowels import complete_tokens

GROUPS = "mwbg"
"""Men, women, boys, girls."""


@final
@dataclass(frozen=True)
class Talkers:
    """Vowels of which it is known who said them.

    Attributes:
        vowels: what each class is, such as ``"ae"``; in alphabetical order, as in the file.
        formants: (n, 12), float64, Hz: F1, F2, F3 at steady state and at 20, 50 and 80 % of the
            duration; all of them were measurable.
        targets: (n,), int64, indices into ``vowels``.
        names: n names of talkers: group (m, w, b, g: man, woman, boy, girl) and number.

    Example:
        >>> formants, targets = torch.full((3, 12), 500.0), torch.tensor([0, 1, 0])
        >>> said = Talkers(("ae", "ah"), formants, targets, ("m01", "m01", "w02"))
        >>> said.group("m"), said.rows(["m01"]).tolist(), said.complete
        (['m01'], [0, 1], ['m01'])
    """

    vowels: tuple[str, ...]
    formants: Tensor
    targets: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = {"formants": (count, 12), "targets": (count,)}
        for name, expected in shapes.items():
            got = tuple(getattr(self, name).shape)
            check(got == expected, name, expected=f"of shape {expected}", got=got)

    def __len__(self) -> int:
        return len(self.names)

    def group(self, letters: str) -> list[str]:
        """The talkers of some groups, each once, in the file's order.

        Args:
            letters: out of m, w, b, g.

        Raises:
            ValueError: another letter.
        """
        fits = len(letters) > 0 and set(letters) <= set(GROUPS)
        check(fits, "letters", expected="letters out of m, w, b, g", got=repr(letters))
        return [name for name in dict.fromkeys(self.names) if name[0] in letters]

    @property
    def complete(self) -> list[str]:
        """The talkers who said every vowel: each gives one labelled example of a class."""
        said: dict[str, set[int]] = {}
        for name, target in zip(self.names, self.targets.tolist()):
            said.setdefault(name, set()).add(target)
        return [name for name, kinds in said.items() if len(kinds) == len(self.vowels)]

    def rows(self, talkers: Sequence[str]) -> Tensor:
        """(k,) int64, where the tokens of some talkers are, in the order of ``talkers``.

        Raises:
            ValueError: one of them said nothing.
        """
        where: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            where.setdefault(name, []).append(index)
        missing = [name for name in talkers if name not in where]
        check(not missing, "talkers", expected="names of talkers, as w07", got=missing)
        found = [row for name in talkers for row in where[name]]
        return torch.tensor(found, dtype=torch.int64)


def talkers(
    root: str | Path,
    *,
    classes: Literal[7, 12] = 12,
    verify: bool = True,
    download: bool = False,
) -> Talkers:
    """All vowels with the names of those who said them, in Hz: as :func:`vowels`, not yet split.

    Args:
        root: the folder of ``vowdata.dat``.
        classes: all 12, or 7 (had, hod, hawed, heard, hid, heed, who'd).
        verify: compare the file's sha256 (of line feeds alone) with the original's.
        download: get the file if it is not there (extra ``data``).

    Raises:
        FileNotFoundError, ValueError, ImportError, ConnectionError: as :func:`vowels`.

    Source: as for :func:`vowels`.
    """
    check(classes in (7, 12), "classes", expected="7 or 12", got=classes)
    kinds, tokens = complete_tokens(Path(root), classes, verify=verify, download=download)
    check(len(tokens) > 0, "root", expected="a folder whose file has complete tokens", got="none")
    return Talkers(
        tuple(kinds),
        torch.tensor([token.formants for token in tokens], dtype=torch.float64),
        torch.tensor([kinds.index(token.vowel) for token in tokens]),
        tuple(token.talker for token in tokens),
    )
