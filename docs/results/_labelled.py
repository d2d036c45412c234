"""Adapting an array to a unit by labelled images alone, by a rule that is learned throughout."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

import metaphys
from metaphys.nn import run_on
from metaphys.physics import OscillatorMismatch, PhysicsAware, SimulatedDevice, System
from metaphys.training._draws import Params
from metaphys.training.recalibration import Setting

COUPLING, FORCE = "layers.0.controls.coupling", "layers.0.controls.force"
STEPS, LABELS, CLASSES = 10, 50, 10
RIDGE = 0.03
"""Added to the moments of the drives before they are inverted, rad²."""
RATE, OTHER, FORCES = 1.0, math.exp(-2), math.exp(-0.5)
"""Step sizes at first: of couplings between a pixel and a class, others, and forces."""

Learned = dict[str, Any]


def begin(setting: Setting, start: Params, steps: int = STEPS) -> Learned:
    """The rule before anything is learned: its numbers, each for every step, and the start.

    Couplings move as ``rate · M G Mᵀ`` of their gradient G, with ``M`` the inverse of the drives'
    second moments on pixels and 1 on classes: what an answer changes by is nearly linear in the
    sines of the drive, and pixels are far from independent of each other.
    """
    sines = setting.data.train.inputs[:5000].sin()
    pixels, count = sines.shape[1], len(start[FORCE])
    metric = torch.eye(count)
    moments = sines.mT @ sines / len(sines) + RIDGE * torch.eye(pixels)
    metric[:pixels, :pixels] = RIDGE * torch.linalg.inv(moments)
    rates = torch.full((count, count), math.log(OTHER))
    rates[:pixels, pixels:] = rates[pixels:, :pixels] = math.log(RATE / RIDGE)
    return {
        "start": start,
        "rates": {
            COUPLING: rates.expand(steps, count, count).clone(),
            FORCE: torch.full((steps, count), math.log(FORCES)),
        },
        "metric": metric.expand(steps, count, count).clone(),
        "momentum": torch.zeros(steps),
        "trust": torch.zeros(steps),
        "gain": torch.zeros(1),
    }


LEARNING: dict[str, float] = {
    "start": 0.2,
    "rates": 0.05,
    "metric": 0.003,
    "momentum": 0.02,
    "trust": 0.1,
    "gain": 0.003,
}
"""Adam's step sizes of what :func:`begin` gives; those of the rates are of their logarithms."""


def rule(learned: Learned) -> metaphys.Rule:
    r"""Heavy-ball descent whose numbers differ from step to step.

    .. math::
        v_{t+1} = \mu_t v_t + \rho_t \odot M_t G_t M_t^\top, \qquad p_{t+1} = p_t - v_{t+1}

    Forces have no metric. The state is the step and v.
    """
    rates, metric, momentum = learned["rates"], learned["metric"], learned["momentum"]

    def init(params: Params) -> tuple[Tensor, Params]:
        return torch.zeros((), dtype=torch.int64), {
            n: torch.zeros_like(v) for n, v in params.items()
        }

    def update(grads: Params, state: tuple[Tensor, Params]) -> tuple[Params, Any]:
        step, velocity = state
        across = metric[step]
        bent = {**grads, COUPLING: across @ grads[COUPLING] @ across.mT}
        velocity = {n: momentum[step] * velocity[n] + rates[n][step].exp() * bent[n] for n in bent}
        return {n: -v for n, v in velocity.items()}, (step + 1, velocity)

    return metaphys.GradientTransformation(init, update)


def adapt(
    setting: Setting, learned: Learned, units: System, inputs: Tensor, labels: Tensor
) -> tuple[Params, int]:
    r"""Controls after all steps, and the device calls of each unit; differentiable in ``learned``.

    What an answer y (in logits) is drawn to is what the twin answers with the start, y₀, moved
    towards the label as far as step t trusts it:

    .. math:: L_t = \tfrac{1}{10} | y - y_0 - \tau_t (\text{label} - \operatorname{softmax} y_0) |^2

    Fifty answers cannot tell a class from another as well as the start does, but how far a unit
    is off. The twin is the nominal array with a gain that all units share.

    Args:
        setting: the network.
        learned: see :func:`begin`.
        units: a fleet of U.
        inputs: (U, n, pixels).
        labels: (U, n).
    """
    (nominal,) = setting.nominal
    twin = nominal.with_mismatch(OscillatorMismatch(gain=learned["gain"]))  # type: ignore[attr-defined]
    device, start = SimulatedDevice(units), learned["start"]
    count = len(inputs)
    with run_on(setting.network, twin):
        answer = functional_call(setting.network, start, (inputs,))
    label = torch.eye(CLASSES)[labels] - answer.softmax(-1)

    def loss(params: Params, meta: Any, trust: Tensor) -> Tensor:
        logits = functional_call(setting.network, params, (inputs,))
        wanted = meta["answer"] + trust * meta["label"]
        # The sum over units, each of which has controls of its own.
        return (logits - wanted).square().sum(-1).mean(-1).sum() / CLASSES

    with run_on(setting.network, PhysicsAware(device, twin)):
        found = metaphys.unroll(
            loss,
            rule(learned),
            spread(start, count),
            steps=len(learned["trust"]),
            batches=learned["trust"],
            meta={"answer": answer, "label": label},
        )
    return found.params, device.calls // count


def spread(params: Params, units: int) -> Params:
    """The same parameters for each unit."""
    return {name: value.expand(units, *value.shape) for name, value in params.items()}
