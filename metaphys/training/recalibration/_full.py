"""Training on a unit itself, with no budget: the bound from above."""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys.training._draws import Params
from metaphys.training._epochs import Epochs
from metaphys.training._flat import UntilFlat, until_flat
from metaphys.training.recalibration._setting import Setting
from metaphys.training.recalibration._start import loss_and_grads


def full_training(
    setting: Setting, start: Params, unit: int, *, lr: float | None = None
) -> UntilFlat:
    """By the exact gradient of a unit's own physics, which no experiment has, until it is flat.

    What is looked at after an epoch is measured, as hardware would answer.

    Args:
        setting: whose configuration says how long it may take.
        start: where it begins; corrected first where it can be.
        unit: its seed.
        lr: the first step size; that of the configuration by default.
    """
    config, own = setting.config, setting.simulated(unit)
    begun = start if setting.correct is None else setting.correct(start, own)
    epochs = Epochs(setting.data, config.batch, config.full_epochs, config.epoch_steps)

    def gradient(params: Params, index: int) -> tuple[Tensor, Params]:
        samples = epochs.samples(index, config.seed, unit, "full")
        return loss_and_grads(setting, params, own, samples)

    def look(params: Params) -> Tensor:
        reached = setting.accuracy(params, setting.devices(unit), epochs.looked_at)
        return torch.tensor(reached, dtype=torch.float64)

    return until_flat(begun, gradient, look, epochs, lr=lr or config.rate)
