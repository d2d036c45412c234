r"""Two recurrences over time for many waves at once: a filter of two states, and one under a load.

With states (a, f), (0, 0) before the first step,

    solve:   x_n = b_n - d_n f_n
    loaded:  x_n = i(s_n),  s_n = u_n - f_n
    both:    (a, f)_{n+1} = M (a, f)_n + k x_n

where i is made of straight lines between the points s = p / (1 - p), p = 0, 1/P, 2/P …; the first
and the last line go on beyond. Neither operator has a derivative of its own: who calls them knows
the implicit function that they solve.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys._errors import refuse
from metaphys.ops._library import LIBRARY

LIBRARY.define("recurrence_solve(Tensor d, Tensor b, Tensor matrix, Tensor kick) -> Tensor")
LIBRARY.define(
    "recurrence_loaded(Tensor u, Tensor matrix, Tensor kick, Tensor offset, Tensor slope) -> Tensor"
)


def solve(d: Tensor, b: Tensor, matrix: Tensor, kick: Tensor) -> Tensor:
    """X of the first recurrence.

    Args:
        d: (U, B, N), float32 or float64.
        b: (U, B, N).
        matrix: M (U, 2, 2).
        kick: k (U, 2).

    Returns:
        (U, B, N), without a graph.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> ones = torch.ones(1, 1, 3)
        >>> solve(ones, ones, torch.zeros(1, 2, 2), torch.tensor([[0.0, 0.5]])).flatten()
        tensor([1.0000, 0.5000, 0.7500])
    """
    _check(b, d=(d, b.shape), matrix=(matrix, (len(b), 2, 2)), kick=(kick, (len(b), 2)))
    return torch.ops.metaphys.recurrence_solve(d, b, matrix, kick)


def loaded(u: Tensor, matrix: Tensor, kick: Tensor, offset: Tensor, slope: Tensor) -> Tensor:
    """S of the second recurrence.

    Args:
        u: (U, B, N), float32 or float64.
        matrix: M (U, 2, 2).
        kick: k (U, 2).
        offset: of each line at s = 0, (U, P - 1).
        slope: of each line, (U, P - 1).

    Returns:
        (U, B, N), without a graph.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> lines = torch.zeros(1, 7), torch.full((1, 7), 0.5)            # i(s) = s / 2
        >>> kick = torch.tensor([[0.0, 1.0]])
        >>> loaded(torch.ones(1, 1, 3), torch.zeros(1, 2, 2), kick, *lines).flatten()
        tensor([1.0000, 0.5000, 0.7500])
    """
    _check(u, matrix=(matrix, (len(u), 2, 2)), kick=(kick, (len(u), 2)))
    _check(u, offset=(offset, (len(u), slope.shape[-1])), slope=(slope, offset.shape))
    return torch.ops.metaphys.recurrence_loaded(u, matrix, kick, offset, slope)


def _check(waves: Tensor, **arguments: tuple[Tensor, tuple[int, ...]]) -> None:
    for name, (given, shape) in arguments.items():
        fits = waves.ndim == 3 and given.shape == shape
        if not fits:
            expected = f"of shape {tuple(shape)} for waves {tuple(waves.shape)}"
            refuse(name, expected=expected, got=tuple(given.shape))


def interpolate(s: Tensor, offset: Tensor, slope: Tensor) -> Tensor:
    """i(s) for s (U, B, ...), of lines (U, P - 1)."""
    points, up = offset.shape[-1] + 1, s.clamp(min=0)
    # An infinite s has no place but the last line; NaN needs some line, to stay NaN.
    place = (up / (up + 1) * points).nan_to_num(points - 2).clamp(max=points - 2).long()
    if len(offset) > 1:
        rows = torch.arange(len(offset), device=s.device) * (points - 1)
        place += rows.reshape(-1, *[1] * (s.ndim - 1))
    return torch.addcmul(offset.take(place), slope.take(place), s)


class _State:
    """(a, f) of every wave, advanced in place; for waves (U, B, N)."""

    def __init__(self, matrix: Tensor, kick: Tensor, like: Tensor) -> None:
        # (2, U, 1) each; three products of vectors are faster than many products of matrices.
        self._first, self._second = matrix.permute(2, 1, 0).unsqueeze(-1).contiguous().unbind()
        self._kick = kick.T.unsqueeze(-1).contiguous()
        pair = like.new_zeros(2, 2, *like.shape[:2])
        # Two buffers take turns, since a step needs both old values for both new ones.
        self._now, self._next = ((each, *each.unbind()) for each in pair.unbind())

    @property
    def f(self) -> Tensor:
        """(U, B)."""
        return self._now[2]

    def advance(self, x: Tensor) -> None:
        """Take x (U, B) of this step."""
        _, a, f = self._now
        new = self._next[0]
        torch.mul(self._kick, x, out=new)
        new.addcmul_(self._first, a).addcmul_(self._second, f)
        self._now, self._next = self._next, self._now


def _solve(d: Tensor, b: Tensor, matrix: Tensor, kick: Tensor) -> Tensor:
    state = _State(matrix, kick, b)
    d, b = (each.permute(2, 0, 1).contiguous() for each in (d, b))
    x = torch.empty_like(b)
    for di, bi, xi in zip(d.unbind(), b.unbind(), x.unbind()):
        torch.addcmul(bi, di, state.f, value=-1, out=xi)
        state.advance(xi)
    return x.permute(1, 2, 0).contiguous()


def _loaded(u: Tensor, matrix: Tensor, kick: Tensor, offset: Tensor, slope: Tensor) -> Tensor:
    state = _State(matrix, kick, u)
    rows = u.permute(2, 0, 1).contiguous()
    s = torch.empty_like(rows)
    for ui, si in zip(rows.unbind(), s.unbind()):
        torch.sub(ui, state.f, out=si)
        state.advance(interpolate(si, offset, slope))
    return s.permute(1, 2, 0).contiguous()


LIBRARY.impl("recurrence_solve", _solve, "CompositeExplicitAutograd")
LIBRARY.impl("recurrence_loaded", _loaded, "CompositeExplicitAutograd")
