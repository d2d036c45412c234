"""What a plate is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from metaphys._errors import check


@final
@dataclass(frozen=True)
class PlateMaterial:
    """An isotropic elastic material.

    Attributes:
        youngs_modulus: E, in Pa.
        density: rho, in kg/m³.
        poisson: nu, Poisson's ratio, dimensionless, between −1 and 1/2.

    Raises:
        ValueError: a modulus or density that is not positive, or ``poisson`` out of its range.

    Example:
        >>> PlateMaterial.titanium()
        PlateMaterial(youngs_modulus=116000000000.0, density=4506.0, poisson=0.32)
    """

    youngs_modulus: float
    density: float
    poisson: float

    def __post_init__(self) -> None:
        for name in ("youngs_modulus", "density"):
            value = getattr(self, name)
            check(value > 0, name, expected="> 0", got=value)
        right = -1 < self.poisson < 0.5
        check(right, "poisson", expected="between -1 and 0.5", got=self.poisson)

    @classmethod
    def titanium(cls) -> PlateMaterial:
        """Titanium, commercially pure: the plate of the paper."""
        return cls(116e9, 4506.0, 0.32)

    @classmethod
    def aluminium(cls) -> PlateMaterial:
        """Aluminium alloy 6061-T6."""
        return cls(68.9e9, 2700.0, 0.33)

    @classmethod
    def steel(cls) -> PlateMaterial:
        """Structural steel."""
        return cls(200e9, 7850.0, 0.30)
