"""The plate against closed forms: frequencies, response, decay, backbone, exact steps, order."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from metaphys.physics import (
    Affine,
    Encoded,
    PhysicsAware,
    Plate,
    PlateDesign,
    PlateMaterial,
    PlateMismatch,
    PlateSpread,
    Population,
    SimulatedDevice,
)
from metaphys.physics.plate._march import ear, exact_step
from metaphys.physics.plate._modes import modes
from metaphys.physics.plate._shapes import shapes

SUPPORTED = PlateDesign(boundary="simply supported")


def lambdas(design, poisson=0.3):
    """The eigenvalues of a plate of another Poisson ratio, in 1/a²."""
    material = PlateMaterial(116e9, 4506.0, poisson)
    design = PlateDesign(material, design.length, design.width, modes=design.modes)
    return shapes(design).eigenvalues * design.length**2


def single(**changes):
    """A supported plate that has one mode only."""
    return PlateDesign(boundary="simply supported", modes=1, **changes)


# Modes ----------------------------------------------------------------------------------------


def test_supported_frequencies_are_the_closed_form():
    design = PlateDesign(boundary="simply supported", length=0.05, width=0.03, modes=30)
    speed = math.sqrt(design.rigidity / (4506.0 * 0.001))
    every = [
        math.pi / 2 * ((m / 0.05) ** 2 + (n / 0.03) ** 2) * speed
        for m in range(1, 40)
        for n in range(1, 40)
    ]
    expected = torch.tensor(sorted(every)[:30])
    torch.testing.assert_close(Plate(design).frequencies, expected, rtol=1e-13, atol=0)


def test_the_titanium_plate_has_the_known_values():
    # Computed by hand from E = 116 GPa, rho = 4506, nu = 0.32, 3.2 cm x 3.2 cm x 1 mm.
    assert abs(SUPPORTED.rigidity - 10.8) < 0.05
    found = Plate(SUPPORTED).frequencies[[0, 1, 2, 3]]
    expected = torch.tensor([4743.0, 11857.0, 11857.0, 18972.0])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_a_free_square_plate_has_the_published_eigenvalues():
    # Leissa 1973, Table C15, nu = 0.3: upper bounds from 36 products of beam functions, which
    # cannot fulfil the conditions of free edges; polynomials come 0.15 to 1 % lower.
    leissa = torch.tensor([13.489, 19.789, 24.432, 35.024, 35.024])
    found = lambdas(PlateDesign(modes=5))
    assert ((leissa - found) / leissa > 0).all() and ((leissa - found) / leissa < 0.01).all()
    # At nu = 0.32 with the same rigidity, measured on a plate: 3241, 4755, 5871, 8416, 8416 Hz.
    measured = torch.tensor([3241.0, 4755.0, 5871.0, 8416.0, 8416.0])
    torch.testing.assert_close(Plate().frequencies[:5], measured, rtol=0.022, atol=0)


def test_a_free_plate_without_poissons_ratio_bends_as_a_beam():
    # At nu = 0 a beam's shape, constant across, is a mode of the plate: lambda a² = beta².
    betas = torch.tensor([4.730040744862704, 7.853204624095838])
    for aspect in (1.0, 2.5):
        found = lambdas(PlateDesign(width=0.032 / aspect, modes=16), poisson=0.0)
        for beta in betas:
            assert ((found - beta**2).abs() / beta**2).min() < 2e-7


@pytest.mark.parametrize("boundary", ["free", "simply supported"])
def test_shapes_are_orthogonal_with_a_quarter_of_the_area(boundary):
    design = PlateDesign(boundary=boundary, width=0.04, modes=12)
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(40))
    nodes, weights = (nodes + 1) / 2, weights / 2
    places = torch.cartesian_prod(nodes, nodes)
    at = shapes(design).at(places)
    gram = at.mT @ (torch.outer(weights, weights).reshape(-1, 1) * at)
    torch.testing.assert_close(gram, torch.eye(12) / 4, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", ["free", "simply supported"])
def test_thickness_scales_frequency_and_mass(boundary):
    thick = PlateMismatch(thickness=torch.tensor([0.1]))
    found = Plate(PlateDesign(boundary=boundary), mismatch=thick)
    other = Plate(PlateDesign(boundary=boundary, thickness=0.0011))
    torch.testing.assert_close(found.frequencies, other.frequencies, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.impulse_response(), other.impulse_response())


# The linear plate -----------------------------------------------------------------------------


def test_the_exact_step_is_the_matrix_exponential():
    found = modes(SUPPORTED, shapes(SUPPORTED), PlateMismatch(), torch.device("cpu"))
    dt = 1 / 192e3
    step = exact_step(found, dt)
    for k in range(SUPPORTED.modes):
        w, z, b = found.frequency[k], found.damping[k], found.drive[k].abs()
        # In units of 1/w, so that the matrix is well scaled.
        system = torch.tensor([[0, 1, 0], [-1, -2 * z, b / w**2], [0, 0, 0]]) * (w * dt)
        expected = torch.linalg.matrix_exp(system)
        exact = torch.tensor(
            [
                [step.qq[k], step.qv[k] * w, step.qf[k].abs()],
                [step.vq[k] / w, step.vv[k], step.vf[k].abs() / w],
            ]
        )
        torch.testing.assert_close(exact, expected[:2], rtol=1e-12, atol=1e-13 * float(b / w**2))


def test_the_response_is_the_convolution_to_rounding(generator):
    plate = Plate(samples=70, guard=30)
    drive = torch.randn(3, 70, generator=generator)
    kernel = plate.impulse_response().numpy()
    expected = np.stack([np.convolve(kernel, row)[:100] for row in drive.numpy()])
    scale = float(np.abs(expected).max())
    torch.testing.assert_close(
        plate(drive, {}), torch.from_numpy(expected), rtol=0, atol=1e-14 * scale * 10
    )


def test_data_times_controls_is_what_is_convolved(generator):
    """The controllable convolution: y = g * (control · data), to rounding."""
    plate = Plate(samples=70, guard=30)
    encoded = Encoded(plate, Affine())
    data, control = torch.rand(3, 70, generator=generator), torch.randn(70, generator=generator)
    found = encoded(data, {"scale": control.unsqueeze(0), "offset": torch.zeros(70)})
    kernel = plate.impulse_response().numpy()
    expected = np.stack([np.convolve(kernel, row)[:100] for row in (control * data).numpy()])
    scale = float(np.abs(expected).max())
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-13 * scale)


def test_the_convolution_is_the_march(generator):
    plate = Plate(samples=70, guard=30)
    drive = torch.randn(3, 70, generator=generator)
    q, v = plate.trajectory(drive)
    expected = ear(plate._aligned(q)).hear(q, v)[1:].mT
    torch.testing.assert_close(plate(drive, {}), expected, rtol=1e-11, atol=1e-13)


def held(frequency, rate, response, images=400):
    """What samples at the ends of a held tone show: the response at all images of the tone."""
    place = frequency + rate * torch.arange(-images, images + 1.0)
    delay = 1 - torch.exp(-2j * math.pi * frequency / rate)
    return (response(place) * delay / (2j * math.pi * place / rate)).sum()


@pytest.mark.parametrize("frequency", [500.0, 3000.0, 4743.0, 6000.0, 8000.0])
def test_a_steady_tone_has_the_amplitude_of_the_transfer_function(frequency):
    # 30 ms: 18 time constants of the mode, after which whole periods are projected on the tone.
    rate, count = 192e3, 192
    plate = Plate(single(), samples=5760 + count * 2, rate=rate)
    f = torch.tensor(frequency)
    w, w0, z = 2 * math.pi * f, 2 * math.pi * plate.frequencies[0], 0.02
    t = torch.arange(plate.samples) / rate
    q, _ = plate.trajectory((w * t).cos())
    at = w * (t[-count:] + 1 / rate)
    basis = torch.stack([at.cos(), at.sin()], -1)
    amplitude = torch.linalg.lstsq(basis, q[-count:]).solution.norm()
    shape = shapes(plate.design).at(torch.tensor(plate.design.drive_at))[0]
    unit = shape / (plate.design.mass / 4)

    def closed_form(f):
        w = 2 * math.pi * f
        return unit / (w0**2 - w**2 + 2j * z * w0 * w)

    torch.testing.assert_close(amplitude, held(f, rate, closed_form).abs(), rtol=1e-6, atol=0)
    # Of it the tone itself, times the sinc of a held force, is all but 1.3e-5 up to 8 kHz.
    tone = closed_form(f).abs() * torch.sinc(f / rate)
    torch.testing.assert_close(amplitude, tone, rtol=1.3e-5, atol=0)


def test_the_microphones_transfer_function_is_w_squared_times_that_of_the_amplitude():
    plate = Plate()
    f = torch.tensor([100.0, 3193.0, 5000.0, 20000.0])
    found = modes(plate.design, plate._shapes, PlateMismatch(), torch.device("cpu"))
    w = 2 * math.pi * f.unsqueeze(-1)
    resonance = found.frequency**2 - w**2 + 2j * found.damping * found.frequency * w
    # Acceleration, without the memoryless term of the truncated sum.
    expected = (found.pickup * found.drive * (-(w**2) / resonance - 1)).sum(-1)
    torch.testing.assert_close(plate.transfer(f), expected, rtol=1e-12, atol=0)


def test_the_transfer_function_is_that_of_the_kernel():
    # 50 ms: 20 time constants of the lowest mode.
    plate = Plate(samples=9600)
    t = (torch.arange(9600) + 1) / plate.rate
    for f in torch.tensor([1000.0, 3193.0, 5000.0, 30000.0]):
        found = (torch.exp(-2j * math.pi * f * t) * plate.impulse_response()).sum()
        expected = held(f, plate.rate, plate.transfer)
        assert (found - expected).abs() < 1e-5 * expected.abs()


def test_quality_is_the_width_of_the_resonance():
    # The velocity has its half power at f0 (√(1 + z²) ± z): exactly f0/Q apart, Q = 1/(2z) = 25.
    plate = Plate(single(), samples=7680)
    f0, z = plate.frequencies[0], 0.02
    f = f0 * torch.tensor([1.0, math.sqrt(1 + z * z) - z, math.sqrt(1 + z * z) + z])
    assert abs(f0 / (f[2] - f[1]) - 25) < 1e-9
    t = torch.arange(plate.samples) / plate.rate
    _, v = plate.trajectory((2 * math.pi * f.unsqueeze(-1) * t).cos())
    # Full beats, and means of squares instead of peaks: 1920 samples are 10 ms, 47.4 periods.
    power = v[-1920:, :, 0].square().mean(0)
    power = power / torch.sinc(f / plate.rate).square()
    torch.testing.assert_close(power[1:], power[:1].expand(2) / 2, rtol=0.01, atol=0)


def test_energy_decays_as_the_damping_says():
    # A rate commensurate with the damped period, at whose multiples the state is a scaled copy.
    z, design = 0.02, single()
    damped = Plate(design).frequencies[0] * math.sqrt(1 - z * z)
    plate = Plate(design, samples=400, rate=float(damped) * 40)
    q, v = plate.trajectory(torch.zeros(400), (torch.full((1,), 1e-6), torch.zeros(1)))
    energy = plate.energy(q, v)
    t = torch.arange(401) / plate.rate
    expected = energy[0] * (-2 * z * 2 * math.pi * plate.frequencies[0] * t).exp()
    torch.testing.assert_close(energy[::40], expected[::40], rtol=1e-11, atol=0)
    # In between it is as much above as below, by z at most.
    assert ((energy / expected - 1).abs() < 2.5 * z).all()


def test_without_damping_energy_is_conserved_exactly():
    plate = Plate(single(damping=0.0), samples=1000)
    q, v = plate.trajectory(torch.zeros(1000), (torch.full((1,), 1e-6), torch.ones(1)))
    energy = plate.energy(q, v)
    torch.testing.assert_close(energy, energy[:1].expand(1001), rtol=1e-12, atol=0)


def test_physics_is_causal_and_the_guard_hears_everything(generator):
    plate = Plate(samples=12, guard=4)
    jacobian = jacrev(lambda drive: plate(drive, {}))(torch.randn(12, generator=generator))
    early = torch.ones(16, 12).triu(1).bool()
    scale = jacobian.abs().max()
    assert (jacobian[early].abs() < 1e-15 * scale * 10).all()
    assert (jacobian[12:].abs() > 1e-6 * scale).all()


def test_there_is_no_memoryless_term():
    # At a rate far above all modes nothing has happened by the end of the first sample.
    slow, fast = (Plate(samples=4, rate=rate) for rate in (192e3, 192e6))
    assert fast.impulse_response()[0].abs() < 2e-3 * slow.impulse_response()[0].abs()


# The Duffing plate ----------------------------------------------------------------------------


def backbone(design, amplitudes):
    """Frequencies of the free oscillation of one undamped mode, from where it crosses zero."""
    plate = Plate(design, samples=600, substeps=32)
    start = amplitudes.unsqueeze(-1) * design.thickness
    free = plate.trajectory(torch.zeros(len(amplitudes), 600), (start, torch.zeros(1)))[0]
    found = []
    for q in (free / start)[..., 0].mT:
        down = ((q[:-1] > 0) & (q[1:] <= 0)).nonzero()[[0, -1], 0]
        # Inverse cubic interpolation around the first and the last crossing: 40 samples a period
        # leave 1e-5 samples of 600.
        first, last = (
            i + torch.linalg.solve(torch.linalg.vander(q[i - 1 : i + 3]), torch.arange(-1.0, 3))[0]
            for i in down
        )
        count = int(((q[:-1] > 0) & (q[1:] <= 0)).sum()) - 1
        found.append(count / (last - first) * plate.rate)
    return torch.stack(found)


def elliptic(modulus):
    """The complete elliptic integral K(m), by the arithmetic-geometric mean."""
    a, b = 1.0, math.sqrt(1 - modulus)
    while abs(a - b) > 1e-15:
        a, b = (a + b) / 2, math.sqrt(a * b)
    return math.pi / (2 * a)


def test_the_backbone_is_that_of_duffing():
    design, amplitudes = single(stiffening=1.5, damping=0.0), torch.tensor([0.1, 0.3, 1.0])
    f0 = Plate(design).frequencies[0]
    strengths = 1.5 * amplitudes**2  # a A² / w0²
    found = backbone(design, amplitudes) / f0
    integrals = torch.tensor([elliptic(float(s / (2 * (1 + s)))) for s in strengths])
    exact = math.pi * (1 + strengths).sqrt() / (2 * integrals)
    # The steps of 1/1280 period leave (2 π / 1280)² / 24 = 1e-6 times the strength, and less.
    torch.testing.assert_close(found, exact, rtol=3e-6, atol=0)
    # w0 (1 + 3 a A² / (8 w0²)) up to 21/256 (a A² / w0²)², the next term of the series.
    assert ((found - (1 + 3 * strengths / 8)).abs() < 21 / 256 * strengths**2).all()


def test_the_split_step_is_of_second_order_and_the_equation_is_right(generator):
    design = PlateDesign(boundary="simply supported", modes=3, stiffening=1.5, damping=0.01)
    samples = 24
    drive = 2000 * torch.randn(samples, generator=generator)

    def end(substeps):
        return torch.cat(
            [s[-1] for s in Plate(design, samples=samples, substeps=substeps).trajectory(drive)]
        )

    expected = runge_kutta(design, drive, 400)
    linear = Plate(PlateDesign(boundary="simply supported", modes=3, damping=0.01), samples=samples)
    scale = torch.cat([torch.full((3,), 1 / (2 * math.pi * 5e3)), torch.ones(3)])
    errors = [float(((end(n) - expected) / scale).norm()) for n in (2, 4, 8, 16)]
    assert all(3.7 < coarse / fine < 4.3 for coarse, fine in itertools.pairwise(errors))
    size = float((expected / scale).norm())
    assert errors[-1] < 1e-3 * size
    away = torch.cat([s[-1] for s in linear.trajectory(drive)]) - expected
    assert float((away / scale).norm()) > 0.1 * size


def runge_kutta(design, drive, substeps):
    """The equation of motion as it is written in the documentation, by classical RK4."""
    found = modes(design, shapes(design), PlateMismatch(), torch.device("cpu"))
    w, z = found.frequency, found.damping
    h = 1 / 192e3 / substeps

    def rate(q, v, force):
        return v, found.drive * force - 2 * z * w * v - w**2 * q - found.cubic * q**3

    q = v = torch.zeros(design.modes)
    for force in drive:
        for _ in range(substeps):
            k1 = rate(q, v, force)
            k2 = rate(q + h / 2 * k1[0], v + h / 2 * k1[1], force)
            k3 = rate(q + h / 2 * k2[0], v + h / 2 * k2[1], force)
            k4 = rate(q + h * k3[0], v + h * k3[1], force)
            q, v = (
                s + h / 6 * (a + 2 * b + 2 * c + d) for s, a, b, c, d in zip((q, v), k1, k2, k3, k4)
            )
    return torch.cat([q, v])


def test_the_duffing_plate_conserves_energy_up_to_its_order():
    def drift(substeps):
        plate = Plate(single(stiffening=1.5, damping=0.0), samples=400, substeps=substeps)
        start = torch.full((1,), 5e-4), torch.zeros(1)
        energy = plate.energy(*plate.trajectory(torch.zeros(400), start))
        return float((energy / energy[0] - 1).abs().max())

    # Of the order (w dt)² a A² / w0² / 4.
    strength, phase = 1.5 * 0.5**2, 2 * math.pi * float(Plate(single()).frequencies[0]) / 192e3
    assert drift(1) < 1.2 * phase**2 * strength / 4 and 3.5 < drift(1) / drift(2) < 4.5


def test_with_little_force_the_duffing_plate_is_the_linear_one(generator):
    drive = torch.randn(40, generator=generator)
    duffing = Plate(PlateDesign(stiffening=1.5), samples=40)
    linear = Plate(PlateDesign(), samples=40)
    torch.testing.assert_close(
        duffing(1e-3 * drive, {}) / 1e-3, linear(drive, {}), rtol=0, atol=1e-9
    )


# Derivatives, batches, dtypes -----------------------------------------------------------------

SYSTEMS = {
    "linear": lambda **k: Plate(PlateDesign(modes=3), samples=5, guard=2, **k),
    "Duffing": lambda **k: Plate(
        PlateDesign(modes=3, stiffening=1.5, boundary="simply supported"),
        samples=5, guard=2, checkpoint=3, **k,
    ),
}  # fmt: skip
STRONG = 3000.0
"""N per unit: with it the cubic force of the Duffing plate is as large as the linear one."""

FIELDS = ("thickness", "frequency", "damping", "drive_at", "microphone_at", "gain")


def leaves(generator):
    sizes = (1, 3, 3, 2, 2, 1)
    return [(0.1 * torch.randn(n, generator=generator)).requires_grad_() for n in sizes]


def of_everything(name):
    def function(drive, *values):
        mismatch = PlateMismatch(**dict(zip(FIELDS, values)))
        return SYSTEMS[name](mismatch=mismatch)(STRONG * drive, {}) / STRONG

    return function


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("name", SYSTEMS)
def test_derivatives_by_drive_and_mismatch(check, name, generator):
    drive = torch.randn(2, 5, generator=generator, requires_grad=True)
    assert check(of_everything(name), [drive, *leaves(generator)])


@pytest.mark.parametrize("name", SYSTEMS)
def test_forward_mode_is_reverse_mode_and_central_differences(name, generator):
    drive, *mismatch = torch.randn(5, generator=generator), *leaves(generator)
    values = tuple(value.detach() for value in (drive, *mismatch))
    step = tuple(torch.randn(value.shape, generator=generator) for value in values)
    f = of_everything(name)
    found = jvp(f, values, step)[1]
    h = 1e-5
    up, down = (f(*(v + s * t for v, t in zip(values, step))) for s in (h, -h))
    torch.testing.assert_close(found, (up - down) / (2 * h), rtol=1e-6, atol=1e-8)
    numbers = tuple(range(len(values)))
    rows = zip(jacrev(f, numbers)(*values), jacfwd(f, numbers)(*values))
    for reverse, forward in rows:
        torch.testing.assert_close(reverse, forward, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_map_as_the_loop(name, generator):
    plate, drive = SYSTEMS[name](), STRONG * torch.randn(2, 3, 5, generator=generator)
    found = plate(drive, {})
    assert found.shape == (2, 3, 7)
    mapped = vmap(vmap(lambda d: plate(d, {})))(drive)
    alone = torch.stack([torch.stack([plate(d, {}) for d in row]) for row in drive])
    for other in (mapped, alone):
        torch.testing.assert_close(found, other, rtol=1e-10, atol=1e-10)
    gradients = vmap(grad(lambda d: plate(d, {}).square().sum()))(drive[0])
    leaf = drive[0].clone().requires_grad_()
    (expected,) = torch.autograd.grad(plate(leaf, {}).square().sum(), leaf)
    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SYSTEMS)
def test_single_precision(name, generator):
    plate, drive = SYSTEMS[name](), STRONG * torch.randn(3, 5, generator=generator)
    found, expected = plate(drive.float(), {}), plate(drive, {})
    assert found.dtype == torch.float32
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error < 2e-6


def test_a_long_record_keeps_no_more_than_the_root_of_its_samples():
    design = PlateDesign(modes=4, stiffening=1.5, boundary="simply supported")

    def kept(samples):
        plate, sizes = Plate(design, samples=samples), {}
        drive = torch.zeros(64, samples, requires_grad=True)

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            readout = plate(drive, {})
        assert readout.requires_grad
        return sum(sizes.values()) - drive.nbytes  # the padded drive, which all segments share

    assert kept(4096) < 4.3 * kept(256)


# Units ----------------------------------------------------------------------------------------


def test_a_unit_is_the_same_alone_and_in_any_fleet(generator):
    for name in SYSTEMS:
        population = Population(SYSTEMS[name](), PlateSpread(frequency=0.02), noise=0.02)
        drive = STRONG * torch.randn(3, 4, 5, generator=generator)
        fleet = population.draw([7, 20_001, 3])
        found = fleet.measure(drive, {})
        assert fleet.units == (3,) and fleet.calls == 12
        for row, seed in enumerate([7, 20_001, 3]):
            alone = population.unit(seed).measure(drive[row], {})
            torch.testing.assert_close(alone, found[row], rtol=1e-10, atol=1e-10)
        assert not torch.allclose(found[0], population.unit(8).measure(drive[0], {}))


def test_units_of_one_gain_and_many_places_are_aligned_left(generator):
    gain, place = torch.tensor([[0.1], [0.2]]), 0.1 * torch.randn(2, 3, 2, generator=generator)
    drive = torch.randn(2, 3, 4, 5, generator=generator)
    for make in SYSTEMS.values():
        fleet = make(mismatch=PlateMismatch(gain=gain, drive_at=place))
        assert fleet.units == (2, 3)
        found = fleet(drive, {})
        for row in range(2):
            for column in range(3):
                one = make(mismatch=PlateMismatch(gain=gain[row], drive_at=place[row, column]))
                alone = one(drive[row, column], {})
                torch.testing.assert_close(found[row, column], alone, rtol=1e-11, atol=1e-13)


def test_a_seed_is_the_same_unit_whatever_else_is_zero():
    some = PlateSpread(damping=0.3, thickness=0.0, gain=0.0).single(Plate(), 4).mismatch
    every = PlateSpread(damping=0.3, frequency=0.1).single(Plate(), 4).mismatch
    assert some.damping.equal(every.damping) and not some.thickness.any()


def test_the_spread_is_as_stated():
    spread = PlateSpread(0.05, 0.01, 0.3, 0.02, 0.03, 0.1)
    mismatch = spread.perturb(Plate(), range(1500)).mismatch
    for name in FIELDS:
        value, stated = getattr(mismatch, name), getattr(spread, name)
        normal = value if name.endswith("_at") else value.log1p()
        assert value.shape[0] == 1500 and abs(normal.std() / stated - 1) < 0.06, name
        assert normal.mean().abs() < 4 * stated / math.sqrt(1500), name


def test_physics_aware_training_is_the_frozen_surrogate(generator):
    twin = SYSTEMS["Duffing"]()
    unit = PlateSpread().single(twin, 3)
    pat = PhysicsAware(SimulatedDevice(unit), twin)
    drive = torch.randn(2, 5, generator=generator)
    step = torch.randn(2, 5, generator=generator)
    offset = unit(STRONG * drive, {}) - twin(STRONG * drive, {})
    weights = torch.randn(2, 7, generator=generator)

    def loss(readout):
        return (weights * (readout / STRONG * 30).sin()).sum().square()

    def surrogate(t):
        return loss(twin(STRONG * (drive + t * step), {}) + offset)

    t = torch.zeros((), requires_grad=True)
    value = loss(pat(STRONG * (drive + t * step), {}))
    assert value.equal(loss(unit(STRONG * drive, {}))) and not offset.abs().max() < 1e-3
    (first,) = torch.autograd.grad(value, t, create_graph=True)
    (second,) = torch.autograd.grad(first, t)
    h = 1e-4
    up, middle, down = surrogate(h), surrogate(0.0), surrogate(-h)
    torch.testing.assert_close(first, (up - down) / (2 * h), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(second, (up - 2 * middle + down) / h**2, rtol=1e-5, atol=1e-5)


BAD = [
    (lambda: Plate(samples=0), ValueError, "`samples` must be >= 1"),
    (lambda: Plate(guard=-1), ValueError, "`guard` must be >= 0"),
    (lambda: Plate(rate=0.0), ValueError, "`rate` must be > 0"),
    (lambda: Plate(substeps=0), ValueError, "`substeps` must be >= 1"),
    (lambda: Plate(checkpoint=0), ValueError, "`checkpoint` must be a number of samples"),
    (lambda: PlateDesign(length=0.0), ValueError, "`length` must be > 0"),
    (lambda: PlateDesign(boundary="clamped"), ValueError, "`boundary` must be 'free' or"),
    (lambda: PlateDesign(modes=0), ValueError, "`modes` must be >= 1"),
    (lambda: PlateDesign(damping=1.0), ValueError, r"`damping` must be in \[0, 1\)"),
    (lambda: PlateDesign(damping=(0.1, 0.1)), ValueError, "`damping` must be one number or 16"),
    (lambda: PlateDesign(stiffening=-1.0), ValueError, "`stiffening` must be >= 0"),
    (lambda: PlateDesign(drive_at=(0.5, 1.5)), ValueError, "`drive_at` must be"),
    (lambda: PlateMaterial(0.0, 1.0, 0.3), ValueError, "`youngs_modulus` must be > 0"),
    (lambda: PlateMaterial(1.0, 1.0, 0.5), ValueError, "`poisson` must be between"),
    (lambda: PlateSpread(gain=-1.0), ValueError, "`gain` must be >= 0"),
    (lambda: PlateSpread().single(None, 0), TypeError, "`system` must be a Plate"),
    (
        lambda: Plate(mismatch=PlateMismatch(damping=torch.zeros(3))),
        ValueError,
        r"`mismatch.damping` must be of shape \(..., 1 or 16\)",
    ),
    (
        lambda: Plate(mismatch=PlateMismatch(gain=torch.zeros(2, 1), damping=torch.zeros(3, 1))),
        ValueError,
        "`mismatch` must be of leading dimensions that agree",
    ),
    (lambda: Plate()(torch.zeros(3), {}), ValueError, r"`drive` must be of shape \(..., 196\)"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_misuse_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
