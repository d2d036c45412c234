"""Adapting an array to a unit by labelled images alone, by a rule that is learned throughout."""

from __future__ import annotations

from typing import Any

import torch
from _linear import CLASSES, FORCE, flat, shaped
from torch import Tensor
from torch.func import functional_call

import metaphys
from metaphys.nn import run_on
from metaphys.physics import OscillatorMismatch, PhysicsAware, SimulatedDevice, System
from metaphys.training._draws import Params
from metaphys.training.recalibration import Setting

STEPS, LABELS = 4, 50
FIRST, LATER = 1.0, 0.1
"""Step sizes at first, of the first step and of those that correct it."""

Learned = dict[str, Any]


def begin(setting: Setting, start: Params, steps: int = STEPS) -> Learned:
    """The rule before anything is learned: the start, and its numbers for every step."""
    rates = torch.full((steps, len(flat(start))), LATER)
    rates[0] = FIRST
    return {
        "start": start,
        "rates": rates.log(),
        "momentum": torch.zeros(steps),
        "trust": torch.zeros(steps),
        "gain": torch.full((1,), setting.config.gain),
    }


LEARNING: dict[str, float] = {
    "start": 0.2,
    "rates": 0.05,
    "momentum": 0.02,
    "trust": 0.1,
    "gain": 0.003,
}
"""Adam's step sizes of what :func:`begin` gives; those of the rates are of their logarithms."""


def rule(learned: Learned, metric: Tensor) -> metaphys.Rule:
    r"""Heavy-ball descent along a metric, with numbers that differ from step to step.

    .. math::
        v_{t+1} = \mu_t v_t + \rho_t \odot M G_t, \qquad p_{t+1} = p_t - v_{t+1}

    The state is the step and v.
    """
    rates, momentum = learned["rates"], learned["momentum"]

    def init(params: Params) -> tuple[Tensor, Tensor]:
        return torch.zeros((), dtype=torch.int64), torch.zeros_like(flat(params))

    def update(grads: Params, state: tuple[Tensor, Tensor]) -> tuple[Params, Any]:
        step, velocity = state
        velocity = momentum[step] * velocity + rates[step].exp() * (flat(grads) @ metric.mT)
        return shaped(-velocity, grads[FORCE].shape[-1]), (step + 1, velocity)

    return metaphys.GradientTransformation(init, update)


def adapt(
    setting: Setting,
    learned: Learned,
    metric: Tensor,
    units: System,
    inputs: Tensor,
    labels: Tensor,
) -> tuple[Params, int]:
    r"""Controls after all steps, and the device calls of each unit; differentiable in ``learned``.

    What an answer y (in logits) is drawn to is what the twin answers with the start, y₀, moved
    towards the label as far as step t trusts it:

    .. math:: L_t = \tfrac{1}{2} | y - y_0 - \tau_t (\text{label} - \operatorname{softmax} y_0) |^2

    Fifty answers cannot tell a class from another as well as the start does, but how far a unit
    is off. The twin is the nominal array with a gain that all units share.

    Args:
        setting: the network.
        learned: see :func:`begin`.
        metric: (P, P), see :func:`_linear.metric`.
        units: a fleet of U.
        inputs: (n, pixels), the same for all units.
        labels: (n,).
    """
    (nominal,) = setting.nominal
    twin = nominal.with_mismatch(OscillatorMismatch(gain=learned["gain"]))  # type: ignore[attr-defined]
    device, start = SimulatedDevice(units), learned["start"]
    (count,) = units.units
    with run_on(setting.network, twin):
        answer = functional_call(setting.network, start, (inputs,))
    label = torch.eye(CLASSES)[labels] - answer.softmax(-1)
    given = inputs.expand(count, *inputs.shape)

    def loss(params: Params, meta: Any, trust: Tensor) -> Tensor:
        logits = functional_call(setting.network, params, (given,))
        # The sum over units, each of which has controls of its own.
        return (logits - meta["answer"] - trust * meta["label"]).square().sum() / 2

    with run_on(setting.network, PhysicsAware(device, twin)):
        found = metaphys.unroll(
            loss,
            rule(learned, metric),
            spread(start, count),
            steps=len(learned["trust"]),
            batches=learned["trust"],
            meta={"answer": answer, "label": label},
        )
    return found.params, device.calls // count


def spread(params: Params, units: int) -> Params:
    """The same parameters for each unit."""
    return {name: value.expand(units, *value.shape) for name, value in params.items()}
