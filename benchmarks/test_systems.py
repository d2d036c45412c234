"""Physical systems, forward and backward, for a batch of 64.

``torchdiffeq``: the same equations by its rk4 at the same number of steps, as one would write the
system without metaphys; the readouts are compared before anything is timed.

``diffrax``, ``JAX``: the same in JAX, see ``jaxed_systems.py``.

``floor``: what the method itself cannot do without, on buffers that exist. For the split step of
SHG these are 4 transforms a step, less 2 at the ends, and as many backwards; 8 products a step, 6
to do them again backwards and 12 in the adjoint, each one fused multiply-add over the field; and
both matrices (shaper, spectrometer), forwards and backwards. For the march of the circuit: as many
operations on one row of the batch as it has steps, 9 forwards and 4 backwards (the march over
tensors; the kernel takes 16 rows at once and is below it).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks import jaxed_systems
from metaphys.physics import (
    SHG,
    Circuit,
    CircuitMismatch,
    Components,
    OscillatorArray,
    Plate,
    PlateDesign,
    System,
    ThinSHG,
)
from metaphys.physics.circuit._parameters import pack, unpack, values
from metaphys.physics.circuit._rk4 import Base

BATCH = 64
Run = Callable[[], object]


def _sweeps(respond: Callable[[torch.Tensor], torch.Tensor], size: int) -> Run:
    """Forward and backward, to the drive."""
    drive = torch.rand(BATCH, size, requires_grad=True)
    cotangent = torch.randn_like(respond(drive))
    return lambda: torch.autograd.grad(respond(drive), drive, cotangent)


def _metaphys(system: System) -> Run:
    return _sweeps(lambda drive: system(drive, {}), system.ports.drive)


def _given(array: OscillatorArray) -> tuple[torch.Tensor, ...]:
    """Drive, coupling and force to time an array with."""
    controls = array.init_controls()
    return torch.randn(BATCH, array.size), controls["coupling"], controls["force"]


def _pulled(respond: Callable[..., torch.Tensor], given: tuple[torch.Tensor, ...]) -> Run:
    leaves = [each.requires_grad_() for each in given]
    cotangent = torch.ones_like(respond(*leaves))
    return lambda: torch.autograd.grad(respond(*leaves), leaves, cotangent)


def _array(array: OscillatorArray) -> Run:
    def respond(drive: torch.Tensor, coupling: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
        return array(drive, {"coupling": coupling, "force": force})

    return _pulled(respond, _given(array))


def _solved_array(array: OscillatorArray) -> Run:
    solver = pytest.importorskip("torchdiffeq")
    ends = torch.linspace(0, array.steps * array.dt, array.steps + 1)

    def respond(drive: torch.Tensor, coupling: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
        symmetric = (coupling + coupling.mT) / 2
        stiffness = 1 + symmetric.sum(-1)

        def slope(_: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            sine = state[0].sin()
            return torch.stack([state[1], sine @ symmetric - stiffness * sine + force])

        start = torch.stack([drive, torch.zeros_like(drive)])
        return solver.odeint(slope, start, ends, method="rk4")[-1, 0]

    drive, coupling, force = _given(array)
    expected = array(drive, {"coupling": coupling, "force": force})
    # Theirs is the 3/8 rule, which is of fourth order too.
    torch.testing.assert_close(respond(drive, coupling, force), expected, rtol=0, atol=2e-3)
    return _pulled(respond, _given(array))


def _jaxed_array(peer: str) -> Callable[[OscillatorArray], Run]:
    return lambda array: jaxed_systems.oscillators(peer, array, _given(array))


def _solved(shg: SHG) -> Run:
    solver = pytest.importorskip("torchdiffeq")
    crystal, window = shg.crystal, shg.window
    omega = window.angular().float()
    # d/dt is -i omega, and the field is fft of its spectrum.
    first = 0.5j * crystal.gvd1 * omega.square()
    second = 1j * crystal.phase2(window).float()
    depth = torch.linspace(0, crystal.length, shg.steps + 1)

    def slope(z: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        a1, a2 = torch.view_as_complex(state)
        linear1 = torch.fft.fft(first * torch.fft.ifft(a1))
        linear2 = torch.fft.fft(second * torch.fft.ifft(a2))
        source = 1j * crystal.coupling
        slopes = linear1 + source * a2 * a1.conj(), linear2 + source * a1.square()
        return torch.view_as_real(torch.stack(slopes))

    def respond(drive: torch.Tensor) -> torch.Tensor:
        a1 = torch.fft.fft(shg.entrance(drive))
        start = torch.view_as_real(torch.stack([a1, torch.zeros_like(a1)]))
        end = solver.odeint(slope, start, depth, method="rk4")[-1]
        spectrum = torch.fft.ifft(torch.view_as_complex(end[1].contiguous()))
        energies = torch.view_as_real(spectrum).square().sum(-1)
        return energies @ shg.spectrometer.matrix(window).float() / shg._energy

    drive = torch.rand(2, shg.ports.drive)
    expected = shg(drive, {})
    torch.testing.assert_close(
        respond(drive), expected, rtol=5e-3, atol=float(expected.max()) / 1e3
    )
    return _sweeps(respond, shg.ports.drive)


def _floor(transforms: int, products: int) -> Callable[[System], Run]:
    def make(system: System) -> Run:
        assert isinstance(system, SHG | ThinSHG)
        field = torch.randn(BATCH, system.window.points, dtype=torch.complex64)
        other, target = torch.randn_like(field), torch.empty_like(field)
        parts, read = torch.view_as_real(field).flatten(1), system._read.float()
        levels, shape = torch.rand(BATCH, system.ports.drive), system._shape.float()

        def run() -> None:
            for _ in range(transforms):
                torch.fft.fft(field, out=target)
            for _ in range(products):
                torch.addcmul(field, field, other, value=0.5, out=target)
            for _ in range(2):
                _ = levels @ shape, parts @ read

        return run

    return make


def _plate(stiffening: float = 0.0) -> Plate:
    return Plate(PlateDesign(modes=5, stiffening=stiffening))


def _solved_plate(plate: Plate) -> Run:
    solver = pytest.importorskip("torchdiffeq")
    modes = plate._modes()
    # Time in samples; at the edges of a sample the force is that inside (perturb).
    w, z = (modes.frequency / plate.rate).float(), modes.damping.float()
    force = (modes.drive / plate.rate**2).float()
    heard = (modes.pickup * plate.rate**2).float()
    ends = torch.arange(plate.samples + 1.0)

    def respond(drive: torch.Tensor) -> torch.Tensor:
        def slope(t: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            q, v = state.unbind(-2)
            held = drive[:, int(t), None]
            return torch.stack([v, force * held - 2 * z * w * v - w.square() * q], -2)

        rest = drive.new_zeros(len(drive), 2, len(w))
        states = solver.odeint(slope, rest, ends, method="rk4", options={"perturb": True})
        q, v = states[1:].unbind(-2)
        return -(heard * (2 * z * w * v + w.square() * q)).sum(-1).mT

    drive = torch.rand(2, plate.samples)
    expected = plate(drive, {})
    torch.testing.assert_close(
        respond(drive), expected, rtol=5e-3, atol=float(expected.abs().max()) / 1e3
    )
    return _sweeps(respond, plate.samples)


def _floor_plate(plate: Plate) -> Run:
    size = 400  # the fast size above 2 · 196 − 1
    drive, kernel = torch.randn(BATCH, size), torch.randn(size // 2 + 1, dtype=torch.complex64)

    def run() -> None:
        for _ in range(2):
            torch.fft.irfft(torch.fft.rfft(drive) * kernel, size)

    return run


def _solved_circuit(circuit: Circuit) -> Run:
    solver = pytest.importorskip("torchdiffeq")
    parts, (offsets, slopes) = circuit.components, _load(circuit.components)
    ends = torch.arange(circuit.samples + 1.0)
    dt = 1 / circuit.rate
    resistance = parts.R1 + parts.RL

    def respond(drive: torch.Tensor) -> torch.Tensor:
        levels = torch.nn.functional.pad(drive, (1, 1))

        def slope(t: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            n = int(t)
            u = torch.lerp(levels[:, n], levels[:, n + 1], t - n)
            i, v = state.unbind()
            place = ((v.detach() + 4) * (4095 / 8)).clamp(0, 4094).long()
            base = offsets[place] + slopes[place] * v
            return torch.stack(
                [(u - resistance * i - v) * (dt / parts.L), (i - base) * (dt / parts.C)]
            )

        rest = drive.new_zeros(2, len(drive))
        return solver.odeint(slope, rest, ends, method="rk4")[1:, 1].mT

    drive = 4 * torch.rand(2, circuit.samples) - 2
    # Both are off by some 0.2 % of what a tenth of the step gives.
    expected = circuit(drive, {})
    assert (respond(drive) - expected).norm() < 1e-2 * expected.norm()
    return _sweeps(respond, circuit.samples)


def _load(parts: Components) -> tuple[torch.Tensor, torch.Tensor]:
    """The load as straight lines between tabulated points, as one would write it."""
    volts = torch.linspace(-4, 4, 4096)
    drawn = _base_current(parts, volts)
    slopes = drawn.diff() / volts.diff()
    return drawn[:-1] - slopes * volts[:-1], slopes


def _jaxed_circuit(circuit: Circuit) -> Run:
    drive = 4 * torch.rand(BATCH, circuit.samples) - 2
    return jaxed_systems.circuit(circuit, drive, _load(circuit.components))


def _base_current(parts: Components, volts: torch.Tensor) -> torch.Tensor:
    like = torch.zeros((), dtype=torch.float64)
    part = values(parts, CircuitMismatch(), like.dtype, like.device)
    base = Base(unpack(pack(parts, part)))
    return base.current(volts.double().reshape(1, 1, -1)).flatten().float()


def _floor_circuit(circuit: Circuit) -> Run:
    # A step: 9 operations forwards and 4 backwards, on one row of the batch.
    row, other, target = torch.randn(3, BATCH)

    def run() -> None:
        for _ in range(13 * circuit.samples):
            torch.addcmul(row, row, other, out=target)

    return run


def _oscillators() -> OscillatorArray:
    return OscillatorArray(100, steps=100, dt=0.1)


STEPS = 20
ROWS: dict[tuple[str, str], tuple[Callable[[], System], Callable[..., Run]]] = {
    ("SHG, split step", "metaphys"): (lambda: SHG(steps=STEPS), _metaphys),
    ("SHG, split step", "torchdiffeq"): (lambda: SHG(steps=STEPS), _solved),
    ("SHG, split step", "diffrax"): (
        lambda: SHG(steps=STEPS),
        lambda shg: jaxed_systems.shg(shg, torch.rand(BATCH, shg.ports.drive)),
    ),
    ("SHG, split step", "floor"): (
        lambda: SHG(steps=STEPS),
        _floor(2 * (4 * STEPS - 2), 26 * STEPS),
    ),
    ("linear plate, 196 samples", "metaphys"): (_plate, _metaphys),
    ("linear plate, 196 samples", "torchdiffeq"): (_plate, _solved_plate),
    ("linear plate, 196 samples", "JAX"): (
        _plate,
        lambda plate: jaxed_systems.plate(plate, torch.rand(BATCH, plate.samples)),
    ),
    ("linear plate, 196 samples", "floor"): (_plate, _floor_plate),
    ("Duffing plate, 196 samples", "metaphys"): (lambda: _plate(stiffening=1.5), _metaphys),
    ("circuit, 196 samples", "metaphys"): (Circuit, _metaphys),
    ("circuit, 196 samples", "torchdiffeq"): (Circuit, _solved_circuit),
    ("circuit, 196 samples", "diffrax"): (Circuit, _jaxed_circuit),
    ("circuit, 196 samples", "floor"): (Circuit, _floor_circuit),
    ("100 oscillators, 100 steps", "metaphys"): (_oscillators, _array),
    ("100 oscillators, 100 steps", "torchdiffeq"): (_oscillators, _solved_array),
    ("100 oscillators, 100 steps", "diffrax"): (_oscillators, _jaxed_array("diffrax")),
    ("100 oscillators, 100 steps", "JAX"): (_oscillators, _jaxed_array("JAX")),
    ("SHG, thin crystal", "metaphys"): (ThinSHG, _metaphys),
    ("SHG, thin crystal", "floor"): (ThinSHG, _floor(4, 3)),
}


@pytest.mark.parametrize(("system", "peer"), ROWS)
def test_forward_and_backward(benchmark, system: str, peer: str) -> None:
    benchmark.group = f"{system}, batch {BATCH}, forward and backward"
    make, run = ROWS[system, peer]
    benchmark.pedantic(run(make()), rounds=15, warmup_rounds=3)
