"""Physics behind an encoding: data and controls in, readout out."""

from __future__ import annotations

from typing import Any, Protocol, final

import torch
from torch import Tensor

from metaphys._errors import check, check_kind
from metaphys.physics._encoding import Encoding
from metaphys.physics._ports import Ports


class Physics(Protocol):
    """What can be driven: a system, or a device with its twin."""

    @property
    def ports(self) -> Ports: ...

    @property
    def units(self) -> tuple[int, ...]: ...

    def __call__(self, drive: Tensor, controls: Any) -> Tensor: ...


@final
class Encoded:
    """Physics whose drive is made of data and controls: ``encoded(x, controls) -> readout``.

    ::

        x ────────►┐
                   ├─► encoding ─► drive ─► f ─► readout
        controls ─►┘                        ▲
           └────────────────────────────────┘  those that are not the encoding's

    It goes around a system and around a device with its twin alike: ``Encoded(plate, encoding)``
    and ``Encoded(PhysicsAware(device, plate), encoding)``. What a device measures, and what limits
    and noise around it see, is then the finished drive.

    Args:
        f: a :class:`System` or a :class:`PhysicsAware`.
        encoding: how data and controls become its drive.

    Raises:
        TypeError: ``f`` cannot be driven (a bare device has no derivative), or ``encoding`` is
            none.
        ValueError: ``f`` takes controls that are not in a dict, or of the encoding's names.

    Attributes:
        ports: data, controls (the encoding's and f's), readout.
        units: those of ``f``.

    Example:
        >>> from metaphys.physics import Affine, OscillatorArray
        >>> encoded = Encoded(OscillatorArray(3), Affine(low=-1.0, high=1.0))
        >>> encoded.ports.controls
        {'scale': (1, 3), 'offset': (3,), 'coupling': (3, 3), 'force': (3,)}
        >>> encoded(torch.ones(2, 3), encoded.init_controls()).shape
        torch.Size([2, 3])
    """

    def __init__(self, f: Physics, encoding: Encoding) -> None:
        check(
            callable(f) and isinstance(getattr(f, "ports", None), Ports),
            "f",
            expected="a System or a PhysicsAware",
            got=type(f).__name__,
            remedy="Give a device its twin: PhysicsAware(device, twin).",
            error=TypeError,
        )
        check_kind(encoding, Encoding, "encoding", expected="an Encoding, as Affine() is")
        n, inner = f.ports.drive, f.ports.controls
        own = encoding.shapes(n)
        fits = isinstance(inner, dict) and not set(own) & set(inner)
        expected = f"physics with controls by name, other than {', '.join(own)}"
        check(fits, "f", expected=expected, got=inner)
        self.f, self.encoding, self._own = f, encoding, tuple(own)
        self.units = f.units
        self.ports = Ports(encoding.data(n), {**own, **inner}, f.ports.readout)

    def __repr__(self) -> str:
        return f"Encoded({self.f}, {self.encoding})"

    def on(self, f: Physics) -> Encoded:
        """The same encoding in front of other physics: another unit, a device with its twin."""
        return Encoded(f, self.encoding)

    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Controls to start training from: the encoding's, and those of the system behind it."""
        dtype = torch.get_default_dtype() if dtype is None else dtype
        own = self.encoding.init_controls(self.f.ports.drive, generator)
        controls = {name: value.to(dtype=dtype, device=device) for name, value in own.items()}
        if self.f.ports.controls:
            system: Any = getattr(self.f, "twin", self.f)
            controls |= system.init_controls(generator=generator, dtype=dtype, device=device)
        return controls

    def drive(self, x: Tensor, controls: Any) -> Tensor:
        """What enters the physics, (..., n), in the unit of its drive."""
        return self.encoding.drive(x, self._of_encoding(x, controls))

    def excess(self, x: Tensor, controls: Any) -> Tensor:
        """(...) by how much the drive leaves its limits before the clamp: ``Encoding.excess``."""
        return self.encoding.excess(x, self._of_encoding(x, controls))

    def _of_encoding(self, x: Tensor, controls: Any) -> dict[str, Tensor]:
        # Not against the units: inside of vmap a fleet's are the mapped dimension, which only what
        # measures can see. It refuses what does not fit.
        self.ports.check(x, controls, ())
        return {name: controls[name] for name in self._own}

    def __call__(self, x: Tensor, controls: Any) -> Tensor:
        """The readout for data ``x`` (*settings, *samples, ``ports.drive``).

        Raises:
            TypeError, ValueError: as :meth:`Ports.check`.
        """
        rest = {name: value for name, value in controls.items() if name not in self._own}
        return self.f(self.drive(x, controls), rest)
