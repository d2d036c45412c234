"""The policy of the MAML example: one network for the actions and the value of a state."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Categorical

WIDTH = 32


class CategoricalMLPPolicy(nn.Module):
    r"""A categorical policy and a value, from two shared hidden layers of 32 units.

    .. math::
        h = \mathrm{relu}(W_2\, \mathrm{relu}(W_1 o + b_1) + b_2),\qquad
        \pi(\cdot \mid o) = \mathrm{softmax}(W_\pi h + b_\pi),\qquad V(o) = w_V^\top h + b_V

    With 10 states and 5 actions that is 1,606 parameters.

    Args:
        input_size: length of an observation.
        output_size: number of actions.

    Example:
        >>> import torch
        >>> policy = CategoricalMLPPolicy(input_size=10, output_size=5)
        >>> pi, value = policy(torch.eye(10))
        >>> pi.probs.shape, value.shape
        (torch.Size([10, 5]), torch.Size([10, 1]))
        >>> sum(parameter.numel() for parameter in policy.parameters())
        1606
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.torso = nn.Sequential(
            nn.Linear(input_size, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.policy_head = nn.Linear(WIDTH, output_size)
        self.value_head = nn.Linear(WIDTH, 1)

    def forward(self, inputs: Tensor) -> tuple[Categorical, Tensor]:
        """The policy over actions (..., A) and the value (..., 1) of observations (..., S)."""
        hidden = self.torso(inputs.to(self.value_head.weight.dtype))
        # Its own check of the arguments costs more than this network.
        policy = Categorical(logits=self.policy_head(hidden), validate_args=False)
        return policy, self.value_head(hidden)
