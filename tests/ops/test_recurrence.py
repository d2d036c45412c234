"""The recurrences over time: kernel against Python, and both against the sums that they are."""

from __future__ import annotations

import pytest
import torch

from metaphys.ops.recurrence import _loaded, _solve, interpolate, loaded, solve


@pytest.fixture
def generator():
    """Random numbers, the same in every test."""
    return torch.Generator().manual_seed(0)


SHAPES = [(1, 1, 1), (1, 5, 7), (3, 4, 6), (2, 17, 9), (1, 40, 3), (2, 0, 5), (1, 3, 0)]


def waves(shape, generator, dtype=torch.float64):
    """d, b, M and k of a decaying system."""
    units = shape[0]
    drawn = {"generator": generator, "dtype": dtype}
    matrix = 0.4 * torch.randn(units, 2, 2, **drawn)
    return torch.rand(shape, **drawn), torch.randn(shape, **drawn), matrix, torch.randn(
        units, 2, **drawn
    )  # fmt: skip


def lines(units, generator, dtype=torch.float64, count=11):
    """Offsets and slopes."""
    drawn = {"generator": generator, "dtype": dtype}
    return torch.randn(units, count, **drawn), torch.rand(units, count, **drawn)


def left(x, matrix, kick):
    """F after each of the inputs x (N,) to one wave, from the sum over powers of M."""
    found, power = [], [kick]
    for _ in x:
        power.append(matrix @ power[-1])
    for n in range(len(x)):
        found.append(sum((power[n - 1 - m] * x[m] for m in range(n)), torch.zeros_like(kick))[1])
    return torch.stack(found)


def test_solve_is_the_system_of_equations(generator):
    d, b, matrix, kick = waves((2, 3, 6), generator)
    x = solve(d, b, matrix, kick)
    for u in range(2):
        for i in range(3):
            residual = x[u, i] + d[u, i] * left(x[u, i], matrix[u], kick[u]) - b[u, i]
            assert residual.abs().max() < 1e-12


def test_loaded_is_its_equation(generator):
    _, u, matrix, kick = waves((2, 3, 6), generator)
    offset, slope = lines(2, generator)
    s = loaded(u, matrix, kick, offset, slope)
    x = interpolate(s, offset, slope)
    for unit in range(2):
        for i in range(3):
            expected = u[unit, i] - left(x[unit, i], matrix[unit], kick[unit])
            torch.testing.assert_close(s[unit, i], expected, rtol=1e-12, atol=1e-12)


def test_lines_are_found_where_they_are():
    points = 8
    s = torch.tensor([-3.0, 0.0, 0.01, 0.5, 1.0, 2.0, 6.9, 7.1, 1e9]).reshape(1, 1, -1)
    # x = s / (1 + s) in eighths: the last line goes on, and so does the first.
    expected = torch.tensor([0, 0, 0, 2, 4, 5, 6, 6, 6.0])
    found = interpolate(s, torch.arange(points - 1.0).unsqueeze(0), torch.zeros(1, points - 1))
    assert found.flatten().equal(expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_is_the_python_implementation(shape, dtype, generator):
    d, b, matrix, kick = waves(shape, generator, dtype)
    table = lines(shape[0], generator, dtype)
    rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (1e-7, 1e-7)
    found, expected = (each(d, b, matrix, kick) for each in (solve, _solve))
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    # All lines are one: where they jump, rounding could choose another one (which line is taken is
    # for the tests above).
    slope = table[1][:, :1].expand_as(table[1])
    found, expected = (each(b, matrix, kick, 0 * slope, slope) for each in (loaded, _loaded))
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


def test_transposed_and_expanded_arguments_are_read_in_order(generator):
    d, b, matrix, kick = waves((1, 4, 4), generator)
    expected = solve(d.mT.contiguous(), b, matrix.mT.contiguous(), kick)
    assert solve(d.mT, b, matrix.mT, kick).equal(expected)
    row = d[:, :1].expand(1, 4, 4)
    assert solve(row, b, matrix, kick).equal(solve(row.contiguous(), b, matrix, kick))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_in_its_wave(bad, generator):
    _, u, matrix, kick = waves((1, 20, 6), generator)
    table = lines(1, generator)
    expected = loaded(u, matrix, kick, *table)
    u[0, 3, 2] = bad
    found = loaded(u, matrix, kick, *table)
    assert not found[0, 3, 2].isfinite()
    keep = torch.arange(20) != 3
    assert found[:, keep].equal(expected[:, keep])
    assert found[0, 3, :2].equal(expected[0, 3, :2])


@pytest.mark.parametrize("name", ["solve", "loaded"])
def test_opcheck(name, generator):
    d, b, matrix, kick = waves((2, 3, 4), generator)
    arguments = (d, b, matrix, kick) if name == "solve" else (b, matrix, kick, *lines(2, generator))
    raw = getattr(torch.ops.metaphys, f"recurrence_{name}").default
    result = torch.library.opcheck(raw, arguments)
    assert set(result.values()) == {"SUCCESS"}


def test_shapes_that_do_not_fit_are_refused_by_name(generator):
    d, b, matrix, kick = waves((2, 3, 4), generator)
    offset, slope = lines(2, generator)
    for function, arguments, name in (
        (solve, (d[:, :2], b, matrix, kick), "d"),
        (solve, (d, b, matrix[:1], kick), "matrix"),
        (loaded, (b, matrix, kick[:1], offset, slope), "kick"),
        (loaded, (b, matrix, kick, offset, slope[:1]), "slope"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be of shape"):
            function(*arguments)
