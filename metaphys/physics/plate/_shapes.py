"""The modes of a thin rectangular plate: their eigenvalues and shapes.

A mode has the angular frequency lambda · sqrt(D / (rho h)). Its shape phi is normalised so that
the integral of phi² over the plate is a quarter of its area (the sine shapes then are 1 at an
antinode), which makes every modal mass a quarter of the plate's mass.
"""

from __future__ import annotations

import abc
import math
from functools import lru_cache
from typing import final

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from metaphys.physics.plate._design import PlateDesign


class Shapes(abc.ABC):
    """K modes.

    Attributes:
        eigenvalues: lambda (K,), float64, in 1/m²; ascending.
    """

    eigenvalues: Tensor

    @abc.abstractmethod
    def at(self, place: Tensor) -> Tensor:
        """Phi (..., K), dimensionless, at ``place`` (..., 2) = (x/a, y/b); differentiable."""


def shapes(design: PlateDesign) -> Shapes:
    """The lowest modes of a plate."""
    if design.boundary == "simply supported":
        return SineShapes(design)
    return LegendreShapes(design)


@final
class SineShapes(Shapes):
    """All edges simply supported: phi = sin(m π x/a) sin(n π y/b), exactly.

    lambda = π² (m²/a² + n²/b²).

    Attributes:
        orders: (K, 2), the integers m and n.
    """

    def __init__(self, design: PlateDesign) -> None:
        a, b, count = design.length, design.width, design.modes
        # The K lowest modes have m n <= K: all modes below and to the left of one are lower.
        pairs = [(m, n) for m in range(1, count + 1) for n in range(1, count // m + 1)]
        pairs.sort(key=lambda mn: ((mn[0] / a) ** 2 + (mn[1] / b) ** 2, mn))
        self.orders = torch.tensor(pairs[:count], dtype=torch.float64)
        over = torch.tensor([a, b], dtype=torch.float64)
        self.eigenvalues = (math.pi * self.orders / over).square().sum(-1)

    def at(self, place: Tensor) -> Tensor:
        orders = self.orders.to(place)
        return (math.pi * orders * place.unsqueeze(-2)).sin().prod(-1)


@final
class LegendreShapes(Shapes):
    r"""All edges free: Rayleigh-Ritz with products of Legendre polynomials.

    Minimises the bending energy :math:`\tfrac D2 \int w_{xx}^2 + w_{yy}^2 + 2\nu w_{xx} w_{yy} +
    2 (1-\nu) w_{xy}^2`, whose natural boundary conditions are those of free edges, so that the
    polynomials need not fulfil any. Solved for each of the four parities by itself: degenerate
    modes of a square plate then come out the same on every machine.

    Source: Leissa, "The free vibration of rectangular plates", J. Sound Vib. 31, 257 (1973).
    """

    def __init__(self, design: PlateDesign) -> None:
        aspect, poisson = design.length / design.width, design.material.poisson
        values, coefficients = _ritz(aspect, poisson, design.modes)
        self.eigenvalues = torch.from_numpy(values) / design.length**2
        self.coefficients = torch.from_numpy(coefficients)

    def at(self, place: Tensor) -> Tensor:
        xi, eta = (2 * place - 1).unbind(-1)
        size = self.coefficients.shape[-1]
        coefficients = self.coefficients.to(place)
        values = _polynomials(xi, size), _polynomials(eta, size)
        return torch.einsum("kij,...i,...j->...k", coefficients, *values)


def _polynomials(x: Tensor, size: int) -> Tensor:
    """P_0 … P_{size-1} at x, (..., size), normalised on [-1, 1], by Bonnet's recurrence.

    It runs on monic polynomials, p_{i+1} = x p_i − i²/(4i² − 1) p_{i-1}, scaled at the end:
    forward mode pays for every factor that is a plain number as for fifty products of tensors.
    """
    found = [torch.ones_like(x), x]
    for i in range(1, size - 1):
        found.append(torch.sub(x * found[i], found[i - 1], alpha=i * i / (4 * i * i - 1)))
    scale, scales = 1.0, list[float]()
    for i in range(size):
        scales.append(scale * math.sqrt(i + 0.5))
        scale *= (2 * i + 1) / (i + 1)
    return torch.stack(found, -1) * x.new_tensor(scales)


@lru_cache(maxsize=32)
def _ritz(aspect: float, poisson: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lambda a² (K,) and the coefficients (K, n, n) of the lowest modes that bend."""
    # 14 polynomials each way give the first 16 modes of a square to 1.3e-7; more modes need more.
    size = max(14, 8 + 2 * math.ceil(math.sqrt(count)))
    found: list[tuple[float, tuple[int, int], np.ndarray]] = []
    for parity in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows, columns = (range(p, size, 2) for p in parity)
        energy = _bending_energy(size, aspect, poisson)[np.ix_(rows, columns, rows, columns)]
        order = len(rows) * len(columns)
        squares, vectors = np.linalg.eigh(energy.reshape(order, order))
        # Rigid motions: P_0 P_0, P_0 P_1 and P_1 P_0, the lowest of their parity.
        rigid = 0 if parity == (1, 1) else 1
        for square, vector in zip(squares[rigid:], vectors.T[rigid:]):
            full = np.zeros((size, size))
            full[np.ix_(rows, columns)] = vector.reshape(len(rows), len(columns))
            full *= np.sign(vector[np.abs(vector).argmax()])
            found.append((math.sqrt(square), parity, full))
    # Rounded, so that the order of degenerate modes does not hang on the last bit.
    found.sort(key=lambda mode: (float(f"{mode[0]:.9e}"), mode[1]))
    lowest = found[:count]
    # Normalised polynomials have ∫ phi² dξ dη = 1; over an area of 4 a quarter of it is 1.
    return np.array([mode[0] for mode in lowest]), np.stack([mode[2] for mode in lowest])


def _bending_energy(size: int, aspect: float, poisson: float) -> np.ndarray:
    """Twice the bending energy over D and mass, in units of 1/a⁴: (n, n, n, n)."""
    nodes, weights = legendre.leggauss(size + 1)
    norms = np.sqrt(np.arange(size) + 0.5)
    derivatives = [
        np.stack(
            [
                norm * legendre.legval(nodes, legendre.legder(np.eye(size)[i], order))
                for i, norm in enumerate(norms)
            ]
        )
        for order in (0, 1, 2)
    ]

    def overlap(first: int, second: int) -> np.ndarray:
        # d/dx = (2/a) d/dξ; each derivative by y counts a/b more.
        return 2.0 ** (first + second) * (derivatives[first] * weights) @ derivatives[second].T

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.einsum("ik,jl->ijkl", x, y)

    mixed = product(overlap(2, 0), overlap(0, 2))
    mixed = mixed + mixed.transpose(2, 3, 0, 1)
    return (
        product(overlap(2, 2), overlap(0, 0))
        + aspect**4 * product(overlap(0, 0), overlap(2, 2))
        + aspect**2 * (poisson * mixed + 2 * (1 - poisson) * product(overlap(1, 1), overlap(1, 1)))
    )
