r"""The linear recurrence that every derivative of the circuit comes down to.

Let L be the strictly causal response of v to the base current, :math:`(L x)_n = e_v^\top
\sum_{m<n} M^{n-1-m} k\, x_m`. ``scan(d, b)`` solves

.. math:: x + d \odot (L x) = b

for x, step by step: it costs two numbers of state. Its transpose is the same recurrence backwards
in time, so its derivatives of every order are made of itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad

from metaphys.ops import recurrence
from metaphys.physics._convolve import convolve
from metaphys.physics.circuit._linear import response
from metaphys.physics.circuit._parameters import Parameters, unpack


def wants_plain(*tensors: Tensor) -> bool:
    """Whether an autograd.Function must not be used.

    In forward mode the jvp of a jvp through a Function is silently wrong in torch, and the vmap of
    ``autograd.grad(is_grads_batched=True)`` knows no rule of a Function.
    """
    if forward_ad._current_level >= 0:
        return True
    # torch.compile cannot trace the question, and is never inside of that vmap.
    return not torch.compiler.is_compiling() and any(map(is_legacy_batchedtensor, tensors))


def state_space(q: Parameters) -> tuple[Tensor, Tensor]:
    """M (U, 2, 2) and k (U, 2): v falls by what the base takes."""
    rows = torch.cat([q.m00, q.m01, q.m10, q.m11], -1)
    return rows.reshape(-1, 2, 2), torch.cat([q.kick0, q.kick1], -1).reshape(-1, 2)


def past(x: Tensor, q: Parameters) -> Tensor:
    """L x: what earlier base currents x (U, B, N), A, have taken from v, V."""
    matrix, kick = state_space(q)
    size = x.shape[-1]
    if size == 1:
        return torch.zeros_like(x)
    kernel = response(matrix, kick, size - 1).unsqueeze(-2)
    return torch.nn.functional.pad(convolve(kernel, x[..., :-1]), (1, 0))


def future(x: Tensor, q: Parameters) -> Tensor:
    """The transpose of :func:`past`."""
    return past(x.flip(-1), q).flip(-1)


def scan(d: Tensor, b: Tensor, packed: Tensor) -> Tensor:
    """Solve x + d ⊙ (L x) = b for x; d (U, B, N) in S, b in A, packed (U, K)."""
    if wants_plain(d, b, packed):
        return _loop(d, b, packed)
    return _Scan.apply(d, b, packed)  # type: ignore[no-any-return]


def scan_back(d: Tensor, b: Tensor, packed: Tensor) -> Tensor:
    """Solve x + d ⊙ (Lᵀ x) = b."""
    return scan(d.flip(-1), b.flip(-1), packed).flip(-1)


def _loop(d: Tensor, b: Tensor, packed: Tensor) -> Tensor:
    """The recurrence in plain arithmetic, right under every transform."""
    q = unpack(packed)
    m00, m01, m10, m11, k0, k1 = (each.squeeze(-1) for each in q[:6])
    found = [b[..., 0]]
    z0, z1 = k0 * found[0], k1 * found[0]
    for di, bi in zip(d.unbind(-1)[1:], b.unbind(-1)[1:]):
        x = bi - di * z1
        found.append(x)
        z0, z1 = m00 * z0 + m01 * z1 + k0 * x, m10 * z0 + m11 * z1 + k1 * x
    return torch.stack(found, -1)


def batched(apply: Any, size: int, in_dims: tuple[Any, ...], *tensors: Tensor) -> tuple[Any, Any]:
    """The vmap rule of a Function of (U, B, N) … and a packed (U, K): a longer B or a longer U."""
    *waves, packed = (
        t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, in_dims)
    )
    units, batch = waves[0].shape[1:3]
    if in_dims[-1] is None:
        folded = [w.transpose(0, 1).flatten(1, 2) for w in waves]
        outputs = apply(*folded, tensors[-1])

        def unfold(x: Tensor) -> Tensor:
            return x.unflatten(1, (size, batch)).transpose(0, 1)
    else:
        outputs = apply(*(w.flatten(0, 1) for w in waves), packed.flatten(0, 1))

        def unfold(x: Tensor) -> Tensor:
            return x.unflatten(0, (size, units))

    if isinstance(outputs, tuple):
        return tuple(unfold(x) for x in outputs), (0,) * len(outputs)
    return unfold(outputs), 0


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(d: Tensor, b: Tensor, packed: Tensor) -> Tensor:
        return recurrence.solve(d, b, *state_space(unpack(packed)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[2], output)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        d, packed, x = ctx.saved_tensors
        q = unpack(packed)
        # (1 + Lᵀ D) adjoint = cotangent
        through = scan_back(d, d * cotangent, packed)
        adjoint = cotangent - future(through, q)
        to_d = -adjoint * past(x, q) if ctx.needs_input_grad[0] else None
        to_packed = None
        if ctx.needs_input_grad[2]:
            pull = torch.func.vjp(lambda each: past(x, unpack(each)), packed)[1]
            (to_packed,) = pull(-through)
        return to_d, adjoint, to_packed

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[Any, ...], d: Tensor, b: Tensor, packed: Tensor
    ) -> tuple[Tensor, int]:
        return batched(_Scan.apply, info.batch_size, in_dims, d, b, packed)
