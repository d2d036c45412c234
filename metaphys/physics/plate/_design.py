"""The nominal plate: material, geometry, and where it is driven and heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

from metaphys._errors import check
from metaphys.physics.plate._material import PlateMaterial

Boundary = Literal["free", "simply supported"]


@final
@dataclass(frozen=True)
class PlateDesign:
    r"""A thin rectangular plate with a point drive and a point microphone, by its lowest modes.

    Attributes:
        material: what it is made of.
        length: a, along x, in m.
        width: b, along y, in m.
        thickness: h, in m.
        boundary: of all four edges: ``"free"``, or ``"simply supported"`` on immovable edges.
        modes: K, how many modes to keep, from the lowest (of a free plate without the three
            motions of a rigid body, which lie in the soft mount far below).
        damping: z, the damping ratio of every mode, or of each of them, dimensionless, in [0, 1).
        stiffening: s, dimensionless, >= 0: a mode of amplitude q has the cubic restoring force
            :math:`a_k q^3`, :math:`a_k = s\,\omega_k^2 / h^2`; 0 for the linear plate. Berger's
            equation gives 3/2 for every mode of a plate on immovable edges, where q is the
            amplitude at an antinode; a free plate stretches far less.
        drive_at: (x/a, y/b) of the drive, dimensionless.
        microphone_at: (x/a, y/b) of the microphone, dimensionless.
        sensitivity: of the microphone to the acceleration under it, in V s²/m.

    Raises:
        ValueError: a length, a number of modes, a damping or a place that cannot be.

    Source: the titanium plate is that of Wright, Onodera et al., Nature 601, 549 (2022); its size
    is an estimate. Berger, "A new approach to the analysis of large deflections of plates",
    J. Appl. Mech. 22, 465 (1955), applied to one mode.

    Example:
        >>> design = PlateDesign(boundary="simply supported", stiffening=1.5)
        >>> round(design.rigidity, 1), round(1e3 * design.mass, 2)         # D in N m, mass in g
        (10.8, 4.61)
    """

    material: PlateMaterial = field(default_factory=PlateMaterial.titanium)
    length: float = 0.032
    width: float = 0.032
    thickness: float = 0.001
    boundary: Boundary = "free"
    modes: int = 16
    damping: float | tuple[float, ...] = 0.02
    stiffening: float = 0.0
    drive_at: tuple[float, float] = (0.37, 0.41)
    microphone_at: tuple[float, float] = (0.23, 0.71)
    sensitivity: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("length", "width", "thickness"):
            value = getattr(self, name)
            check(value > 0, name, expected="> 0 (metres)", got=value)
        right = self.boundary in ("free", "simply supported")
        check(right, "boundary", expected="'free' or 'simply supported'", got=self.boundary)
        check(self.modes >= 1, "modes", expected=">= 1", got=self.modes)
        check(self.stiffening >= 0, "stiffening", expected=">= 0", got=self.stiffening)
        count = len(self.dampings)
        expected = f"one number or {self.modes} of them, one a mode"
        check(count == self.modes, "damping", expected=expected, got=count)
        right = all(0 <= z < 1 for z in self.dampings)
        check(right, "damping", expected="in [0, 1)", got=self.damping)
        for name in ("drive_at", "microphone_at"):
            place = getattr(self, name)
            right = len(place) == 2 and all(0 <= x <= 1 for x in place)
            check(right, name, expected="(x/a, y/b), each in [0, 1]", got=place)

    @property
    def dampings(self) -> tuple[float, ...]:
        """The damping ratio of each mode."""
        if isinstance(self.damping, tuple):
            return self.damping
        return (float(self.damping),) * self.modes

    @property
    def rigidity(self) -> float:
        """The bending stiffness D = E h³ / (12 (1 − nu²)), in N m."""
        material = self.material
        stiffness = material.youngs_modulus * self.thickness**3
        return stiffness / (12 * (1 - material.poisson**2))

    @property
    def mass(self) -> float:
        """The mass rho h a b of the plate, in kg."""
        return self.material.density * self.thickness * self.length * self.width
