"""Controls that take a known mismatch back."""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys.training._draws import Params

COUPLING = "layers.0.controls.coupling"
NEAR = 0.97
"""How near to its limit a control is set: at the limit itself its derivative would vanish."""


def cancelled(
    params: Params, offset: Tensor, limit: float | None = None, *, layer: int = 0
) -> Params:
    r"""The parameters that make, on a unit with this offset, what ``params`` make without one.

    .. math:: C \leftarrow (C + C^\top) / 2 - \Delta J

    Where hardware cannot set that, it is set as near as it can: C within ±0.97 of its limit, with
    the derivative of the clamp.

    Args:
        params: of a network of arrays, with couplings (N, N).
        offset: ΔJ, (N, N), symmetric, the unit's or what is known of it.
        limit: see :class:`~metaphys.nn.PhysicalLayer`: a parameter is ``limit`` · atanh(C / limit).
        layer: whose couplings; the network may have something behind it, such as a digital layer.

    Example:
        >>> there = torch.tensor([[0.0, 1.0], [3.0, 0.0]])
        >>> cancelled({COUPLING: there}, torch.tensor([[0.0, 0.5], [0.5, 0.0]]))[COUPLING]
        tensor([[0.0000, 1.5000],
                [1.5000, 0.0000]])
    """
    (name,) = (name for name in params if name.endswith(f"layers.{layer}.controls.coupling"))
    raw = params[name]
    coupling = raw if limit is None else limit * (raw / limit).tanh()
    wanted = (coupling + coupling.mT) / 2 - offset
    if limit is not None:
        wanted = limit * torch.atanh(wanted.clamp(-NEAR * limit, NEAR * limit) / limit)
    return {**params, name: wanted}
