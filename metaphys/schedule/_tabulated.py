"""A value for each step, as it is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from metaphys._errors import check, check_kind
from metaphys._typing import Schedule
from metaphys.schedule._base import double, scheduled, steps_so_far


@final
@scheduled
@dataclass(frozen=True)
class _Tabulated:
    values: torch.Tensor

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count, self.values).to(torch.int64)
        row = steps.clamp(0, self.values.shape[0] - 1)
        # Not `values[row]`: indexing by a tensor of no dimension reads its value.
        return double(self.values.index_select(0, row.reshape(1)).squeeze(0))


def tabulated(values: torch.Tensor) -> Schedule:
    r"""A value for each step; the last one stays.

    .. math:: \eta_t = v_{\min(t,\, k - 1)}

    The step sizes of MAML++ (Antoniou et al., arXiv 1810.09502, "per-step step sizes") and of
    Meta-SGD (Li et al., arXiv 1707.09835, one for each entry of a parameter).

    Args:
        values: (k,) or, with a value for each entry of a parameter, (k, \*shape), k ≥ 1; they may
            require a gradient.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it has no step, or holds no floating-point numbers.

    Example:
        >>> import metaphys, torch
        >>> rates = torch.tensor([0.25, 0.25], requires_grad=True)
        >>> end = metaphys.unroll(
        ...     lambda p, _: p.square(), metaphys.sgd(lr=metaphys.schedule.tabulated(rates)),
        ...     torch.tensor(1.0), steps=3)
        >>> end.params  # (1 - 2·0.25) (1 - 2·0.25)²
        tensor(0.1250, grad_fn=<...>)
        >>> torch.autograd.grad(end.params, rates)
        (tensor([-0.5000, -1.0000]),)
    """
    check_kind(values, torch.Tensor, "values", expected="a tensor")
    fits = values.ndim >= 1 and values.shape[0] >= 1 and values.is_floating_point()
    expected, got = "of shape (k, ...), k >= 1, floating point", (values.dtype, values.shape)
    check(fits, "values", expected=expected, got=got)
    return _Tabulated(values)
