"""Adam's operator on one tensor, as TorchOpt has it."""

from __future__ import annotations

from typing import final

import torch

from metaphys import ops
from metaphys.optim._parts import check_at_least, check_betas


@final
class AdamOp:
    r"""One step of Adam's moments and its direction, for one tensor.

    .. math::
        m' = \beta_1 m + (1-\beta_1) g,\quad v' = \beta_2 v + (1-\beta_2) g^2,\quad
        u = \frac{m'/(1-\beta_1^t)}{\sqrt{v'/(1-\beta_2^t) + \epsilon_r} + \epsilon}

    Right to every order of derivative, for any layout of the tensors, and under ``torch.func``.

    Args:
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        eps: ε ≥ 0.
        eps_root: ε_r ≥ 0.
        inplace: also write the results into ``mu``, ``nu`` and ``updates``, without a graph.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> op = metaphys.accelerated_op.AdamOp(inplace=False)
        >>> mu, nu, updates = op(torch.zeros(1), torch.zeros(1), torch.tensor([4.0]), 1)
        >>> updates
        tensor([1.])
    """

    def __init__(
        self,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
        *,
        eps_root: float = 0.0,
        inplace: bool = True,
    ) -> None:
        check_betas((b1, b2))
        check_at_least("eps", eps)
        check_at_least("eps_root", eps_root)
        self.b1, self.b2, self.eps, self.eps_root = b1, b2, eps, eps_root
        self.inplace = inplace

    def __call__(
        self,
        mu: torch.Tensor,
        nu: torch.Tensor,
        updates: torch.Tensor,
        count: torch.Tensor | int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(m', v', u)``.

        Args:
            mu: first moment m, of the gradient's shape; float32 for a half-precision gradient.
            nu: second moment v, likewise.
            updates: the gradient g.
            count: the number t ≥ 1 of this step.
        """
        steps = torch.as_tensor(count).detach().to("cpu", torch.int64).reshape(1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.inplace):
            (after,), (new_mu,), (new_nu,) = ops.adam(
                [updates],
                [mu],
                [nu],
                steps,
                b1=self.b1,
                b2=self.b2,
                eps=self.eps,
                eps_root=self.eps_root,
            )
            if not self.inplace:
                return new_mu, new_nu, after
            return mu.copy_(new_mu), nu.copy_(new_nu), updates.copy_(after)
