"""The twins of a run, fitted to some waveforms of the unit before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.physics import Calibrate, System, fit_twin, random_drives
from metaphys.training._draws import generator, seed_of
from metaphys.training._kinds import KINDS, scaled
from metaphys.training.unit._machine import Machine

FRESH = 5
"""Further waveforms of each layer's unit, to judge its twin by."""


DRAWS = 200
"""Units of the prior that a second start of each fit is looked for among."""


class Fitting(NamedTuple):
    """The state of fitting the twins, one layer a step.

    Attributes:
        mismatch: of each layer, the fields that were fitted, by name.
        errors: NRMSE of each layer's twin on fresh drives, before and after, (layers, 2).
        calls: device calls that it took.
    """

    mismatch: tuple[dict[str, Tensor], ...]
    errors: Tensor
    calls: Tensor


def begin_fitting(machine: Machine) -> Fitting:
    """The state before the first layer."""
    prior: Any = _prior(machine)
    fields = [_fields(prior.single(system, 0)) for system in machine.nominal]
    zero = tuple({name: torch.zeros_like(v) for name, v in each.items()} for each in fields)
    return Fitting(zero, torch.full((len(fields), 2), torch.nan), torch.tensor(0))


def fitting_step(machine: Machine) -> Callable[[Fitting, int], Fitting]:
    """One layer: measure its unit, calibrate the nominal system, judge it on fresh drives."""
    config, kind = machine.config, KINDS[machine.config.system]

    def step(state: Fitting, layer: int) -> Fitting:
        system, count = machine.nominal[layer], config.twin_calls
        key = (config.seed, "twin", layer)
        drives = random_drives(
            system.ports, count + FRESH, low=kind.low, high=kind.high, seed=seed_of(*key)
        )
        found = fit_twin(
            machine.devices("twin")[layer],
            Calibrate(system, _prior(machine), draws=DRAWS),
            drives=drives[:count],
            fresh=drives[count:],
            controls=system.init_controls(generator=generator(*key)),
        )
        mismatch, errors = list(state.mismatch), state.errors.clone()
        mismatch[layer] = _fields(found.twin)
        errors[layer] = torch.tensor([found.before, found.after])
        return Fitting(tuple(mismatch), errors, state.calls + found.calls)

    return step


def with_fitted(machine: Machine, fitting: Fitting) -> Machine:
    """The machine with the fitted systems as its twins."""
    twins = tuple(_with(system, own) for system, own in zip(machine.nominal, fitting.mismatch))
    return dataclasses.replace(machine, twins=twins)


def fitted(fitting: Fitting | None) -> dict[str, Any] | None:
    """For ``summary.json``: the calls, and each layer's error; ``None`` for nominal twins."""
    if fitting is None:
        return None
    before, after = fitting.errors.T.tolist()
    return {"calls": int(fitting.calls), "before": before, "after": after}


def _prior(machine: Machine) -> Any:
    config = machine.config
    return scaled(KINDS[config.system].spread, config.spread)


def _fields(system: Any) -> dict[str, Tensor]:
    mismatch = system.mismatch
    named = ((field.name, getattr(mismatch, field.name)) for field in dataclasses.fields(mismatch))
    return {name: value for name, value in named if value is not None}


def _with(system: Any, fields: dict[str, Tensor]) -> System:
    return system.with_mismatch(type(system.mismatch)(**fields))
