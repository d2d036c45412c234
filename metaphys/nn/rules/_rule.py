"""What every training rule has."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from metaphys._errors import check
from metaphys.nn._layer import PhysicalLayer, run_on

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
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.layers = [m for m in network.modules() if isinstance(m, PhysicalLayer)]
        check(
            len(self.layers) > 0,
            "network",
            expected="a module with physical layers",
            got=type(network).__name__,
        )

    @abc.abstractmethod
    def __call__(
        self, params: Params, inputs: Tensor, targets: Tensor, *, loss: Loss, seed: int = 0
    ) -> tuple[Tensor, Params]:
        """The loss of a batch, and an estimate of its gradient.

        Args:
            params: parameters of the network by name, those to train; all others stay as they are.
            inputs: (B, features).
            targets: what ``loss`` compares the network's outputs with.
            loss: ``loss(outputs, targets)``, a scalar.
            seed: of what a rule draws for this batch; the rules that draw nothing ignore it.
        """

    def _apply(self, physics: Sequence[Any], params: Params, inputs: Tensor) -> Tensor:
        """The network's outputs with ``params``, on one system or device a layer."""
        with run_on(self.network, *physics):
            return functional_call(self.network, params, (inputs,))

    def _one_each(self, name: str, given: Sequence[Any]) -> list[Any]:
        chosen, count = list(given), len(self.layers)
        check(
            len(chosen) == count, name, expected=f"one for each of {count} layers", got=len(given)
        )
        return chosen
