"""What every training rule has."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaphys._errors import check
from metaphys.nn._excess import watched_excess
from metaphys.nn._layer import physical_layers, run_on

Params = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


class TrainingRule(abc.ABC):
    """Loss and gradients of a network's parameters for one batch: ``rule(params, x, y, loss=…)``.

    A rule says where derivatives come from; what is done with them is an optimizer's business.

    =================  ===========================  ==================  ==========================
    rule               gradient                     calls of a layer    differentiable again
    =================  ===========================  ==================  ==========================
    :class:`PAT`       the twin's, at the device    B                   yes, to any order
    :class:`InSilico`  the twin's                   0                   yes, to any order
    :class:`SPSA`      differences of the device's  2 · B · directions  no: a constant
    :class:`DFA`       random feedback of errors    B                   no: a constant
    =================  ===========================  ==================  ==========================

    Args:
        network: a module with physical layers; its parameters are neither read nor changed where
            ``params`` names them.
        penalty: factor on the :func:`~metaphys.nn.with_excess` of the network, which is added to
            the loss: what hardware clamps has no derivative, and costs instead.
    """

    def __init__(self, network: nn.Module, *, penalty: float = 0.0) -> None:
        check(0 <= penalty < math.inf, "penalty", expected=">= 0, finite", got=penalty)
        self.network, self.penalty = network, penalty
        self.layers = physical_layers(network, "network")

    @abc.abstractmethod
    def __call__(
        self, params: Params, inputs: Tensor, targets: Tensor, *, loss: Loss, seed: int = 0
    ) -> tuple[Tensor, Params]:
        """The loss of a batch with its penalty, and an estimate of the gradient.

        Args:
            params: parameters of the network by name, those to train; all others stay as they are.
            inputs: (B, features).
            targets: what ``loss`` compares the network's outputs with.
            loss: ``loss(outputs, targets)``, a scalar.
            seed: of what a rule draws for this batch; the rules that draw nothing ignore it.
        """

    def _apply(
        self, physics: Sequence[Any], params: Params, inputs: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """Outputs with ``params``, on one system or device a layer, and what excess costs."""
        with run_on(self.network, *physics):
            if not self.penalty:
                return functional_call(self.network, params, (inputs,)), 0.0
            with watched_excess(self.network) as found:
                outputs = functional_call(self.network, params, (inputs,))
        return outputs, self.penalty * torch.stack(found).sum()

    def _loss(
        self, physics: Sequence[Any], params: Params, inputs: Tensor, targets: Tensor, loss: Loss
    ) -> Tensor:
        outputs, cost = self._apply(physics, params, inputs)
        return loss(outputs, targets) + cost

    def _one_each(self, name: str, given: Sequence[Any]) -> list[Any]:
        chosen, count = list(given), len(self.layers)
        check(
            len(chosen) == count, name, expected=f"one for each of {count} layers", got=len(given)
        )
        return chosen
