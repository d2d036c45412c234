"""The physical systems in JAX under ``jax.jit``, forward and backward.

``diffrax``: by its solver with constant steps, the classical Runge-Kutta method as a tableau.
``JAX``: the same method written down as a ``lax.scan``, as one does where a force is held.

Every readout is compared with that of metaphys before it is timed. Arrays go in as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from metaphys.physics import SHG, Circuit, OscillatorArray, Plate

Run = Callable[[], object]
Slope = Callable[[Any, Any], Any]


def _modules() -> tuple[Any, Any]:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    diffrax = pytest.importorskip("diffrax", reason="diffrax is not installed")
    return jax, diffrax


def _arrays(*tensors: torch.Tensor) -> tuple[Any, ...]:
    jax, _ = _modules()
    return tuple(jax.numpy.asarray(each.detach().numpy()) for each in tensors)


def _rk4(diffrax: Any) -> Any:
    class RK4(diffrax.AbstractERK):
        tableau: ClassVar[Any] = diffrax.ButcherTableau(
            a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
            b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
            b_error=np.zeros(4),
            c=np.array([0.5, 0.5, 1.0]),
        )
        interpolation_cls: ClassVar[Any] = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms: Any) -> int:
            """Of convergence."""
            return 4

    return RK4()


def _solved(slope: Slope, start: Any, steps: int, dt: float, save: Any) -> Any:
    """States that ``save`` (a diffrax.SaveAt) asks for, after constant steps from 0."""
    _, diffrax = _modules()
    terms = diffrax.ODETerm(lambda t, y, args: slope(t, y))
    options = {"saveat": save, "stepsize_controller": diffrax.ConstantStepSize()}
    solver, end = _rk4(diffrax), steps * dt
    found = diffrax.diffeqsolve(terms, solver, 0, end, dt, start, max_steps=steps, **options)
    return found.ys


def _scanned(slope: Slope, start: Any, inputs: Any, dt: float) -> tuple[Any, Any]:
    """The last state and all of them, one step for each of ``inputs``, which is held."""
    jax, _ = _modules()

    def step(y: Any, held: Any) -> tuple[Any, Any]:
        k1 = slope(held, y)
        k2 = slope(held, y + dt / 2 * k1)
        k3 = slope(held, y + dt / 2 * k2)
        y = y + dt / 6 * (k1 + 2 * (k2 + k3) + slope(held, y + dt * k3))
        return y, y

    return jax.lax.scan(step, start, inputs)


def _timed(respond: Callable[..., Any], given: tuple[torch.Tensor, ...], expected: Any) -> Run:
    """The readout and the pullback to all of ``given``; ``expected`` belongs to them."""
    jax, _ = _modules()
    arrays = _arrays(*given)
    found = np.asarray(jax.jit(respond)(*arrays))
    error = np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy())
    assert error < 1e-2, error

    def pulled(given: Any, cotangent: Any) -> Any:
        readout, pull = jax.vjp(respond, *given)
        return readout, pull(cotangent)

    compiled, cotangent = jax.jit(pulled), jax.numpy.ones_like(found)
    jax.block_until_ready(compiled(arrays, cotangent))
    return lambda: jax.block_until_ready(compiled(arrays, cotangent))


def oscillators(peer: str, array: OscillatorArray, given: tuple[torch.Tensor, ...]) -> Run:
    """Drive, coupling and force of an array."""
    jax, diffrax = _modules()
    np_ = jax.numpy

    def respond(drive: Any, coupling: Any, force: Any) -> Any:
        symmetric = (coupling + coupling.T) / 2
        stiffness = 1 + symmetric.sum(-1)

        def slope(_: Any, y: Any) -> Any:
            sine = np_.sin(y[0])
            return np_.stack([y[1], sine @ symmetric - stiffness * sine + force])

        start = np_.stack([drive, np_.zeros_like(drive)])
        if peer == "JAX":
            return _scanned(slope, start, np_.zeros(array.steps), array.dt)[0][0]
        return _solved(slope, start, array.steps, array.dt, diffrax.SaveAt(t1=True))[0, 0]

    drive, coupling, force = given
    return _timed(respond, given, array(drive, {"coupling": coupling, "force": force}))


def plate(system: Plate, drive: torch.Tensor) -> Run:
    """A linear plate, a step a sample; time in samples."""
    jax, _ = _modules()
    np_, modes = jax.numpy, system._modes()
    w, z = _arrays((modes.frequency / system.rate).float(), modes.damping.float())
    force, heard = _arrays(
        (modes.drive / system.rate**2).float(), (modes.pickup * system.rate**2).float()
    )

    def slope(held: Any, y: Any) -> Any:
        return np_.stack([y[1], force * held[:, None] - 2 * z * w * y[1] - w**2 * y[0]])

    def respond(drive: Any) -> Any:
        rest = np_.zeros((2, len(drive), len(w)))
        _, states = _scanned(slope, rest, drive.T, 1.0)
        q, v = states[:, 0], states[:, 1]
        return -(heard * (2 * z * w * v + w**2 * q)).sum(-1).T

    return _timed(respond, (drive,), system(drive, {}))


def circuit(system: Circuit, drive: torch.Tensor, lines: tuple[torch.Tensor, torch.Tensor]) -> Run:
    """A circuit, a step a sample; ``lines`` are offset and slope of the load over -4 … 4 V."""
    jax, diffrax = _modules()
    np_, parts = jax.numpy, system.components
    offset, rise = _arrays(*lines)
    dt, resistance, count = 1 / system.rate, parts.R1 + parts.RL, len(lines[0])

    def respond(drive: Any) -> Any:
        times = np_.arange(system.samples + 1.0)
        source = diffrax.LinearInterpolation(times, np_.pad(drive.T, ((1, 0), (0, 0))))

        def slope(t: Any, y: Any) -> Any:
            i, v = y
            place = np_.clip((v + 4) * (count / 8), 0, count - 1).astype(int)
            base = offset[place] + rise[place] * v
            current = (source.evaluate(t) - resistance * i - v) * (dt / parts.L)
            return np_.stack([current, (i - base) * (dt / parts.C)])

        rest = np_.zeros((2, len(drive)))
        return _solved(slope, rest, system.samples, 1.0, diffrax.SaveAt(ts=times[1:]))[:, 1].T

    return _timed(respond, (drive,), system(drive, {}))


def shg(system: SHG, drive: torch.Tensor) -> Run:
    """Both fields over time, by steps through the crystal."""
    jax, diffrax = _modules()
    np_, fft = jax.numpy, jax.numpy.fft
    crystal, window = system.crystal, system.window
    first = 0.5j * crystal.gvd1 * window.angular().square()
    second = 1j * crystal.phase2(window)
    # The entrance is linear in the levels.
    shape = system.entrance(torch.eye(system.ports.drive))
    read = (system.spectrometer.matrix(window) / system._energy).float()
    first, second, shape, read = _arrays(first.to(shape.dtype), second.to(shape.dtype), shape, read)

    def slope(_: Any, y: Any) -> Any:
        a1, a2 = y[0] + 1j * y[1], y[2] + 1j * y[3]
        source = 1j * crystal.coupling
        d1 = fft.fft(first * fft.ifft(a1)) + source * a2 * a1.conj()
        d2 = fft.fft(second * fft.ifft(a2)) + source * a1**2
        return np_.stack([d1.real, d1.imag, d2.real, d2.imag])

    def respond(drive: Any) -> Any:
        a1 = fft.fft(drive @ shape)
        start = np_.stack([a1.real, a1.imag, np_.zeros_like(a1.real), np_.zeros_like(a1.real)])
        step = crystal.length / system.steps
        end = _solved(slope, start, system.steps, step, diffrax.SaveAt(t1=True))[0]
        spectrum = fft.ifft(end[2] + 1j * end[3])
        return (np_.abs(spectrum) ** 2) @ read

    return _timed(respond, (drive,), system(drive, {}))
