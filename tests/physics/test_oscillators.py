"""The oscillator array against its equation, independent solvers and conservation laws."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, vmap

from metaphys.physics import OscillatorArray, OscillatorMismatch, Ports


def acceleration(q, coupling, force, offset, eta):
    """The equation as it stands in the paper's notebooks, term by term."""
    c = coupling + offset
    j = (c + c.T) / 2
    s = np.sin((1 + eta) * q)
    return -s + (j * (s[None, :] - s[:, None])).sum(1) + force


def exact(q0, seconds, *equation):
    size = len(q0)

    def slope(_, y):
        return np.concatenate([y[size:], acceleration(y[:size], *equation)])

    start = np.concatenate([q0, np.zeros(size)])
    return solve_ivp(slope, (0, seconds), start, rtol=1e-11, atol=1e-12).y[:size, -1]


def classical_rk4(q, steps, dt, *equation):
    y = np.stack([q, np.zeros_like(q)])

    def slope(y):
        return np.stack([y[1], acceleration(y[0], *equation)])

    for _ in range(steps):
        k1 = slope(y)
        k2 = slope(y + dt / 2 * k1)
        k3 = slope(y + dt / 2 * k2)
        k4 = slope(y + dt * k3)
        y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y[0]


def mismatched(size, generator, per_oscillator=False):
    count = size if per_oscillator else 1
    return OscillatorMismatch(
        coupling=torch.randn(size, size, generator=generator),
        gain=0.1 + 0.05 * torch.randn(count, generator=generator),
    )


def terms(system, controls):
    zero = torch.zeros(system.size, system.size)
    offset = zero if system.mismatch.coupling is None else system.mismatch.coupling
    eta = torch.zeros(1) if system.mismatch.gain is None else system.mismatch.gain
    return [x.numpy() for x in (controls["coupling"], controls["force"], offset, eta)]


@pytest.mark.parametrize("per_oscillator", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_is_the_classical_rk4_of_the_equation(steps, per_oscillator, generator):
    system = OscillatorArray(6, steps=steps, dt=0.2)
    controls = system.init_controls(generator=generator)
    drive = torch.randn(6, generator=generator)
    for case in (system, system.with_mismatch(mismatched(6, generator, per_oscillator))):
        expected = classical_rk4(drive.numpy(), steps, 0.2, *terms(case, controls))
        np.testing.assert_allclose(case(drive, controls).numpy(), expected, rtol=1e-13, atol=1e-14)


def test_agrees_with_an_adaptive_solver(generator):
    system = OscillatorArray(5, steps=400, dt=0.01, mismatch=mismatched(5, generator))
    controls = system.init_controls(generator=generator)
    drive = torch.randn(5, generator=generator)
    expected = exact(drive.numpy(), 4.0, *terms(system, controls))
    np.testing.assert_allclose(system(drive, controls).numpy(), expected, atol=2e-8)


def test_converges_at_fourth_order(generator):
    system = OscillatorArray(5)
    controls = system.init_controls(generator=generator)
    drive = torch.randn(5, generator=generator)
    expected = exact(drive.numpy(), 2.0, *terms(system, controls))
    errors = [
        np.abs(OscillatorArray(5, steps=n, dt=2 / n)(drive, controls).numpy() - expected).max()
        for n in (10, 20, 40)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(orders - 4) < 0.35).all(), orders


def test_conserves_energy_as_its_order_says(generator):
    drifts = []
    for steps in (100, 200):
        system = OscillatorArray(5, steps=steps, dt=10 / steps)
        controls = system.init_controls(generator=torch.Generator().manual_seed(3))
        drive = torch.linspace(-1, 1, 10).reshape(2, 5)
        angles, velocities = system.trajectory(drive, controls)
        energy = system.energy(angles, velocities, controls)
        assert energy.shape == (steps + 1, 2)
        assert (energy[0] - energy[0].mean()).abs().max() > 1e-3  # two different orbits
        drifts.append(float((energy - energy[0]).abs().max()))
    assert drifts[0] < 1e-4
    assert drifts[0] / drifts[1] > 14


def test_energy_is_refused_where_it_is_not_conserved(unit, controls, drive):
    with pytest.raises(ValueError, match="`system` must be nominal"):
        unit.energy(drive, drive, controls)
    loose = unit.with_mismatch(OscillatorMismatch(tolerance=torch.full((4, 4), 0.1)))
    with pytest.raises(ValueError, match="`system` must be nominal"):
        loose.energy(drive, drive, controls)


def test_trajectory_ends_in_the_readout(unit, controls, drive):
    angles, velocities = unit.trajectory(drive, controls)
    assert angles.shape == velocities.shape == (6, 3, 4)
    torch.testing.assert_close(angles[0], drive, rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(angles[-1], unit(drive, controls), rtol=1e-13, atol=1e-14)
    assert (velocities[0] == 0).all()


def test_only_the_symmetric_off_diagonal_coupling_acts(array, controls, drive, generator):
    skew = torch.randn(4, 4, generator=generator)
    other = controls["coupling"] + skew - skew.mT + torch.diag(torch.randn(4, generator=generator))
    expected = array(drive, controls)
    torch.testing.assert_close(array(drive, {**controls, "coupling": other}), expected)


# drive, coupling's and force's leading dimensions, coupling mismatch's and gain's
LAYOUTS = [
    ((4,), (), (), None, None),
    ((3, 4), (), (), None, None),
    ((2, 3, 4), (), (), None, None),
    ((2, 4), (2,), (2,), None, None),
    ((2, 3, 4), (2,), (2,), None, None),
    ((2, 3, 4), (), (2,), None, None),
    ((2, 3, 4), (2,), (), None, None),
    ((2, 3, 4), (), (), (2,), (2,)),
    ((2, 3, 4), (), (2,), (2,), None),
    ((2, 3, 4), (), (), None, (2,)),
    ((2, 3, 4), (2,), (2,), (2,), (2,)),
    ((2, 3, 5, 4), (2, 3), (2,), (2,), (2, 3)),
    ((2, 3, 5, 4), (2,), (2, 3), (), (2,)),
    ((2, 3, 4), (2, 3), (2, 3), None, None),
    ((2, 0, 4), (2,), (2,), None, None),
    ((0, 4), (), (), None, None),
]


@pytest.mark.parametrize(("shape", "coupling", "force", "offset", "gain"), LAYOUTS)
def test_batches_are_aligned_left(shape, coupling, force, offset, gain, generator):
    def normal(lead, *own) -> Any:
        return None if lead is None else torch.randn(*lead, *own, generator=generator)

    drive = normal(shape)
    controls = {"coupling": normal(coupling, 4, 4), "force": normal(force, 4)}
    scaled = None if gain is None else 0.1 * normal(gain, 1)
    mismatch = OscillatorMismatch(coupling=normal(offset, 4, 4), gain=scaled)
    readout = OscillatorArray(4, mismatch=mismatch)(drive, controls)
    assert readout.shape == drive.shape
    for index in np.ndindex(*shape[:-1]):

        def at(x, own, index=index) -> Any:
            return None if x is None else x[index[: x.ndim - own]]

        one = OscillatorMismatch(at(mismatch.coupling, 2), at(mismatch.gain, 1))
        setting = {"coupling": at(controls["coupling"], 2), "force": at(controls["force"], 1)}
        expected = OscillatorArray(4, mismatch=one)(drive[index], setting)
        torch.testing.assert_close(readout[index], expected, rtol=1e-12, atol=1e-13)


def function_of_everything(drive, coupling, force, offset, gain):
    system = OscillatorArray(3, steps=3, mismatch=OscillatorMismatch(offset, gain))
    return system(drive, {"coupling": coupling, "force": force})


@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives(check, lead, generator):
    shapes = [(*lead, 2, 3), (*lead, 3, 3), (*lead, 3), (*lead, 3, 3), (*lead, 1)]
    inputs = [(0.7 * torch.randn(s, generator=generator)).requires_grad_() for s in shapes]
    forward = {"check_forward_ad": True} if check is gradcheck else {"check_fwd_over_rev": True}
    assert check(function_of_everything, inputs, **forward)


def test_third_order(array, drive, generator):
    # Along one direction, against central differences of the second derivative.
    controls, direction = (array.init_controls(generator=generator) for _ in range(2))

    def loss(t):
        moved = {k: controls[k] + t * direction[k] for k in controls}
        return array(drive, moved).sin().sum()

    second, third = grad(grad(loss)), grad(grad(grad(loss)))
    t, h = torch.tensor(0.3), 1e-4
    expected = (second(t + h) - second(t - h)) / (2 * h)
    torch.testing.assert_close(third(t), expected, rtol=1e-6, atol=1e-9)


def test_vmap_is_the_batch(unit, generator):
    drive = torch.randn(5, 3, 4, generator=generator)
    controls = {
        "coupling": torch.randn(5, 4, 4, generator=generator),
        "force": torch.randn(5, 4, generator=generator),
    }
    torch.testing.assert_close(vmap(unit)(drive, controls), unit(drive, controls))


def test_func_and_autograd_agree(unit, drive, controls):
    def loss(c):
        return unit(drive, c).square().sum()

    leaves = {k: v.clone().requires_grad_() for k, v in controls.items()}
    expected = torch.autograd.grad(loss(leaves), list(leaves.values()))
    for transform in (grad, jacfwd, jacrev):
        found = transform(loss)(controls)
        for name, value in zip(leaves, expected, strict=True):
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-13)


def test_compiles_without_a_graph_break(unit, drive, controls):
    # The tracing is what may fail; generating code would take a minute.
    def slope(controls, drive):
        return grad(lambda c: unit(drive, c).square().sum())(controls)

    torch._dynamo.reset()
    for function in (lambda c, d: unit(d, c), slope):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(controls, drive), function(controls, drive))


def test_float32_follows_float64(unit, drive, controls):
    single = {k: v.float() for k, v in controls.items()}
    found = unit(drive.float(), single)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), unit(drive, controls), rtol=1e-5, atol=1e-5)


def test_start_is_reproducible_in_every_dtype(array):
    def start(dtype):
        return array.init_controls(generator=torch.Generator().manual_seed(1), dtype=dtype)

    single, double = start(torch.float32), start(torch.float64)
    for name, value in double.items():
        assert value.shape == array.ports.controls[name]
        assert value.abs().max() <= 0.5  # 1/sqrt(4)
        torch.testing.assert_close(single[name], value.float(), rtol=0, atol=0)


BAD_CALLS = [
    (lambda d, c: ([1.0], c), TypeError, "`drive` must be a tensor"),
    (lambda d, c: (d.long(), c), TypeError, "`drive` must be float32 or float64"),
    (
        lambda d, c: (d[:, :3], c),
        ValueError,
        r"`drive` must be of shape \(..., 4\), but got \(3, 3",
    ),
    (lambda d, c: (d[0, 0], c), ValueError, "`drive` must be of shape"),
    (lambda d, c: (d, {"force": c["force"]}), ValueError, "`controls` must be a tree"),
    (lambda d, c: (d, None), ValueError, "`controls` must be a tree"),
    (lambda d, c: (d, [c["coupling"], c["force"]]), ValueError, "`controls` must be a tree"),
    (lambda d, c: (d, {**c, "force": 1.0}), TypeError, r"`controls\.force` must be a tensor"),
    (lambda d, c: (d, {**c, "force": c["force"][:2]}), ValueError, r"`controls\.force` must be of"),
    (lambda d, c: (d, {**c, "coupling": c["force"]}), ValueError, r"`controls\.coupling` must be"),
    (lambda d, c: (d.float(), c), TypeError, r"`controls\.coupling` must be of the drive's dtype"),
    (
        lambda d, c: (d, {**c, "force": c["force"].expand(7, 4)}),
        ValueError,
        r"`drive` must be of shape \(7, ..., 4\).*`controls\.force`",
    ),
    (
        lambda d, c: (d, {k: v.to("meta") for k, v in c.items()}),
        ValueError,
        "on the drive's device, cpu, but got meta",
    ),
]


@pytest.mark.parametrize(("spoil", "error", "message"), BAD_CALLS)
def test_bad_calls_are_refused(spoil, error, message, array, drive, controls):
    with pytest.raises(error, match=message):
        array(*spoil(drive, controls))


BAD_ARRAYS = [
    ({"size": 0}, "`size` must be >= 1"),
    ({"size": 2, "steps": 0}, "`steps` must be >= 1"),
    ({"size": 2, "dt": -0.1}, "`dt` must be > 0"),
    ({"size": 2, "mismatch": OscillatorMismatch(torch.zeros(3, 3))}, r"`mismatch\.coupling`"),
    ({"size": 2, "mismatch": OscillatorMismatch(gain=torch.zeros(3))}, r"`mismatch\.gain`"),
    ({"size": 2, "mismatch": OscillatorMismatch(gain=torch.tensor(0.1))}, r"`mismatch\.gain`"),
    (
        {"size": 2, "mismatch": OscillatorMismatch(torch.zeros(3, 2, 2), torch.zeros(4, 1))},
        "`mismatch` must be of leading dimensions that agree",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARRAYS)
def test_bad_arrays_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OscillatorArray(**arguments)


def test_a_fleet_refuses_a_drive_without_units(controls, drive):
    fleet = OscillatorArray(4, mismatch=OscillatorMismatch(gain=torch.zeros(5, 1)))
    with pytest.raises(ValueError, match=r"`drive` must be of shape \(5, ..., 4\): one row for"):
        fleet(drive, controls)


def test_controls_may_be_nested():
    ports = Ports(2, {"a": [(2,), ()], "b": ((3,), {})}, 1)
    drive = torch.zeros(5, 2)
    fitting = {"a": [torch.zeros(5, 2), torch.zeros(())], "b": (torch.zeros(3), {})}
    assert ports.check(drive, fitting) == (5,)
    spoiled = {**fitting, "b": (torch.zeros(2), {})}
    with pytest.raises(ValueError, match=r"`controls\.b\.0` must be of shape \(..., 3\)"):
        ports.check(drive, spoiled)
    with pytest.raises(ValueError, match=r"`controls\.a` must be a tree of tensors like \[\(2,\)"):
        ports.check(drive, {**fitting, "a": [torch.zeros(2)]})


def test_tolerance_multiplies_each_coupling_and_acts_symmetrically() -> None:
    array = OscillatorArray(4)
    controls = array.init_controls(generator=torch.Generator().manual_seed(1))
    errors = torch.randn(4, 4)
    unit = array.with_mismatch(OscillatorMismatch(tolerance=errors))
    coupling = (controls["coupling"] + controls["coupling"].mT) / 2
    scaled = coupling * (1 + (errors + errors.mT) / 2)
    drive = torch.randn(3, 4)
    expected = array(drive, {**controls, "coupling": scaled})
    torch.testing.assert_close(unit(drive, controls), expected)


def test_tolerance_of_a_fleet_aligns_with_its_units() -> None:
    array = OscillatorArray(3)
    controls, errors = array.init_controls(), torch.randn(2, 3, 3)
    drive = torch.randn(2, 5, 3)
    fleet = array.with_mismatch(OscillatorMismatch(tolerance=errors))(drive, controls)
    for unit in range(2):
        alone = array.with_mismatch(OscillatorMismatch(tolerance=errors[unit]))
        torch.testing.assert_close(fleet[unit], alone(drive[unit], controls))


def kept_by_the_graph(steps: int) -> int:
    """Bytes beside the drive and the controls."""
    array = OscillatorArray(4, steps=steps, dt=0.01)
    controls = array.init_controls(generator=torch.Generator().manual_seed(0))
    drive = torch.ones(50, 4, requires_grad=True)
    sizes: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        readout = array(drive, controls)
    assert readout.requires_grad
    return sum(sizes.values())


def test_a_long_simulation_keeps_the_root_of_its_steps() -> None:
    state = 2 * 50 * 4 * 8  # angles and velocities
    for steps in (402, 1602):
        # What enters each of √steps segments; the first and the last step stand alone.
        assert kept_by_the_graph(steps) <= 1.1 * steps**0.5 * state + 10 * state
    assert kept_by_the_graph(200) > 100 * state  # a short one keeps every step


def test_a_long_simulation_is_the_short_ones_and_so_are_its_derivatives(generator: Any) -> None:
    array = OscillatorArray(3, steps=300, dt=0.02, mismatch=mismatched(3, generator))
    controls = array.init_controls(generator=generator)
    drive = torch.randn(2, 3, generator=generator)
    torch.testing.assert_close(array(drive, controls), array.trajectory(drive, controls)[0][-1])

    def loss(drive: Any, force: Any, of: Any) -> Any:
        return of(drive, {**controls, "force": force}).sin().sum()

    def plain(drive: Any, controls: Any) -> Any:
        return array.trajectory(drive, controls)[0][-1]

    for order in (grad, lambda f, argnums: jacrev(grad(f, argnums=argnums), argnums=argnums)):
        found, expected = (
            order(loss, argnums=1)(drive, controls["force"], of) for of in (array, plain)
        )
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
