"""All parameters of a unit as one row of numbers, differentiable in the mismatch.

One tensor (U, K) for everything keeps the implicit solution a function of two tensors: what drives
the circuit, and this. A vmap over either is then a longer U or a longer batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metaphys.physics._ports import align
from metaphys.physics.circuit._components import (
    BOLTZMANN_OVER_CHARGE,
    NOMINAL_TEMPERATURE,
    Components,
    Transistor,
)
from metaphys.physics.circuit._linear import Step
from metaphys.physics.circuit._mismatch import RELATIVE, CircuitMismatch


class Parameters(NamedTuple):
    """One step of the circuit, each (U, 1, 1): what the columns of a packed row are.

    The base current at the end of a step is already taken out of the step (see ``_linear``), which
    adds ``impedance`` to the resistance in front of the base.
    """

    m00: Tensor  # transition matrix of (Z i, v), dimensionless
    m01: Tensor
    m10: Tensor
    m11: Tensor
    kick0: Tensor  # what a base current adds to (Z i, v) one step later, Ω
    kick1: Tensor
    impedance: Tensor  # what it takes from v at once, Ω
    Rs: Tensor  # in front of the base: Rb + rb + impedance, Ω
    log_is: Tensor  # logarithms of amperes
    log_ise: Tensor
    Bf: Tensor
    Br: Tensor
    Vt: Tensor  # thermal voltage, V
    Ne: Tensor
    Rc: Tensor  # Rc + rc, Ω
    Vcc: Tensor  # V


def unpack(packed: Tensor) -> Parameters:
    """The columns of (U, K), each as (U, 1, 1)."""
    return Parameters(*packed[:, None, None, :].unbind(-1))


def values(
    parts: Components, mismatch: CircuitMismatch, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Component values of every unit, each (U,)."""
    units, given = mismatch.units(), mismatch.given()
    found: dict[str, Tensor] = {}
    for name in (*RELATIVE, "temperature"):
        owner = parts if hasattr(parts, name) else parts.transistor
        nominal = 0.0 if owner is None else getattr(owner, name)
        value = torch.full(units, nominal, dtype=dtype, device=device)
        if name in given:
            error = given[name].to(value)
            error = align(error, 0, len(units))
            value = value + error if name == "temperature" else value * (1 + error)
        found[name] = value.reshape(-1)
    return found


def pack(parts: Components, part: dict[str, Tensor], step: Step | None = None) -> Tensor:
    """All parameters as one tensor (U, K); without a ``step`` those of the transistor alone."""
    found = _transistor(parts, part)
    zero = torch.zeros_like(found["Vt"])
    if step is None:
        found |= dict.fromkeys(_STEP, zero)
    else:
        of_base = -step.later[..., 1]
        numbers = (*step.matrix.flatten(-2).unbind(-1), *of_base.unbind(-1), -step.at_once[..., 1])
        found |= dict(zip(_STEP, numbers))
    found["Rs"] = found["Rs"] + found["impedance"]
    return torch.stack([found[name] for name in Parameters._fields], dim=-1)


_STEP = Parameters._fields[:7]


def _transistor(parts: Components, part: dict[str, Tensor]) -> dict[str, Tensor]:
    """The transistor at its temperature, by SPICE's laws, with ``Rb + rb`` in front of it."""
    npn = Transistor() if parts.transistor is None else parts.transistor
    kelvin = part["temperature"]
    ratio, Vt = kelvin / NOMINAL_TEMPERATURE, BOLTZMANN_OVER_CHARGE * kelvin
    growth = npn.Xti * ratio.log() + npn.Eg / Vt * (ratio - 1)
    gain = ratio**npn.Xtb
    leakage = (part["Is"] * (npn.Ise / npn.Is)).log() + growth / npn.Ne - gain.log()
    full = torch.ones_like(Vt)
    return {
        "Rs": part["Rb"] + npn.rb,
        "log_is": part["Is"].log() + growth,
        "log_ise": leakage,
        "Bf": part["Bf"] * gain,
        "Br": npn.Br * gain,
        "Vt": Vt,
        "Ne": npn.Ne * full,
        "Rc": part["Rc"] + npn.rc,
        "Vcc": parts.Vcc * full,
    }
