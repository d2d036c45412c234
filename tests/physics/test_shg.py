"""Second-harmonic generation against closed forms, conservation laws and an independent solver."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from metaphys.physics import (
    SHG,
    Crystal,
    Encoded,
    Interleaved,
    OscillatorArray,
    PhysicsAware,
    Population,
    Pulse,
    PulseShaper,
    SHGMismatch,
    SHGSpread,
    SimulatedDevice,
    Spectrometer,
    ThinSHG,
    TimeWindow,
    propagate,
)
from metaphys.physics.shg import _propagate
from metaphys.physics.shg._kick import _step, kick
from metaphys.physics.shg._thin import sinc

WINDOW = TimeWindow(duration=4.0, points=64)
SMALL = {
    "shaper": PulseShaper(6, 6.0),
    "spectrometer": Spectrometer(5, 8.0),
    "window": WINDOW,
    "crystal": Crystal.bbo(coupling=6.0),
    "pulse": Pulse(chirp=2000.0),
}
MODELS = [SHG, ThinSHG]
LINEAR = {"length": 0.5, "gvm": 194.0, "dk0": 1.5, "gvd1": 75.0, "gvd2": 196.0}
"""A crystal in which nothing is zero."""


def plane():
    return torch.ones(1, dtype=torch.complex128), TimeWindow(1.0, 1)


def pulse_field(window, chirp=1000.0, peak=1.0):
    return peak * torch.fft.fft(Pulse(chirp=chirp).spectrum(window))


def energy(field):
    return field.abs().square().sum(-1)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


# Closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "efficiency"), [(0.5, 0.21355), (1.0, 0.58003), (2.0, 0.92935)]
)
def test_a_plane_wave_in_phase_converts_as_tanh(strength, efficiency):
    field, window = plane()
    first, second = propagate(field, Crystal(0.5, 2 * strength), window, steps=400)
    found = float(energy(second))
    assert found == pytest.approx(efficiency, abs=6e-6)
    assert found == pytest.approx(math.tanh(strength) ** 2, abs=1e-11)
    assert float(energy(first)) == pytest.approx(1 / math.cosh(strength) ** 2, abs=1e-11)


@pytest.mark.parametrize("slip", [0.5, 2.0, 5.0, 2 * math.pi, 9.0])
def test_an_undepleted_plane_wave_converts_as_sinc(slip):
    field, window = plane()
    strength, steps = 1e-5, 400
    crystal = Crystal(0.5, strength / 0.5, dk0=slip / 0.5)
    _, second = propagate(field, crystal, window, steps=steps)
    law = strength**2 * np.sinc(slip / 2 / np.pi) ** 2
    assert float(energy(second)) == pytest.approx(law, rel=5e-5, abs=1e-24)
    # Strang's step is the midpoint rule here, whose error is known. Depletion is 1e-10.
    exact = law / np.sinc(slip / 2 / np.pi / steps) ** 2
    assert float(energy(second)) == pytest.approx(exact, rel=1e-8, abs=1e-24)


def test_the_harmonic_has_the_phase_of_its_formula():
    field, window = plane()
    crystal = Crystal(0.5, 2e-5, dk0=3.0)
    _, second = propagate(field, crystal, window, steps=400)
    slip = 3.0 * 0.5
    expected = 1j * 1e-5 * np.exp(1j * slip / 2) * np.sinc(slip / 2 / np.pi)
    assert complex(second[0]) == pytest.approx(expected, rel=1e-5)


def test_the_thin_form_has_its_zeros_where_the_slip_is_a_whole_turn():
    # Light comes out where dk(W) L = 0 and not where it is 2 pi, for an undispersed source.
    crystal = Crystal(0.5, 1.0, gvm=194.0)
    thin = ThinSHG(crystal=crystal, window=TimeWindow(64.0, 2048))
    detuning = thin.window.detunings()
    dark = 1e3 / (194.0 * 0.5)  # THz, where gvm · Omega · L = 2 pi
    cell = int((detuning - dark).abs().argmin())
    shifted = replace(crystal, dk0=194.0 * float(thin.window.angular()[cell]) - 2 * np.pi / 0.5)
    flat = thin.entrance(torch.ones(100))
    bright = converted(thin, flat)
    moved = converted(ThinSHG(crystal=shifted, window=thin.window), flat)
    assert moved[cell] < 1e-25 * moved.max()
    assert bright.argmax() == 0


def converted(system, spectrum):
    """|A2|² on the grid of detunings, of A1's spectrum."""
    found, factor = system._convert(spectrum, system.crystal)
    return found.abs().square() * factor**2


def test_the_idealised_map_of_the_paper():
    """B(w_i) = k sum_j A(w_i + w_j) A(w_i - w_j), Eq. 6, on the grid of detunings."""
    crystal = Crystal(length=1.0, coupling=0.7)
    thin = ThinSHG(crystal=crystal, window=WINDOW, shaper=PulseShaper(6, 6.0))
    drive = torch.tensor([0.9, 0.1, 0.7, 0.4, 1.0, 0.3])
    spectrum = thin.entrance(drive)
    found = converted(thin, spectrum)
    size = WINDOW.points
    for i in range(-6, 7):
        terms = [spectrum[(i + j) % size] * spectrum[(i - j) % size] for j in range(-16, 17)]
        expected = (0.7 * sum(terms)).abs() ** 2  # type: ignore[union-attr]
        assert float(found[2 * i % size]) == pytest.approx(float(expected), rel=1e-12)


def kato(kind, micrometres):
    """Squared refractive index of BBO: Kato 1986."""
    a, b, c, d = {
        "o": (2.7359, 0.01878, 0.01822, 0.01354),
        "e": (2.3753, 0.01224, 0.01667, 0.01516),
    }[kind]
    square = micrometres**2
    return a + b / (square - c) - d * square


def test_the_preset_follows_from_the_dispersion_of_bbo():
    light = 0.299792458  # um/fs
    angle = math.radians(29.178)

    def wavenumber(omega, mixed):
        wavelength = 2 * math.pi * light / omega
        inverse = 1 / kato("o", wavelength)
        if mixed:
            share = math.sin(angle) ** 2
            inverse = (1 - share) * inverse + share / kato("e", wavelength)
        return omega / light / inverse**0.5 * 1e3  # rad/mm

    omega = torch.tensor(2 * math.pi * light / 0.8, dtype=torch.float64)
    slopes = [
        (grad(wavenumber)(w, mixed), grad(grad(wavenumber))(w, mixed))
        for w, mixed in ((omega, False), (2 * omega, True))
    ]
    crystal = Crystal.bbo()
    mismatch = 2 * wavenumber(omega, False) - wavenumber(2 * omega, True)
    assert abs(float(mismatch)) < 1.0  # rad/mm, of 2e4: the angle is that of phase matching
    assert float(slopes[1][0] - slopes[0][0]) == pytest.approx(crystal.gvm, abs=0.5)
    assert float(slopes[0][1]) == pytest.approx(crystal.gvd1, abs=0.5)
    assert float(slopes[1][1]) == pytest.approx(crystal.gvd2, abs=0.5)


# Conservation, convergence, an independent solver ---------------------------------------------


def test_what_the_fundamental_loses_the_harmonic_gains():
    window = TimeWindow(2.0, 128)
    field = pulse_field(window)
    drifts = {}
    for steps in (20, 40):
        for coupling in (2.0, 3.0):
            first, second = propagate(field, Crystal(coupling=coupling, **LINEAR), window,
                                      steps=steps)  # fmt: skip
            share = energy(second) / energy(field)
            assert share > (0.35 if coupling == 2.0 else 0.55)
            lost = energy(field) - energy(first)
            drifts[steps, coupling] = abs(float((lost - energy(second)) / energy(field)))
    assert drifts[20, 2.0] < 2e-8 and drifts[40, 2.0] < 1.2e-9
    # Linear steps keep energy to rounding; what the Runge-Kutta step loses is of fourth order.
    for coupling in (2.0, 3.0):
        assert 14 < drifts[20, coupling] / drifts[40, coupling] < 20


def test_an_undepleted_wave_keeps_its_power_to_rounding():
    window = TimeWindow(2.0, 128)
    field = pulse_field(window)
    first, second = propagate(field, Crystal(coupling=1e-4, **LINEAR), window, steps=20)
    assert 0 < energy(second) / energy(field) < 1e-8
    assert abs(energy(first) + energy(second) - energy(field)) / energy(field) < 5e-14


def reference(field, crystal, window):
    """The equations as they are written, for e^{+iWt} as numpy has it, by an adaptive solver."""
    size = window.points
    w = 2e-3 * np.pi * np.fft.fftfreq(size, window.duration / size)

    def slope(z, y):
        a1, a2 = y[:size], y[size:]
        d1, d2 = np.fft.fft(a1), np.fft.fft(a2)
        turn = np.exp(1j * crystal.dk0 * z)
        first = np.fft.ifft(-0.5j * crystal.gvd1 * (1j * w) ** 2 * d1)
        second = np.fft.ifft((-crystal.gvm * (1j * w) - 0.5j * crystal.gvd2 * (1j * w) ** 2) * d2)
        first = first + 1j * crystal.coupling * a2 * a1.conj() / turn
        return np.concatenate([first, second + 1j * crystal.coupling * a1**2 * turn])

    start = np.concatenate([field.numpy(), np.zeros(size)])
    solved = solve_ivp(slope, (0, crystal.length), start, rtol=1e-11, atol=1e-13).y[:, -1]
    return torch.from_numpy(solved[:size].copy()), torch.from_numpy(solved[size:].copy())


def test_converges_to_an_independent_solver_at_second_order():
    window = TimeWindow(2.0, 128)
    field, crystal = pulse_field(window), Crystal(coupling=4.0, **LINEAR)
    expected = reference(field, crystal, window)
    errors = []
    for steps in (20, 40, 80, 160):
        found = propagate(field, crystal, window, steps=steps)
        errors.append([relative(f, e) for f, e in zip(found, expected)])
    assert max(errors[0]) < 2e-3
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(orders - 2) < 0.05).all(), orders


def test_the_spectrum_is_not_mirrored():
    window = TimeWindow(2.0, 128)
    field, crystal = pulse_field(window), Crystal(coupling=4.0, **LINEAR)
    _, second = reference(field, crystal, window)
    # e^{-iWt} is a higher optical frequency: by definition of the carrier e^{i(kz - wt)}.
    times = torch.arange(128) * (2.0 / 128)
    detuning = window.detunings()
    waves = torch.exp(2j * math.pi * detuning[:, None] * times)
    expected = (waves * second / 128).sum(-1).abs().square()
    shg = SHG(crystal=crystal, window=window, steps=320)
    found = converted(shg, torch.fft.ifft(field))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
    mirrored = found[-torch.arange(128)]
    assert relative(mirrored, expected) > 0.1


def test_high_in_is_high_out():
    drive = torch.zeros(2, 100)
    drive[0, 70:], drive[1, :30] = 1, 1
    for system in (SHG(), ThinSHG()):
        high, low = system(drive, {})
        assert high[25:].sum() > 100 * high[:25].sum()
        assert low[:25].sum() > 100 * low[25:].sum()


def test_detuned_crystal_prefers_the_frequency_it_is_phase_matched_for():
    # dk = dk0 - gvm Omega vanishes at Omega = dk0 / gvm: a larger dk0, a higher frequency.
    crystal = Crystal(0.5, 0.01, gvm=194.0)
    centres = []
    for dk0 in (-3.0, 0.0, 3.0):
        readout = SHG(crystal=replace(crystal, dk0=dk0))(torch.ones(100), {})
        centres.append(float((readout * torch.arange(50)).sum() / readout.sum()))
    assert centres[0] < 22.5 and centres[2] > 26.5
    assert centres[1] == pytest.approx(24.5, abs=0.01)


def test_the_thin_form_is_the_limit_of_the_split_step(generator):
    drive = torch.rand(4, 100, generator=generator)
    gaps, thin = [], []
    for coupling in (1e-3, 0.4, 0.8):
        crystal = replace(Crystal.bbo(coupling=coupling), gvd1=0.0, dk0=1.0)
        thin.append(ThinSHG(crystal=crystal)(drive, {}) / coupling**2)
        split = SHG(crystal=crystal, steps=40)(drive, {}) / coupling**2
        gaps.append(relative(split, thin[-1]))
    torch.testing.assert_close(thin[1], thin[0])
    assert gaps[0] < 1e-4  # what 40 steps are off
    assert gaps[2] / gaps[1] == pytest.approx(4, rel=0.1)  # depletion goes as G²


@pytest.mark.parametrize("depletion", [(2 / 3, 1 / 15), (0.0, 0.0)])
def test_depletion_is_that_of_plane_waves_to_the_sixth_power(depletion, generator):
    # Without dispersion every instant is a plane wave: the polarisation falls short by tanh(u)/u,
    # whose series (2/3, 1/15) ends at u⁴; without them it ends at once.
    drive, gaps = torch.rand(100, generator=generator), []
    for coupling in (1.0, 2.0):
        crystal = Crystal(0.5, coupling)
        thin = ThinSHG(crystal=crystal, mismatch=SHGMismatch(depletion=torch.tensor(depletion)))
        gaps.append(relative(thin(drive, {}), SHG(crystal=crystal)(drive, {})))
    order = 6 if depletion[0] else 2
    assert math.log2(gaps[1] / gaps[0]) == pytest.approx(order, abs=0.2 * order)


def test_depletion_takes_the_place_of_a_split_step(generator):
    # As the docstring says, of BBO at G L = 3 and numbers that were fitted to other levels.
    crystal = replace(Crystal.bbo(coupling=6.0), gvd1=0.0)
    drive = torch.rand(4, 100, generator=generator)
    thin = ThinSHG(crystal=crystal, mismatch=SHGMismatch(depletion=torch.tensor([0.58, 0.082])))
    expected = SHG(crystal=crystal)(drive, {})
    assert relative(thin.with_mismatch(None)(drive, {}), expected) > 0.5
    assert relative(thin(drive, {}), expected) < 0.03


def test_a_longer_window_converges(generator):
    drive = torch.rand(4, 100, generator=generator)

    def readout(duration):
        points = int(32 * duration)
        return ThinSHG(window=TimeWindow(duration, points))(drive, {})

    expected = readout(1024)
    errors = [relative(readout(duration), expected) for duration in (8, 16, 32, 64)]
    assert errors[-1] < 1e-3
    assert all(later < earlier / 2.5 for earlier, later in itertools.pairwise(errors))


# The optics around the crystal ----------------------------------------------------------------


def test_the_shaper_divides_the_band_among_its_bins():
    window, shaper, pulse = TimeWindow(), PulseShaper(), Pulse()
    matrix = shaper.matrix(pulse, window)
    whole, band = pulse.amplitude(window), window.detunings().abs() < 4.39
    torch.testing.assert_close(matrix.sum(0)[band], whole[band])
    assert (matrix.sum(0)[window.detunings().abs() > 4.41] == 0).all()
    centres = (matrix * window.detunings()).sum(-1) / matrix.sum(-1)
    assert (centres.diff() > 0.08).all() and (centres.diff() < 0.096).all()


def test_the_spectrometer_counts_each_cell_once_and_moves_with_its_shift():
    window, instrument = TimeWindow(8.0, 256), Spectrometer(4, 4.0)
    spectrum = torch.zeros(256)
    spectrum[12] = 1.0  # 1.5 THz: the middle of the last bin
    assert (spectrum @ instrument.matrix(window)).tolist() == [0, 0, 0, 1]
    # Bins that lie too high by 1 THz show it one bin lower; by half a bin, on the edge of two.
    for shift, expected in ((1.0, [0, 0, 1, 0]), (0.5, [0, 0, 0.5, 0.5]), (-1.0, [0, 0, 0, 0])):
        assert (spectrum @ instrument.matrix(window, torch.tensor([shift]))).tolist() == expected


@pytest.mark.parametrize("chirp", [0.0, 3000.0, -3000.0])
def test_chirp_stretches_the_pulse(chirp):
    window = TimeWindow(4.0, 1024)
    intensity = torch.fft.fftshift(energy(pulse_field(window, chirp).unsqueeze(-1)))
    times = (torch.arange(1024) - 512) * (4e3 / 1024)
    width = ((intensity * times.square()).sum() / intensity.sum()).sqrt()
    stretched = 100 * math.sqrt(1 + (4 * math.log(2) * chirp / 100**2) ** 2)
    assert float(width) == pytest.approx(stretched / math.sqrt(8 * math.log(2)), rel=1e-9)
    # Positive: the frequency rises in time. e^{-i phase}: the phase falls where it is high.
    phase = torch.fft.fftshift(pulse_field(window, chirp)).angle()
    curvature = float(phase[513] + phase[511] - 2 * phase[512])
    assert np.sign(-curvature) == np.sign(chirp) or abs(curvature) < 1e-12


def test_levels_are_rounded_and_spread_over_neighbours(generator):
    levels = torch.rand(3, 6, generator=generator)
    coarse = SHGMismatch(bits=torch.tensor([2])).set_levels(levels)
    assert (coarse * 3).round().equal(coarse * 3)
    assert (coarse - levels).abs().max() <= 1 / 6 + 1e-12
    kernel = torch.tensor([0.1, 0.7, 0.2])
    dense = (
        0.7 * torch.eye(6)
        + 0.1 * torch.eye(6).roll(-1, 1).tril()
        + 0.2 * torch.eye(6).roll(1, 1).triu()
    )
    torch.testing.assert_close(SHGMismatch(crosstalk=kernel).set_levels(levels), levels @ dense.mT)


def test_rounded_levels_are_differentiated_as_if_they_were_not(generator):
    levels = torch.rand(6, generator=generator)
    rounded = SHG(**SMALL, mismatch=SHGMismatch(bits=torch.tensor([4])))
    at = rounded.mismatch.set_levels(levels)
    found = grad(lambda x: rounded(x, {}).sum())(levels)
    torch.testing.assert_close(found, grad(lambda x: SHG(**SMALL)(x, {}).sum())(at))


@pytest.mark.parametrize("model", MODELS)
def test_every_error_changes_the_readout(model, generator):
    drive = torch.rand(100, generator=generator)
    nominal = model()
    expected = nominal(drive, {})
    errors = {
        "coupling": [0.05],
        "dk0": [1.0],
        "chirp": [1000.0],
        "bits": [4],
        "crosstalk": [0.02, 0.95, 0.03],
        "shift": [0.1],
    }
    for name, value in errors.items():
        unit = nominal.with_mismatch(SHGMismatch(**{name: torch.tensor(value)}))
        gap = relative(unit(drive, {}), expected)
        assert 1e-3 < gap < 0.5, name
        assert relative(unit.with_mismatch(None)(drive, {}), expected) == 0


def test_the_readout_is_an_efficiency():
    # Weak and flat: over all frequencies, (G L)² of a Gaussian's ∫|A|⁴ / ∫|A|² = 1/√2.
    wide = {
        "shaper": PulseShaper(8, 24.0),
        "spectrometer": Spectrometer(8, 48.0),
        "window": TimeWindow(8.0, 512),
    }
    crystal = Crystal(0.5, 1e-3)
    for model in MODELS:
        efficiency = model(crystal=crystal, **wide)(torch.ones(8), {}).sum()
        assert float(efficiency) == pytest.approx((0.5e-3) ** 2 / math.sqrt(2), rel=1e-5)


# Derivatives ----------------------------------------------------------------------------------


def kept_by_the_graph(steps):
    """Bytes that the gradient of a long march needs, beside the drive."""
    system, sizes = SHG(**SMALL, steps=steps), {}
    drive = torch.rand(8, 6, requires_grad=True)

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        assert system(drive, {}).requires_grad
    return sum(sizes.values())


def test_a_long_march_keeps_the_root_of_its_steps():
    fields = 2 * 8 * WINDOW.points * 16
    for steps in (401, 1601):
        assert kept_by_the_graph(steps) <= 1.1 * steps**0.5 * fields + 20 * fields
    assert kept_by_the_graph(200) > 100 * fields  # a short one keeps every step


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_a_long_march_is_the_plain_loop_and_so_are_its_derivatives(check, generator, monkeypatch):
    inputs = everything((2,), generator)
    function = function_of_everything(SHG, steps=5)
    expected = function(*inputs)
    slopes = torch.autograd.grad(expected.square().sum(), inputs)
    monkeypatch.setattr(_propagate, "LONG", 2)
    found = function(*inputs)
    assert found.equal(expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), inputs), slopes)
    forward = {"check_forward_ad": True} if check is gradcheck else {}
    assert check(function, inputs, fast_mode=True, **forward)


def test_the_adjoint_of_the_nonlinear_step_is_that_of_its_formula(generator):
    fields = [
        torch.randn(2, 3, dtype=torch.complex128, generator=generator).requires_grad_()
        for _ in range(2)
    ]
    assert gradcheck(kick, fields, check_forward_ad=True)
    assert gradgradcheck(kick, fields, check_fwd_over_rev=True)
    written, plain = (
        torch.autograd.grad(torch.cat(step(*fields)).abs().sum(), fields) for step in (kick, _step)
    )
    for found, expected in zip(written, plain):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def function_of_everything(model, steps=2):
    def function(drive, coupling, dk0, chirp, crosstalk, shift, *depletion):
        mismatch = SHGMismatch(coupling, dk0, chirp, None, crosstalk, shift, *depletion)
        options = {"steps": steps} if model is SHG else {}
        return 10 * model(**SMALL, **options, mismatch=mismatch)(drive, {})

    return function


def everything(lead, generator, model=SHG):
    def normal(scale, size=1):
        return scale * torch.randn(*lead, size, generator=generator)

    drive = 0.3 + 0.6 * torch.rand(*lead, 2, 6, generator=generator)
    inputs = [drive, normal(0.1), normal(2.0), normal(500.0), normal(0.3, 3), normal(0.05)]
    inputs += [normal(0.3, 2).abs()] * (model is ThinSHG)
    return [x.requires_grad_() for x in inputs]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives(check, lead, model, generator):
    forward = {"check_forward_ad": True} if check is gradcheck else {"check_fwd_over_rev": True}
    inputs = everything(lead, generator, model)
    assert check(function_of_everything(model), inputs, fast_mode=True, **forward)


@pytest.mark.parametrize("model", MODELS)
def test_derivatives_are_those_of_central_differences(model, generator):
    inputs = [x.detach() for x in everything((), generator, model)]
    steps = [1e-4 * (1 + x.abs()) for x in inputs]

    def loss(t):
        moved = [x + t * step for x, step in zip(inputs, steps)]
        return function_of_everything(model)(*moved).sin().sum()

    first, second, third = grad(loss), grad(grad(loss)), grad(grad(grad(loss)))
    t, h = torch.tensor(0.3), 0.5
    for derivative, lower in ((first, loss), (second, first), (third, second)):
        difference = (lower(t + h) - lower(t - h)) / (2 * h)
        torch.testing.assert_close(derivative(t), difference, rtol=1e-5, atol=0)


@pytest.mark.parametrize("model", MODELS)
def test_transforms_agree(model, generator):
    system = model(**SMALL, mismatch=SHGMismatch(dk0=torch.tensor([1.0])))
    drive, tangent = torch.rand(2, 3, 6, generator=generator)

    def readout(x):
        return system(x, {})

    leaf = drive.clone().requires_grad_()
    (expected,) = torch.autograd.grad(readout(leaf).square().sum(), leaf)
    for transform in (grad, jacfwd, jacrev):
        found = transform(lambda x: readout(x).square().sum())(drive)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    value, push = jvp(readout, (drive,), (tangent,))  # pyright: ignore[reportAssignmentType]
    torch.testing.assert_close(value, readout(drive))
    torch.testing.assert_close((2 * value * push).sum(), (expected * tangent).sum())
    torch.testing.assert_close(vmap(readout)(drive), readout(drive))
    torch.testing.assert_close(
        vmap(grad(lambda x: readout(x).square().sum()))(drive), expected, rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("model", MODELS)
def test_compiles_without_a_graph_break(model, generator):
    system, drive = model(**SMALL), torch.rand(3, 6, generator=generator)

    def slope(x):
        return grad(lambda x: system(x, {}).square().sum())(x)

    torch._dynamo.reset()
    for function in (lambda x: system(x, {}), slope):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(drive), function(drive))


@pytest.mark.parametrize("model", MODELS)
def test_darkness_has_finite_derivatives(model):
    # The readout is of fourth order in the levels.
    dark = torch.zeros(6)
    unit = SHGMismatch(depletion=torch.tensor([0.6, 0.1])) if model is ThinSHG else None
    system = model(**SMALL, mismatch=unit)

    def loss(x):
        return system(x, {}).sum()

    for derivative in (loss, grad(loss), jacrev(grad(loss))):
        assert (derivative(dark) == 0).all()


def test_sinc_has_its_derivatives_at_zero_and_at_the_seam():
    def taylor(order):
        return {0: 1.0, 1: 0.0, 2: -1 / 3}[order]

    orders = [sinc, grad(sinc), grad(grad(sinc))]
    for order, derivative in enumerate(orders):
        assert float(derivative(torch.tensor(0.0))) == pytest.approx(taylor(order), abs=1e-12)
        below, above = (float(derivative(torch.tensor(x))) for x in (0.1 - 1e-12, 0.1 + 1e-12))
        assert below == pytest.approx(above, abs=2e-11)


@pytest.mark.parametrize("model", MODELS)
def test_float32_follows_float64(model, generator):
    mismatch = SHGMismatch(dk0=torch.tensor([1.0]), shift=torch.tensor([0.05]))
    system, drive = model(mismatch=mismatch), torch.rand(2, 100, generator=generator)
    found = system(drive.float(), {})
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), system(drive, {}), rtol=1e-4, atol=1e-8)


# Units, populations, physics-aware training ---------------------------------------------------

SPREAD = SHGSpread(coupling=0.02, dk0=1.0, chirp=500.0, bits=(6, 8), crosstalk=0.02, shift=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_a_fleet_is_its_units(model, generator):
    population = Population(model(), SPREAD, noise=1e-6)
    fleet, drive = population.draw([4, 9]), torch.rand(2, 3, 100, generator=generator)
    readout = fleet.measure(drive, {})
    assert fleet.units == (2,) and fleet.calls == 6
    for index, seed in enumerate((4, 9)):
        alone = population.unit(seed).measure(drive[index], {})
        torch.testing.assert_close(readout[index], alone, rtol=1e-10, atol=1e-16)
    assert relative(readout[0], readout[1]) > 0.01
    one_each = SPREAD.perturb(model(), [4, 9])(drive[:, 0], {})
    torch.testing.assert_close(
        one_each, SPREAD.perturb(model(), [4, 9])(drive, {})[:, 0], rtol=1e-10, atol=1e-16
    )


def test_a_seed_is_the_same_pattern_at_every_spread():
    narrow, wide = (SHGSpread(dk0=s, chirp=c) for s, c in ((1.0, 0.0), (2.0, 5.0)))
    first, second = (spread.single(SHG(), 7).mismatch for spread in (narrow, wide))
    assert first.dk0 is not None and second.dk0 is not None
    torch.testing.assert_close(2 * first.dk0, second.dk0)
    assert first.chirp is None and second.chirp is not None
    bits = [SPREAD.single(SHG(), seed).mismatch.bits for seed in range(40)]
    assert {int(b) for b in bits if b is not None} == {6, 7, 8}


def test_the_thin_crystal_is_a_twin_of_the_split_step(generator):
    shg = SHG(**SMALL)
    unit = SHGSpread(coupling=0.05, dk0=2.0, crosstalk=0.05).single(shg, 3)
    device, twin = SimulatedDevice(unit), ThinSHG(**{**shg.setup(), "mismatch": None})
    pat = PhysicsAware(device, twin)
    drive = torch.rand(3, 6, generator=generator)
    direction = torch.randn(3, 6, generator=generator)
    measured = device.measure(drive, {})
    assert relative(twin(drive, {}), measured) > 0.02
    assert pat(drive, {}).equal(measured)
    offset = measured - twin(drive, {})

    def surrogate(t):
        return (twin(drive + t * direction, {}) + offset).square().sum() * 1e3

    def trained(t):
        return pat(drive + t * direction, {}).square().sum() * 1e3

    zero, h = torch.tensor(0.0), 1e-4
    slope = (surrogate(zero + h) - surrogate(zero - h)) / (2 * h)
    bend = (surrogate(zero + h) + surrogate(zero - h) - 2 * surrogate(zero)) / h**2
    torch.testing.assert_close(grad(trained)(zero), slope, rtol=1e-6, atol=0)
    torch.testing.assert_close(grad(grad(trained))(zero), bend, rtol=1e-5, atol=0)
    # Neither the derivative of the twin alone nor that of the device.
    alone = grad(lambda t: twin(drive + t * direction, {}).square().sum() * 1e3)(zero)
    assert abs(float(grad(trained)(zero) / alone - 1)) > 1e-3


def test_controls_share_the_shaper_with_the_data(generator):
    encoded = Encoded(SHG(), Interleaved())
    x = torch.rand(2, 50, generator=generator)
    controls = encoded.init_controls(generator=generator)
    levels = torch.stack([x, controls["inserted"].expand(2, 50)], -1).flatten(-2)
    torch.testing.assert_close(encoded(x, controls), SHG()(levels, {}))
    slope = grad(lambda c: encoded(x, c).sum())(controls)
    assert (slope["inserted"] > 0).any()


# What is refused ------------------------------------------------------------------------------

BAD = [
    (lambda: SHG(steps=0), ValueError, "`steps` must be >= 1"),
    (
        lambda: SHG(window=TimeWindow(64.0, 512)),
        ValueError,
        "`window` must be of a bandwidth of at ",
    ),
    (lambda: TimeWindow(0.0), ValueError, "`duration` must be > 0 ps"),
    (lambda: TimeWindow(1.0, 0), ValueError, "`points` must be >= 1"),
    (lambda: Pulse(0.0), ValueError, "`duration` must be > 0 fs"),
    (lambda: PulseShaper(0), ValueError, "`bins` must be >= 1"),
    (lambda: PulseShaper(3, 0.0), ValueError, "`span` must be > 0 THz"),
    (lambda: Spectrometer(0), ValueError, "`bins` must be >= 1"),
    (lambda: Spectrometer(3, -1.0), ValueError, "`span` must be > 0 THz"),
    (lambda: Crystal(0.0, 1.0), ValueError, "`length` must be > 0 mm"),
    (lambda: Crystal(1.0, 0.0), ValueError, "`coupling` must be > 0 per mm"),
    (lambda: SHGSpread(dk0=-1.0), ValueError, "`dk0` must be >= 0"),
    (lambda: SHGSpread(bits=(8, 6)), ValueError, r"`bits` must be a range"),
    (lambda: SHGSpread().single(OscillatorArray(2), 0), TypeError, "`system` must be an SHG or a"),
    (lambda: SHG()(torch.rand(99), {}), ValueError, r"`drive` must be of shape \(..., 100\)"),
    (
        lambda: SHG(mismatch=SHGMismatch(dk0=torch.zeros(3, 2))),
        ValueError,
        r"`mismatch\.dk0` must be of shape \(..., 1\), but got \(3, 2\)",
    ),
    (lambda: SHG(mismatch=SHGMismatch(crosstalk=torch.zeros(2))), ValueError, "mismatch.crosst"),
    (lambda: ThinSHG(mismatch=SHGMismatch(depletion=torch.zeros(1))), ValueError, "mismatch.depl"),
    (
        lambda: SHG(mismatch=SHGMismatch(depletion=torch.zeros(2))),
        ValueError,
        r"`mismatch\.depletion` must be None.* a ThinSHG takes it",
    ),
    (
        lambda: SHG(mismatch=SHGMismatch(torch.zeros(3, 1), torch.zeros(2, 1))),
        ValueError,
        "`mismatch` must be of leading dimensions that agree",
    ),
    (
        lambda: propagate(torch.ones(4), Crystal(1.0, 1.0), TimeWindow(1.0, 4)),
        TypeError,
        "`field` must be complex, but got torch.float64.*complex128",
    ),
    (
        lambda: propagate(torch.ones(3) * 1j, Crystal(1.0, 1.0), TimeWindow(1.0, 4)),
        ValueError,
        r"`field` must be of shape \(..., 4\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
