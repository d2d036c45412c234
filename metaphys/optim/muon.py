"""Muon: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.

https://kellerjordan.github.io/posts/muon, as torch.optim.Muon, but the Newton-Schulz iteration
runs in the dtype of the moments instead of bfloat16, so that it can be differentiated. Step sizes
that match AdamW's: Liu et al., arXiv 2502.16982, equation (4). What is no matrix is stepped by
AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import check
from metaphys._typing import Hyper, Tensors, Tree
from metaphys.ops._math import bias_corrections, masked_sqrt
from metaphys.optim import _parts
from metaphys.optim._leafwise import Leaf, Leafwise, Moments
from metaphys.optim.rule import Rule


class MuonState(NamedTuple):
    """Steps taken by each leaf, first moments, and second ones (0-d, unused, for matrices)."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]
    nu: tuple[torch.Tensor, ...]


class _Muon(Leafwise):
    state = MuonState
    scalars = ("nu",)
    static = ("ns_steps",)
    nonnegative = ("weight_decay", "eps", "adamw_eps")
    fractions = ("momentum",)
    flags = ("nesterov", "maximize")
    betas = 2

    def check(self, hyper: Mapping[str, Any]) -> None:
        super().check(hyper)
        coefficients, steps = hyper["ns_coefficients"], hyper["ns_steps"]
        check(
            isinstance(coefficients, (tuple, list)) and len(coefficients) == 3,
            "ns_coefficients",
            expected="a tuple (a, b, c)",
            got=coefficients,
        )
        for index, each in enumerate(coefficients):
            _parts.check_finite(f"ns_coefficients[{index}]", each)
        whole = isinstance(steps, int) and not isinstance(steps, bool)
        check(whole and 0 <= steps < 100, "ns_steps", expected="an int in [0, 100)", got=steps)
        known = (None, "original", "match_rms_adamw")
        how = hyper["adjust_lr_fn"]
        right = how is None or (isinstance(how, str) and how in known)
        check(right, "adjust_lr_fn", expected=f"one of {known}", got=repr(how))

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return 0.0, 0.0

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> MuonState:
        learn = hyper["moment_requires_grad"]
        seconds = [param.new_zeros(()) if param.ndim == 2 else param for param in params]
        moments = (_parts.zeros(each, learn) for each in (params, seconds))
        return MuonState(_parts.no_steps(params), *moments)

    def decoupled(self, hyper: Mapping[str, Any]) -> bool:
        return True

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        return tuple(bias_corrections(beta, count) for beta in hyper["betas"])

    def leaf(self, at: Leaf) -> tuple[torch.Tensor, Moments]:
        grad, moments, factors, hyper = at
        mu, nu = moments
        if grad.ndim == 2:
            decay = hyper["momentum"]
            mu = decay * mu + (1 - decay) * grad
            ahead = decay * mu + (1 - decay) * grad if hyper["nesterov"] else mu
            return _ratio(grad.shape, hyper["adjust_lr_fn"]) * _orthogonal(ahead, hyper), (mu, nu)
        (b1, b2), (c1, c2) = hyper["betas"], factors
        mu = b1 * mu + (1 - b1) * grad
        nu = b2 * nu + (1 - b2) * grad * grad
        return mu / c1 / (masked_sqrt(nu / c2) + hyper["adamw_eps"]), (mu, nu)


def _orthogonal(matrix: torch.Tensor, hyper: Mapping[str, Any]) -> torch.Tensor:
    """About U Vᵀ of the matrix U S Vᵀ: polynomials that push its singular values towards 1."""
    a, b, c = hyper["ns_coefficients"]
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    # As torch: a norm below ε counts as ε; there its derivative is 0, which keeps 0/0 away.
    norm = masked_sqrt((x * x).sum())
    x = x / torch.where(norm > hyper["eps"], norm, hyper["eps"])
    for _ in range(hyper["ns_steps"]):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def _ratio(shape: Sequence[int], how: str | None) -> float:
    """What a matrix's step size is multiplied by."""
    rows, columns = shape
    if how == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / max(1, columns)))


MUON = _Muon()


def muon(
    lr: Hyper | Tree = 1e-3,
    weight_decay: Hyper = 0.1,
    momentum: Hyper = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: Hyper = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    *,
    betas: tuple[Hyper, Hyper] = (0.9, 0.999),
    adamw_eps: Hyper = 1e-8,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Muon (Jordan et al. 2024): orthogonalised momentum for matrices, AdamW for the rest.

    .. math::
        m' = \mu m + (1-\mu) G,\quad \tilde m = \mu m' + (1-\mu) G,\quad
        X_0 = \frac{\tilde m}{\max(\lVert\tilde m\rVert_F, \epsilon)},\quad
        X_{k+1} = a X_k + \left(b\, X_k X_k^\top + c\, (X_k X_k^\top)^2\right) X_k

    .. math::
        P' = P - \eta \left(\lambda P + s\, X_K\right),\qquad s = \sqrt{\max(1, n/m)}

    for an n × m matrix P (a parameter with two dimensions). Every other parameter takes the step of
    :func:`metaphys.adamw` with the same lr and weight decay.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter,
            which gives the matrices and the rest step sizes of their own.
        weight_decay: λ ≥ 0, decoupled.
        momentum: μ, in [0, 1].
        nesterov: look ahead; without it :math:`\tilde m = m'`.
        ns_coefficients: (a, b, c) of the Newton-Schulz iteration.
        eps: ε > 0, the smallest norm that is divided by. At a matrix of zeros and the first step
            ∂P'/∂G = -η s aᴷ (1-μ²)/ε, with 1-μ instead of 1-μ² without ``nesterov``.
        ns_steps: K, fewer than 100.
        adjust_lr_fn: ``"original"`` (or ``None``): s as above; ``"match_rms_adamw"``:
            s = 0.2 √max(n, m), so that lr and weight decay tuned for AdamW serve
            (arXiv 2502.16982, equation 4).
        betas: AdamW's decay rates, for what is no matrix.
        adamw_eps: AdamW's ε.
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.muon(lr=0.1, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=30)
        >>> params, grads = [torch.zeros(2, 2)], [torch.diag(torch.tensor([3.0, 1.0]))]
        >>> updates, _ = rule.update(grads, rule.init(params), params)
        >>> updates[0].diag()
        tensor([-0.1000, -0.1000])
    """
    return Rule(MUON, dict(locals()))
