"""A module as a plain function of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from metaphys._errors import check_kind


def functional(module: nn.Module) -> tuple[Callable[..., Any], dict[str, Tensor]]:
    """``(apply, params)`` with ``apply(params, *inputs) == module(*inputs)``.

    ``apply`` is pure in ``params`` and follows the module's other state: after
    :func:`~metaphys.nn.run_on` it runs on the other device.

    Args:
        module: any module; its buffers are used where they are.

    Returns:
        The function, and copies of the module's parameters by name, without a graph.

    Raises:
        TypeError: ``module`` is no module.

    Example:
        >>> import torch
        >>> net = nn.Linear(2, 1)
        >>> apply, params = functional(net)
        >>> bool(apply(params, torch.ones(3, 2)).equal(net(torch.ones(3, 2))))
        True
        >>> grads = torch.func.grad(lambda p: apply(p, torch.ones(2)).sum())(params)
        >>> grads["weight"]
        tensor([[1., 1.]])
    """
    check_kind(module, nn.Module, "module", expected="an nn.Module")

    def apply(params: dict[str, Tensor], *inputs: Any) -> Any:
        return functional_call(module, params, inputs)

    params = {name: value.detach().clone() for name, value in module.named_parameters()}
    return apply, params
