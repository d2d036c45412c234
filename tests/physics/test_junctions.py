"""Closing the junctions: kernel against Python, and both against the equations."""

from __future__ import annotations

import pytest
import torch

from metaphys.physics import Circuit, CircuitSpread
from metaphys.physics.circuit._closed import _closed, closed
from metaphys.physics.circuit._junctions import junctions, solve
from metaphys.physics.circuit._parameters import unpack

SHAPES = [(1, 1, 1), (3, 5, 7), (2, 17, 9), (2, 0, 5), (1, 3, 0), (1, 40, 100)]


def packed(units, dtype=torch.float64, spread=None):
    """Parameters (U, K) of as many units."""
    spread = CircuitSpread(temperature=30.0) if spread is None else spread
    fleet = spread.perturb(Circuit(), range(units))
    return fleet._setup(torch.zeros((), dtype=dtype)).packed.to(dtype)


def near(shape, parameters, generator):
    """Voltages in front of the base from -3 to 7 V, and v_be 10 µV off."""
    s = 10 * torch.rand(shape, generator=generator, dtype=torch.float64) - 3
    w, _ = solve(s, unpack(parameters.double()))
    w = w + 2e-5 * (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5)
    return s.to(parameters.dtype), w.to(parameters.dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_is_the_python_implementation(shape, dtype, generator):
    parameters = packed(shape[0], dtype)
    s, w = near(shape, parameters, generator)
    found, expected = torch.stack(closed(s, w, parameters)), _closed(s, w, parameters)
    # v_bc hangs on v_be with a gain of hundreds: its rounding, 1e-7 V in float32, is seen there.
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert found.dtype == dtype and found.shape == (2, *shape)


def test_both_equations_are_closed(generator):
    parameters = packed(4)
    s, w = near((4, 8, 16), parameters, generator)
    at = junctions(s, *closed(s, w, parameters), unpack(parameters))
    # Two steps from 1e-5 V: 7e-9 V are left in v_be where the knee is sharpest, which the current's
    # slope and the resistors make microvolts of.
    assert at.F1.abs().max() < 1e-5 and at.F2.abs().max() < 1e-5


def test_voltages_are_those_from_scratch(generator):
    parameters = packed(2)
    s, w = near((2, 8, 16), parameters, generator)
    found, expected = closed(s, w, parameters), solve(s, unpack(parameters))
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_stays_in_its_place(dtype, generator):
    parameters = packed(1, dtype)
    s, w = near((1, 2, 40), parameters, generator)
    expected = torch.stack(closed(s, w, parameters))
    for index, value in enumerate([torch.nan, torch.inf, -torch.inf]):
        s[0, 0, index] = w[0, 0, index] = value
    found = torch.stack(closed(s, w, parameters))
    assert not found[:, 0, 0, :3].isfinite().any()
    assert found[:, 0, 0, 3:].equal(expected[:, 0, 0, 3:])


def test_opcheck(generator):
    parameters = packed(2)
    arguments = (*near((2, 3, 4), parameters, generator), parameters)
    result = torch.library.opcheck(torch.ops.metaphys.transistor_voltages, arguments)
    assert set(result.values()) == {"SUCCESS"}


def test_a_wrong_shape_is_refused(generator):
    parameters = packed(2)
    s, w = near((2, 3, 4), parameters, generator)
    with pytest.raises(RuntimeError):
        closed(s, w[:, :2], parameters)
