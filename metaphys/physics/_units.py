"""The units that a mismatch belongs to: leading dimensions in front of every field's own shape."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from metaphys._errors import check

Sizes = tuple[int, ...]
"""The sizes that one dimension may have; none of them: any size."""


def units_of(fields: Mapping[str, tuple[Tensor | None, tuple[Sizes, ...]]]) -> tuple[int, ...]:
    """The leading dimensions that the fields of a mismatch share, aligned left.

    Args:
        fields: by name, the tensor (``None`` is skipped) and the sizes of its own dimensions.

    Raises:
        ValueError: a shape does not fit, or leading dimensions disagree.

    Example:
        >>> import torch
        >>> units_of({"gain": (torch.zeros(5, 1), ((1, 3),)), "offset": (None, ((3,), (3,)))})
        (5,)
    """
    leads = [_lead(name, x, own) for name, (x, own) in fields.items() if x is not None]
    longest = max(leads, key=len, default=())
    for lead in leads:
        check(
            lead == longest[: len(lead)],
            "mismatch",
            expected="of leading dimensions that agree (aligned left)",
            got=leads,
        )
    return longest


def _lead(name: str, x: Tensor, own: tuple[Sizes, ...]) -> tuple[int, ...]:
    shape, split = tuple(x.shape), x.ndim - len(own)
    pairs = zip(shape[max(split, 0) :], own)
    fits = split >= 0 and all(not sizes or size in sizes for size, sizes in pairs)
    dims = ", ".join(" or ".join(map(str, sizes)) or "any" for sizes in own)
    check(fits, f"mismatch.{name}", expected=f"of shape (..., {dims})", got=shape)
    return shape[:split]
