"""Training controls on simulated units: the nominal one, many of them, or one that was fitted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaphys._errors import refuse
from metaphys.physics import System, Unknowns
from metaphys.training._adaptation import cross_entropy
from metaphys.training._draws import Params, generator
from metaphys.training._kinds import within
from metaphys.training._loop import Loop, begin, check_finite, descend
from metaphys.training.recalibration._prior import Prior
from metaphys.training.recalibration._setting import Correction, Setting, Unit

Units = Callable[[int], Unit]
"""The unit that a step is taken on."""


def always(unit: Unit) -> Units:
    """One unit for all steps.

    Example:
        >>> from metaphys.physics import OscillatorArray
        >>> nominal = (OscillatorArray(3),)
        >>> always(nominal)(7) is nominal
        True
    """
    return lambda step: unit


LIKELY = 3.0
"""Imagined units lie within this many deviations: beyond, a Gaussian may leave their domain."""


def imagined(prior: Prior, layers: int, *key: object) -> Units:
    """Another unit of the prior in every step.

    Example:
        >>> from metaphys.physics import Circuit, CircuitSpread, MismatchUnknowns
        >>> prior = Prior(MismatchUnknowns(Circuit(), CircuitSpread()), noise=0.01)
        >>> units = imagined(prior, 3, "an example")
        >>> len(units(0)), bool(units(0)[0].mismatch.L == units(1)[0].mismatch.L)
        (3, False)
    """
    unknowns = prior.unknowns

    def unit(index: int) -> Unit:
        source = generator(*key, index)
        scores = torch.randn(layers, unknowns.size, generator=source).clamp(-LIKELY, LIKELY)
        return tuple(answering(unknowns, z, torch.zeros_like(z)) for z in scores)

    return unit


HALVINGS = 30
"""Single precision cannot tell what is nearer from the centre itself."""


@torch.no_grad()
def answering(unknowns: Unknowns, z: Tensor, centre: Tensor) -> System:
    """The system at scores z (p,), brought half way to ``centre`` until it answers at rest.

    A Gaussian goes where no unit can be, such as to a transistor whose current flows backwards:
    one such draw would make the loss of all training on many of them not finite.
    """
    ports = unknowns.ports
    controls = {name: z.new_zeros(shape) for name, shape in ports.controls.items()}
    for _ in range(HALVINGS):
        if unknowns.system(z)(z.new_zeros(ports.drive), controls).isfinite().all():
            return unknowns.system(z)
        z = (z + centre.to(z)) / 2
    refuse(
        "centre",
        expected="scores at which the system answers at rest",
        got="scores at which its readout is not finite",
        remedy="Lower the spread; a posterior's mean that no unit can have was fitted wrongly.",
        error=FloatingPointError,
    )


def loss_and_grads(
    setting: Setting,
    at: Params,
    unit: Unit,
    samples: tuple[Tensor, Tensor],
    correction: Correction | None = None,
) -> tuple[Tensor, Params]:
    """The loss on a model of a unit, after a correction if there is one, and its gradient."""
    inputs, targets = samples
    params = {name: value.detach().requires_grad_() for name, value in at.items()}
    corrected = params if correction is None else correction(params, unit)
    loss = cross_entropy(setting.logits(corrected, inputs, unit), targets)
    check_finite(loss.detach())
    found = torch.autograd.grad(loss, list(params.values()))
    return loss, dict(zip(params, found, strict=True))


def training_step(
    setting: Setting,
    units: Units,
    *,
    steps: int,
    lr: float,
    key: tuple[object, ...],
    correction: Correction | None = None,
) -> Callable[[Loop, int], Loop]:
    """A step of Adam with a cosine schedule on the loss *after* the correction.

    With :func:`~metaphys.training.recalibration.cancelled` as the correction and another unit in
    every step, the controls that are learned are those that are easiest to correct: meta-learning
    whose inner loop is one closed formula. Without, it is ordinary training.
    """

    def step(loop: Loop, index: int) -> Loop:
        samples, unit = setting.batch(*key, index), units(index)
        loss, grads = loss_and_grads(setting, loop.learned, unit, samples, correction)
        loop = descend(loop, index, steps, loss, grads, lr)
        return loop._replace(learned={n: within(n, value) for n, value in loop.learned.items()})

    return step


def learn_start(
    setting: Setting,
    initial: Params,
    units: Units,
    *,
    steps: int,
    lr: float,
    key: tuple[object, ...],
    correction: Correction | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Params:
    """``steps`` of :func:`training_step` from ``initial``; what they learned.

    Example:
        >>> from metaphys.training.recalibration import RecalibrationConfig, build
        >>> setting = build(RecalibrationConfig(batch=10))
        >>> start = learn_start(
        ...     setting, setting.initial(0), always(setting.nominal), steps=2, lr=0.1, key=(0,)
        ... )
        >>> {name: tuple(value.shape) for name, value in start.items()}
        {'layers.0.controls.coupling': (26, 26), 'layers.0.controls.force': (26,)}
    """
    step = training_step(setting, units, steps=steps, lr=lr, key=key, correction=correction)
    loop = begin(initial, steps)
    for index in range(steps):
        loop = step(loop, index)
        advance(index + 1)
    return loop.learned
