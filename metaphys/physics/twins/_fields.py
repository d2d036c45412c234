"""The fields of a mismatch as one vector of standard scores, under a Gaussian prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._population import Spread
from metaphys.physics._seeds import derived
from metaphys.physics._system import System

DRAWS = 256
"""Units drawn from a spread for its moments: standard deviations right to 4 %."""

Prior = Spread | Mapping[str, Tensor]
"""A spread of units, or the standard deviation of each element of each field to be fitted."""


@final
class Fields:
    """What a prior says may differ: m = mean + deviation · z, with z ~ N(0, 1) each.

    Elements whose deviation is zero are known: they keep their mean and are not in z.

    Args:
        system: a system with ``mismatch`` and ``with_mismatch``, of one unit.
        prior: a :class:`~metaphys.physics.Spread`, whose first two moments are those of 256 of its
            units, or standard deviations by field around the system's own mismatch (or 0).

    Raises:
        TypeError: the system has no mismatch, or the prior is none.
        ValueError: a fleet, an unknown field, a negative deviation, or nothing to fit.
    """

    def __init__(self, system: System, prior: Prior) -> None:
        fits = hasattr(system, "with_mismatch") and dataclasses.is_dataclass(
            getattr(system, "mismatch", None)
        )
        expected = "a system with a mismatch, as Circuit, Plate, SHG and OscillatorArray have"
        got = type(system).__name__
        check(fits, "system", expected=expected, got=got, error=TypeError)
        remedy = "Calibrate its units one after the other."
        check(not system.units, "system", expected="one unit", got=system.units, remedy=remedy)
        self._system: Any = system
        self._mean, self._deviation = _moments(self._system, prior)
        self._free = {name: d > 0 for name, d in self._deviation.items()}
        self.size = sum(int(free.sum()) for free in self._free.values())
        remedy = "Its deviations are all zero."
        check(self.size > 0, "prior", expected="a spread of something", got=prior, remedy=remedy)

    @property
    def names(self) -> list[str]:
        """What each element of z is, such as ``"damping[3]"``."""
        return [
            name if free.numel() == 1 else f"{name}[{', '.join(map(str, index))}]"
            for name, free in self._free.items()
            for index in free.nonzero().tolist()
        ]

    @property
    def mean(self) -> dict[str, Tensor]:
        """The prior's means by field, float64."""
        return dict(self._mean)

    @property
    def deviation(self) -> dict[str, Tensor]:
        """The prior's standard deviations by field, float64; 0 where known."""
        return dict(self._deviation)

    def values(self, z: Tensor) -> dict[str, Tensor]:
        """The fields (..., *shape) at scores z (..., size), in the dtype of z."""
        return self._placed(z, self._mean)

    def deviations(self, scores: Tensor) -> dict[str, Tensor]:
        """Deviations of the scores (*units, size) as deviations of the fields; 0 where known."""
        zero = {name: torch.zeros_like(mean) for name, mean in self._mean.items()}
        return self._placed(scores, zero)

    def scores_of(self, deviations: Mapping[str, float | Tensor]) -> Tensor:
        """Deviations by field as those of the scores (size,), float64; 0 for fields left out.

        Raises:
            ValueError: a field that is known or not there, or a deviation that is negative.
        """
        for name, value in deviations.items():
            free = name in self._free and bool(self._free[name].any())
            known = [each for each, those in self._free.items() if those.any()]
            check(free, "walk", expected=f"of fields among {known}", got=repr(name))
            fits = bool((torch.as_tensor(value) >= 0).all())
            check(fits, f"walk[{name!r}]", expected=">= 0", got=value)
        parts = []
        for name, free in self._free.items():
            step = torch.as_tensor(deviations.get(name, 0.0), dtype=torch.float64)
            scale = torch.where(free, self._deviation[name], 1.0)
            parts.append((step.expand_as(scale) / scale)[free])
        return torch.cat(parts)

    def system(self, z: Tensor, dtype: torch.dtype | None = None) -> Any:
        """The system with the mismatch at scores z (*units, size), its fields in ``dtype``."""
        kind = type(self._system.mismatch)
        found = {n: v if dtype is None else v.to(dtype) for n, v in self.values(z).items()}
        return self._system.with_mismatch(kind(**found))

    def _placed(self, z: Tensor, around: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parts = z.split([int(free.sum()) for free in self._free.values()], -1)
        found = {}
        for (name, free), part in zip(self._free.items(), parts):
            places = torch.zeros(free.numel(), dtype=torch.long, device=z.device)
            places[free.flatten()] = torch.arange(part.shape[-1], device=z.device)
            # Gathered and masked rather than put in place: right under every transform.
            none = z.new_zeros(*z.shape[:-1], free.numel())
            spread = part[..., places] if part.shape[-1] else none
            change = self._deviation[name].to(z) * spread.reshape(z.shape[:-1] + free.shape)
            found[name] = around[name].to(z) + change
        return found


def _moments(system: Any, prior: Prior) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    if isinstance(prior, Spread):
        # Hashed, so that no unit that a test draws by a small seed is among them.
        seeds = [derived(number, "prior") for number in range(DRAWS)]
        fleet: Any = prior.perturb(system, seeds)
        drawn = {name: value.double() for name, value in _given(fleet.mismatch).items()}
        means = {name: value.mean(0) for name, value in drawn.items()}
        deviations = {name: value.std(0) for name, value in drawn.items()}
        return means, {n: torch.where(d > 1e-9, d, 0.0) for n, d in deviations.items()}
    kind = type(prior).__name__
    expected = "a Spread, or standard deviations by field"
    check(isinstance(prior, Mapping), "prior", expected=expected, got=kind, error=TypeError)
    known = [field.name for field in dataclasses.fields(system.mismatch)]
    own, means, deviations = _given(system.mismatch), {}, {}
    for name, value in prior.items():
        check(name in known, "prior", expected=f"of fields among {known}", got=repr(name))
        deviation = torch.as_tensor(value).double()
        fits = bool((deviation >= 0).all() and deviation.isfinite().all())
        check(fits, f"prior[{name!r}]", expected="finite and >= 0", got=value)
        mean = own.get(name, torch.zeros(()))
        means[name], deviations[name] = mean.double().expand_as(deviation), deviation
    kept = {name: value.double() for name, value in own.items() if name not in prior}
    return {**means, **kept}, {**deviations, **{n: torch.zeros_like(v) for n, v in kept.items()}}


def _given(mismatch: Any) -> dict[str, Tensor]:
    named = ((f.name, getattr(mismatch, f.name)) for f in dataclasses.fields(mismatch))
    return {name: value.detach() for name, value in named if value is not None}
