"""A network on hardware with a controller that moves it to a talker never heard before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import torch
from _talkers import FORMANTS, Episodes, Talkers
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

import metaphys
from metaphys.training._adaptation import adapt, cross_entropy

SMOOTHING = 0.05
DECAY = 0.99
"""Of the running mean of the numbers, a step: over about 100."""


@final
class Controller(nn.Module):
    r"""Adapts one shift of the log of each formant, by its labelled vowels, in a few steps.

    .. math::
        d_0 = \tau \, \bar r, \qquad
        d_{j+1} = d_j - \rho_j \, \nabla_d \operatorname{CE}(f(x - d_j), \text{labels})

    with :math:`\bar r` the mean distance of the labelled vowels from the centres of their classes,
    which no hardware is needed for. The gradient is physics-aware: each step measures the labelled
    vowels once in each layer. The trust :math:`\tau`, the rates :math:`\rho` and the network's
    own numbers are learned through the steps, so that others of the same group are understood.

    Args:
        net: the network on standardised log formants, at ``offset + scale * x``.
        talkers: what shifts are.
        steps: k.
        offset: of what the network is given.
        scale: likewise.
    """

    def __init__(
        self, net: nn.Module, talkers: Talkers, steps: int, offset: float, scale: float
    ) -> None:
        super().__init__()
        self.net, self._talkers, self.offset, self.scale = net, talkers, offset, scale
        self.trust = nn.Parameter(torch.ones(FORMANTS))
        self.rates = nn.Parameter(torch.full((steps, FORMANTS), 0.02))

    def begin_as(self, other: Controller) -> None:
        """Take another's numbers; the rates, of which it may have fewer, stay."""
        self.net.load_state_dict(other.net.state_dict())
        self.trust.data.copy_(other.trust)

    def logits(self, inputs: Tensor, shift: Tensor) -> Tensor:
        """(E, n, c) of ``inputs`` (E, n, 12) less the shift (E, 3)."""
        return self.net(self.offset + self.scale * self._talkers.shifted(inputs, shift))

    def shift(self, episodes: Episodes) -> Tensor:
        """(E, 3) after all steps, each episode for itself; differentiable."""
        start = self.trust * episodes.residuals
        if not len(self.rates):
            return start
        steps = len(self.rates)
        rates = self.rates.unsqueeze(1).expand(steps, *start.shape)
        count = len(episodes.shots)
        found = adapt(
            lambda params, inputs: self.logits(inputs, params["shift"]),
            {"shift": start},
            episodes.shots,
            episodes.labels,
            rule=metaphys.sgd(lr={"shift": metaphys.schedule.tabulated(rates)}),
            steps=steps,
            # The sum over episodes, of which each has a shift of its own.
            loss=lambda logits, labels: count * cross_entropy(logits, labels),
        )
        return found["shift"]


@final
class Ensemble(nn.Module):
    """Controllers whose logits are averaged: one unit runs them one after the other.

    Each was trained for itself, from first drives of its own, and has a trust of its own.
    """

    def __init__(self, members: Iterable[Controller]) -> None:
        super().__init__()
        self._members = nn.ModuleList(members)

    @property
    def members(self) -> list[Controller]:
        """In their order."""
        return [member for member in self._members if isinstance(member, Controller)]

    def shift(self, episodes: Episodes) -> Tensor:
        """(M, E, 3), of each member."""
        return torch.stack([member.shift(episodes) for member in self.members])

    def logits(self, inputs: Tensor, shift: Tensor) -> Tensor:
        """(E, n, c) of ``inputs`` (E, n, 12), less each member's shift (M, E, 3)."""
        found = [member.logits(inputs, own) for member, own in zip(self.members, shift)]
        return torch.stack(found).mean(0)


def fit(
    controller: Controller,
    draw: Callable[[torch.Generator], Episodes],
    *,
    steps: int,
    lr: float,
    seed: int,
    shifted: bool = True,
    averaged: bool = False,
) -> None:
    """Adam with a cosine to zero on what others of the episode's group said.

    Args:
        controller: where it runs at present.
        draw: episodes for one step.
        steps: of the outer loop.
        lr: the first step size.
        seed: of the episodes.
        shifted: adapt to the talker of each episode; otherwise nothing is shifted.
        averaged: instead of the cosine the step size stays, and in the end the numbers are their
            running mean over the second half of the steps, of ``DECAY``.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers: list[Tensor] = list(controller.parameters())
    optimizer = torch.optim.Adam(numbers, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    update = get_ema_multi_avg_fn(DECAY)
    mean: list[Tensor] = []
    for step in range(steps):
        episodes = draw(generator)
        shift = controller.shift(episodes) if shifted else torch.zeros_like(episodes.residuals)
        logits = controller.logits(episodes.inputs, shift)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), episodes.targets.flatten(), label_smoothing=SMOOTHING
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not averaged:
            schedule.step()
        elif 2 * step >= steps:
            mean = mean or [value.detach().clone() for value in numbers]
            update(mean, numbers, step)
    for value, average in zip(numbers, mean):
        value.data.copy_(average)


def accuracy(controller: Ensemble, episode: Episodes, *, shifted: bool = True) -> float:
    """The fraction of the others' vowels that are understood, after the shift or without."""
    shift = controller.shift(episode).detach()
    with torch.no_grad():
        classes = controller.logits(episode.inputs, shift if shifted else 0 * shift).argmax(-1)
    return round(float((classes == episode.targets).double().mean()), 6)


def fine_tune(controller: Controller, episode: Episodes, steps: int, lr: float) -> None:
    """Adam on the labelled vowels: every number of the network."""
    optimizer = torch.optim.Adam(controller.net.parameters(), lr=lr)
    still = torch.zeros_like(episode.residuals)
    for _ in range(steps):
        loss = cross_entropy(controller.logits(episode.shots, still), episode.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
