"""Vowels of talkers never heard before: who spoke what, and one labelled vowel of each kind."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from metaphys import data
from metaphys.data import Split

FORMANTS = 3
"""F1, F2 and F3, each at four times of a vowel."""

TRACT = 0.12
"""Standard deviation of a made-up group's factor on all formants, in the natural logarithm: women's
formants are about 0.17 above men's."""
OF_A_FORMANT = 0.05
"""The same of each formant's own."""


class Episodes(NamedTuple):
    """What one talker said, one vowel of each class, and what others of the same group said.

    Attributes:
        shots: (E, c, 12).
        labels: (E, c).
        residuals: (E, 3), the talker's mean distance from the centres of the classes.
        inputs: (E, q, 12), of other talkers.
        targets: (E, q).
    """

    shots: Tensor
    labels: Tensor
    residuals: Tensor
    inputs: Tensor
    targets: Tensor


class Talkers:
    """Log formants in deviations of the known groups' talkers, by talker and group.

    Args:
        root: the folder of ``vowdata.dat``.
        classes: 7 or 12.
        known: groups to learn from, letters out of m, w, b, g.
        new: the group that is new.
        verify: whether the file has to be the original.

    Attributes:
        inputs: (n, 12); all tokens of all groups whose formants are complete.
        targets: (n,).
        centres: (c, 12), the known groups' mean of each class.
        unit: (3,), what one unit of a shift is in the natural logarithm, for each formant.
    """

    def __init__(
        self, root: Path, classes: int, *, known: str, new: str, verify: bool = True
    ) -> None:
        said = data.talkers(root, classes=7 if classes == 7 else 12, verify=verify)
        self.known, self.new, self.classes = known, new, classes
        self._said, self.targets = said, said.targets
        logs = said.formants.float().log()
        heard = torch.cat([self.rows(group) for group in known])
        self._deviation = deviation = logs[heard].std(0)
        self.inputs = (logs - logs[heard].mean(0)) / deviation
        of_class = [heard[self.targets[heard] == k] for k in range(classes)]
        self.centres = torch.stack([self.inputs[rows].mean(0) for rows in of_class])
        self.unit = deviation.unflatten(0, (-1, FORMANTS)).mean(0)
        self._steps = self.unit.repeat(12 // FORMANTS) / deviation

    @functools.cache  # noqa: B019 (asked for in every step, and as long-lived as its script)
    def rows(self, group: str, but: str = "") -> Tensor:
        """The tokens of a group, without those of one talker."""
        return self._said.rows([name for name in self._said.group(group) if name != but])

    @functools.cache  # noqa: B019 (likewise)
    def givers(self, group: str) -> list[str]:
        """Talkers of a group with a complete token of every vowel."""
        return [name for name in self._said.complete if name[0] == group]

    def shots(self, talker: str) -> Split:
        """One labelled vowel of each class."""
        rows = self._said.rows([talker])
        return Split(self.inputs[rows], self.targets[rows])

    def others(self, talker: str) -> Split:
        """What all others of the talker's group said."""
        rows = self.rows(talker[0], but=talker)
        return Split(self.inputs[rows], self.targets[rows])

    def learned_from(self) -> Split:
        """All tokens of the known groups."""
        rows = torch.cat([self.rows(group) for group in self.known])
        return Split(self.inputs[rows], self.targets[rows])

    def residual(self, shots: Split) -> Tensor:
        """(3,) the mean of log formants minus those of the class centres, in units of a shift."""
        off = (shots.inputs - self.centres[shots.targets]).mean(0) / self._steps
        return off.unflatten(0, (-1, FORMANTS)).mean(0)

    def shifted(self, inputs: Tensor, shift: Tensor) -> Tensor:
        """(E, n, 12) ``inputs`` with the log formants of every episode less its shift (E, 3)."""
        return inputs - (shift.repeat(1, 12 // FORMANTS) * self._steps).unsqueeze(1)

    def episode(self, talker: str) -> Episodes:
        """One talker's vowels, and all those of the others of the group."""
        shots, others = self.shots(talker), self.others(talker)
        each = (shots.inputs, shots.targets, self.residual(shots), others.inputs, others.targets)
        return Episodes(*(value.unsqueeze(0) for value in each))

    def episodes(
        self,
        count: int,
        queries: int,
        generator: torch.Generator,
        jitter: float = 0.0,
        of_class: float = 0.0,
    ) -> Episodes:
        """Talkers drawn from the known groups, and vowels of others of the same group.

        A group is drawn as often as it has tokens. It is moved as a whole, as if it had another
        vocal tract: a group that is new may be further away than the known ones are apart.
        ``jitter``, in deviations of a log formant, is added to each of the others' formants;
        ``of_class``, likewise, to a formant at all four times and to all others of a class alike:
        vocal tracts differ by another factor in each vowel (Fant 1966, Speech Transmission
        Laboratory Quarterly Progress and Status Report 7(4), 22).
        """
        sizes = torch.tensor([float(len(self.rows(group))) for group in self.known])
        groups = torch.multinomial(sizes, count, replacement=True, generator=generator)
        found = joined([self._drawn(self.known[g], queries, generator) for g in groups.tolist()])
        if of_class:
            own = of_class * torch.randn(count, self.classes, FORMANTS, generator=generator)
            places = found.targets.unsqueeze(-1).expand(-1, -1, FORMANTS)
            moved = found.inputs + own.gather(1, places).repeat(1, 1, 12 // FORMANTS)
            found = found._replace(inputs=moved)
        if not jitter:
            return found
        noise = jitter * torch.randn(found.inputs.shape, generator=generator)
        return found._replace(inputs=found.inputs + noise)

    def _drawn(self, group: str, queries: int, generator: torch.Generator) -> Episodes:
        talker = _one_of(self.givers(group), generator)
        shots, rows = self.shots(talker), self.rows(group, but=talker)
        rows = rows[torch.randperm(len(rows), generator=generator)[:queries]]
        tract = TRACT * torch.randn(1, generator=generator)
        tract = (tract + OF_A_FORMANT * torch.randn(1, FORMANTS, generator=generator)) / self.unit
        given = Split(self.shifted(shots.inputs.unsqueeze(0), tract)[0], shots.targets)
        each = (given.inputs, given.targets, self.residual(given))
        both = (self.shifted(self.inputs[rows].unsqueeze(0), tract)[0], self.targets[rows])
        return Episodes(*(value.unsqueeze(0) for value in (*each, *both)))


def joined(episodes: Sequence[Episodes]) -> Episodes:
    """Episodes one after the other."""
    return Episodes(*(torch.cat(parts) for parts in zip(*episodes)))


def _one_of(names: Sequence[str], generator: torch.Generator) -> str:
    return names[int(torch.randint(len(names), (), generator=generator))]
