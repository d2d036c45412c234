"""The circuit against closed forms, an independent solver and its own derivatives."""

# Misuse is tested here, and what may be None is known not to be.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from metaphys.physics import (
    Affine,
    Circuit,
    CircuitMismatch,
    CircuitSpread,
    Components,
    Encoded,
    PhysicsAware,
    Population,
    SimulatedDevice,
    Transistor,
)
from metaphys.physics.circuit import _circuit, _junctions, _parameters, _recurrence
from metaphys.physics.circuit._mismatch import RELATIVE

LINEAR = Components().linear()
F0, Q = LINEAR.resonance, LINEAR.quality
W0 = 2 * math.pi * F0


def waves(*shape, generator=None):
    """Volts, uniform in ±2: far across the knee on both sides."""
    return 4 * torch.rand(*shape, generator=generator) - 2


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


# Without the transistor: closed forms ---------------------------------------------------------


def tone(frequency, samples=8000, rate=20e6, components=LINEAR):
    """Amplitude of v for a steady tone of 1 V, from the last whole periods, and H there."""
    period = round(rate / frequency)
    frequency = rate / period
    t = torch.arange(1, samples + 1) / rate
    circuit = Circuit(components, samples=samples, rate=rate)
    v = circuit(torch.sin(2 * math.pi * frequency * t), {})
    last = slice(samples - period, samples)
    basis = torch.exp(-2j * math.pi * frequency * t[last])
    # Straight lines between the samples of a tone have sinc² of it.
    drawn = torch.sinc(torch.tensor(frequency / rate)) ** 2
    return 2 * (v[last] * basis).mean() * 1j / drawn, 2j * math.pi * frequency


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.3, 2.0])
def test_a_steady_tone_answers_as_the_transfer_function(ratio):
    found, s = tone(ratio * F0)
    r, ll, c = LINEAR.R1 + LINEAR.RL, LINEAR.L, LINEAR.C
    expected = 1 / (1 + s * r * c + s * s * ll * c)
    assert abs(complex(found) - expected) < 1e-7 * abs(expected)


def spectrum(rate=5e6, samples=1 << 14):
    """H of the capacitor's voltage and of the current, from the response to one hat of 1 V."""
    circuit = Circuit(LINEAR, samples=samples, rate=rate)
    hat = torch.zeros(samples)
    hat[0] = 1.0
    f = torch.fft.rfftfreq(samples, 1 / rate)
    v = torch.fft.rfft(circuit(hat, {})) / torch.fft.rfft(hat)
    return f, v / torch.sinc(f / rate) ** 2  # the spectrum of a hat


def test_the_peak_and_the_widths_are_those_of_q():
    f, h = spectrum()
    near = (f > 0.3 * F0) & (f < 2 * F0)
    f, voltage = f[near], h[near].abs()
    current = voltage * 2 * math.pi * f * LINEAR.C
    fine = torch.linspace(float(f[0]), float(f[-1]), 200_001).numpy()
    v = np.interp(fine, f.numpy(), voltage.numpy())
    i = np.interp(fine, f.numpy(), current.numpy())
    step = float(f[1] - f[0])
    assert abs(fine[v.argmax()] - F0 * math.sqrt(1 - 1 / (2 * Q**2))) <= step
    above = fine[i > i.max() / math.sqrt(2)]
    assert abs((above[-1] - above[0]) - F0 / Q) <= step
    above = fine[v > v.max() / math.sqrt(2)]
    assert abs((above[-1] - above[0]) / F0 - 0.335) <= 0.005


def test_it_rings_down_at_half_the_rate_of_q():
    circuit = Circuit(LINEAR, samples=1, guard=300)
    v = circuit(torch.ones(1), {}).numpy()
    t, decay = np.arange(1, 302) * 1e-6, W0 / (2 * Q)
    wd = W0 * math.sqrt(1 - 1 / (4 * Q**2))
    after = slice(2, None)  # the hat is over after two samples
    basis = np.stack([np.cos(wd * t), np.sin(wd * t)], 1) * np.exp(-decay * t)[:, None]
    weights = np.linalg.lstsq(basis[after], v[after], rcond=None)[0]
    np.testing.assert_allclose(basis[after] @ weights, v[after], atol=1e-13)
    assert np.abs(weights).min() > 1e-3


@pytest.mark.parametrize("hold", ["linear", "step"])
def test_the_linear_step_is_exact_at_any_length(hold):
    drive = waves(3, 40)
    once = Circuit(LINEAR, samples=40, hold=hold)(drive, {})
    often = Circuit(LINEAR, samples=40, hold=hold, substeps=7)(drive, {})
    torch.testing.assert_close(once, often, rtol=1e-11, atol=1e-13)


def test_overdamped_is_no_special_case():
    parts = Components(R1=5e3).linear()
    found = Circuit(parts, samples=50)(torch.ones(50), {})
    often = Circuit(parts, samples=50, method="rk4", substeps=40)(torch.ones(50), {})
    assert parts.quality < 0.5 and error(found, often) < 1e-5


# With the transistor --------------------------------------------------------------------------


def base_current(v, parts=None):
    """Ebers and Moll with resistors, by bisection in two levels: nobody's Newton."""
    parts = Components() if parts is None else parts
    n, vt = parts.transistor, 1.380649e-23 * parts.temperature / 1.602176634e-19
    supply = parts.Rc + n.rc

    def reverse(w):
        def short(p):
            collector = n.Is * (math.exp(w / vt) - math.exp(p / vt)) - n.Is / n.Br * (
                math.exp(p / vt) - 1
            )
            return w - p - parts.Vcc + supply * collector

        return brentq(short, -60.0, 1.2, xtol=1e-15)

    def base(w):
        diode = n.Is / n.Bf * math.expm1(w / vt) + n.Ise * math.expm1(w / (n.Ne * vt))
        return diode + n.Is / n.Br * math.expm1(reverse(w) / vt)

    w = brentq(lambda w: w + (parts.Rb + n.rb) * base(w) - v, min(v, 0) - 1e-3, 0.9, xtol=1e-15)
    return base(w)


def test_is_the_differential_equation_by_an_adaptive_solver():
    drive = torch.tensor([2.0, 1.0, -1.5, 0.5, 2.0, 2.0, -2.0, 1.0])
    parts = Components()
    grid = np.linspace(-4, 5, 901)
    drawn = CubicSpline(grid, [base_current(v) for v in grid])
    u = np.concatenate([[0.0], drive.numpy()])

    def slope(t, y):
        source = np.interp(t * 1e6, np.arange(9), u)
        return [
            (source - (parts.R1 + parts.RL) * y[0] - y[1]) / parts.L,
            (y[0] - drawn(y[1])) / parts.C,
        ]

    ends = np.arange(1, 9) * 1e-6
    y = solve_ivp(slope, (0, 8e-6), [0, 0], t_eval=ends, rtol=1e-9, atol=1e-12, max_step=1e-8).y[1]
    for method, substeps, limit in (("rk4", 20, 1e-5), ("exponential", 100, 2e-6)):
        circuit = Circuit(samples=8, method=method, substeps=substeps)
        assert error(circuit(drive, {}), torch.tensor(y)) < limit, method


def test_the_exponential_step_converges_at_second_order():
    # A slow wave: the knee is then resolved, so that the order of the method shows.
    drive = 1.2 * torch.sin(torch.arange(1, 31) / 5)
    found = [Circuit(samples=30, substeps=n)(drive, {}) for n in (8, 16, 32, 256)]
    errors = [error(each, found[-1]) for each in found[:-1]]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(orders - 2) < 0.3).all(), orders


@pytest.mark.parametrize("hold", ["linear", "step"])
def test_the_classical_step_converges_at_fourth_order(hold, generator):
    drive = waves(2, 40, generator=generator)
    exact = Circuit(LINEAR, samples=40, hold=hold)(drive, {})
    found = [
        Circuit(LINEAR, samples=40, hold=hold, method="rk4", substeps=n)(drive, {})
        for n in (2, 4, 8)
    ]
    errors = [error(each, exact) for each in found]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(orders - 4) < 0.2).all(), orders


def test_a_step_of_a_microsecond_is_near_the_reference(generator):
    drive = waves(2, 30, generator=generator)
    reference = Circuit(samples=30, method="rk4", substeps=10)(drive, {})
    assert error(Circuit(samples=30)(drive, {}), reference) < 4e-3
    assert error(Circuit(samples=30, substeps=4)(drive, {}), reference) < 3e-4


def test_the_residual_of_the_implicit_solution_is_rounding(generator):
    seen = []
    original = _circuit.respond

    def spy(u, packed, table):
        seen.append((u, packed, original(u, packed, table)))
        return seen[-1][2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_circuit, "respond", spy)
        # At rest, across the knees, and far out where the table is coarse.
        for amplitude in (0.0, 1.0, 2.0, 30.0):
            Circuit()(amplitude * waves(3, 196, generator=generator), {})
    for u, packed, (s, w, p) in seen:
        q = _parameters.unpack(packed)
        at = _junctions.junctions(s, w, p, q)
        scale = 1e-13 * (1 + u.abs().max())
        for residual in (at.F1, at.F2, s - u + _recurrence.past((s - w) / q.Rs, q)):
            assert residual.abs().max() < 10 * scale


def test_float32_is_float64_to_its_rounding(generator):
    drive = waves(4, 196, generator=generator).requires_grad_()
    single = drive.detach().float().requires_grad_()
    found = []
    for x in (drive, single):
        found.append(Circuit()(x, {}))
        found[-1].square().sum().backward()
    assert error(found[1].detach().double(), found[0].detach()) < 5e-6
    assert error(single.grad.double(), drive.grad) < 5e-5
    assert single.grad.dtype == torch.float32


def test_the_collector_follows_its_resistors():
    rest = Circuit(samples=20, readout="collector")(torch.zeros(20), {})
    torch.testing.assert_close(rest, torch.full((20,), 5.0), rtol=1e-6, atol=0)
    driven = Circuit(samples=200, readout="collector")(2 * torch.ones(200), {})
    assert 0 < driven[-1] < 0.2  # saturated


def test_a_nominal_circuit_is_one_whose_mismatch_is_zero(generator):
    drive = waves(3, 20, generator=generator)
    zero = Circuit(samples=20, mismatch=CircuitMismatch(L=torch.zeros(())))
    torch.testing.assert_close(Circuit(samples=20)(drive, {}), zero(drive, {}))
    with torch.inference_mode():
        made_there = Circuit(samples=20)
    leaf = drive.clone().requires_grad_()
    made_there(leaf, {}).sum().backward()
    assert leaf.grad.abs().max() > 0.1


def test_temperature_lowers_the_knee():
    drive, warm = torch.ones(60), CircuitMismatch(temperature=torch.tensor(40.0))
    cold, hot = (Circuit(samples=60, mismatch=m)(drive, {})[-1] for m in (None, warm))
    # Vbe falls by about 2 mV/K; the divider of 103 Ω and 1 kΩ passes on about a tenth.
    assert 0.003 < cold - hot < 0.015


def test_amplifiers_compress_what_goes_in_and_what_comes_out(generator):
    drive, nominal = waves(2, 30, generator=generator), Circuit(samples=30)
    amplified = CircuitMismatch(source=torch.tensor([0.2, 0.0]), reading=torch.tensor([0.0, 0.5]))
    found = nominal.with_mismatch(amplified)(drive, {})
    torch.testing.assert_close(found[0], nominal(drive[0] / (1 + 0.2 * drive[0] ** 2).sqrt(), {}))
    plain = nominal(drive[1], {})
    torch.testing.assert_close(found[1], plain / (1 + 0.5 * plain**2).sqrt())


def test_guard_is_silence_after_the_drive(generator):
    drive = waves(2, 30, generator=generator)
    longer = torch.nn.functional.pad(drive, (0, 12))
    found = Circuit(samples=30, guard=12)(drive, {})
    torch.testing.assert_close(found, Circuit(samples=42)(longer, {}), rtol=1e-12, atol=1e-14)


def test_is_causal(generator):
    drive = waves(20, generator=generator)
    jacobian = jacrev(lambda d: Circuit(samples=20)(d, {}))(drive)
    assert jacobian.triu(1).abs().max() < 1e-15
    assert (jacobian.diagonal() > 1e-3).all()


def test_a_common_impedance_cannot_be_seen(generator):
    drive = waves(3, 50, generator=generator)
    k = 1.7
    part, npn = Components(), Transistor()
    scaled = Components(
        R1=k * part.R1,
        L=k * part.L,
        RL=k * part.RL,
        C=part.C / k,
        Rb=k * part.Rb,
        Rc=k * part.Rc,
        transistor=Transistor(Is=npn.Is / k, Ise=npn.Ise / k, rb=k * npn.rb, rc=k * npn.rc),
    )
    found = Circuit(scaled, samples=50)(drive, {})
    torch.testing.assert_close(found, Circuit(samples=50)(drive, {}), rtol=1e-11, atol=1e-12)

    # To first order the same in the mismatch: this direction moves nothing, each alone does.
    def shifted(*errors):
        mismatch = CircuitMismatch(**dict(zip(RELATIVE, errors)))
        return Circuit(
            Components(transistor=Transistor(rb=0, rc=0)), samples=50, mismatch=mismatch
        )(drive, {})

    zero = tuple(torch.zeros(()) for _ in RELATIVE)
    direction = {"R1": 1, "L": 1, "RL": 1, "C": -1, "Rb": 1, "Rc": 1, "Is": -1, "Bf": 0}
    along = tuple(torch.tensor(float(direction[name])) for name in RELATIVE)
    moved = jvp(shifted, zero, along)[1]
    assert moved.abs().max() < 1e-10
    for name in ("R1", "L", "C", "Rb", "Is"):
        only = tuple(torch.tensor(float(name == each)) for each in RELATIVE)
        assert jvp(shifted, zero, only)[1].abs().max() > 1e-3, name


# Derivatives ----------------------------------------------------------------------------------


def function_of_everything(readout, method):
    def function(drive, errors, temperature, source=None, reading=None):
        named = {name: errors[..., n] for n, name in enumerate(RELATIVE)}
        named |= {"temperature": temperature, "source": source, "reading": reading}
        mismatch = CircuitMismatch(**named)
        length = drive.shape[-1]
        return Circuit(samples=length, readout=readout, method=method, mismatch=mismatch)(drive, {})

    return function


CASES = [
    ((2,), "base", "exponential"),
    ((), "collector", "exponential"),
    ((), "base", "rk4"),
]


@pytest.mark.parametrize(("lead", "readout", "method"), CASES)
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives(check, lead, readout, method, generator):
    drive = 2 + waves(*lead, 1, 3 if method == "exponential" else 1, generator=generator)
    errors = 0.1 * torch.randn(*lead, len(RELATIVE), generator=generator)
    temperature = 5 * torch.randn(lead, generator=generator)
    amplifiers = 0.1 + torch.rand(2, *lead, generator=generator)
    moved = (drive, errors, temperature, *amplifiers)
    inputs = [each.clone().requires_grad_() for each in moved]
    forward = {"check_forward_ad": True} if check is gradcheck else {"check_fwd_over_rev": True}
    assert check(function_of_everything(readout, method), inputs, **forward)


def loss_of(circuit):
    weights = torch.linspace(0.5, 1.5, circuit.ports.readout)
    return lambda drive: (weights * circuit(drive, {})).sin().sum()


def test_first_and_second_order_by_central_differences(generator):
    loss, drive = loss_of(Circuit(samples=30)), waves(30, generator=generator)
    direction = torch.randn(30, generator=generator)

    def at(t):
        return loss(drive + t * direction)

    h, zero = 1e-4, torch.zeros(())
    first = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    second = (16 * (at(h) + at(-h)) - (at(2 * h) + at(-2 * h)) - 30 * at(0.0)) / (12 * h**2)
    torch.testing.assert_close(grad(at)(zero), first, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(grad(grad(at))(zero), second, rtol=1e-4, atol=1e-6)


def test_third_order_in_every_mode(generator):
    loss, drive = loss_of(Circuit(samples=6)), 2 + waves(6, generator=generator)
    direction = torch.randn(6, generator=generator)

    def at(t):
        return loss(drive + t * direction)

    zero, h = torch.zeros(()), torch.tensor(1e-4)
    second = grad(grad(at))
    expected = (second(h) - second(-h)) / (2 * h)
    torch.testing.assert_close(grad(second)(zero), expected, rtol=1e-5, atol=1e-7)
    for third in (jacfwd(jacfwd(jacfwd(at))), jacfwd(grad(grad(at))), grad(jacfwd(grad(at)))):
        torch.testing.assert_close(third(zero), grad(second)(zero), rtol=1e-9, atol=1e-10)


def test_fourth_order_is_right_too(generator):
    loss, drive = loss_of(Circuit(samples=8)), 2 + waves(8, generator=generator)

    def at(t):
        return loss(drive * t)

    third = grad(grad(grad(at)))
    one, h = torch.ones(()), 1e-4
    expected = (third(one + h) - third(one - h)) / (2 * h)
    torch.testing.assert_close(grad(third)(one), expected, rtol=1e-5, atol=1e-6)


def test_every_mode_gives_the_same_hessian(generator):
    loss, drive = loss_of(Circuit(samples=5)), 2 + waves(3, 5, generator=generator)
    expected = torch.autograd.functional.hessian(loss, drive[0])
    assert expected.abs().max() > 0.1
    for mode in (jacrev(jacrev(loss)), jacfwd(jacrev(loss)), jacrev(jacfwd(loss)), hessian(loss)):
        torch.testing.assert_close(mode(drive[0]), expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(vmap(mode)(drive)[0], expected, rtol=1e-10, atol=1e-12)
    batched = torch.autograd.functional.jacobian(jacrev(loss), drive[0], vectorize=True)
    torch.testing.assert_close(batched, expected, rtol=1e-10, atol=1e-12)


def test_at_rest_the_derivative_is_the_linear_circuits(generator):
    direction = torch.randn(40, generator=generator)
    zero = torch.zeros(40)
    found = jvp(lambda d: Circuit(samples=40)(d, {}), (zero,), (direction,))[1]
    torch.testing.assert_close(
        found, Circuit(LINEAR, samples=40)(direction, {}), rtol=1e-9, atol=1e-10
    )
    leaf = zero.clone().requires_grad_()
    (back,) = torch.autograd.grad(Circuit(samples=40)(leaf, {}) @ direction, leaf)
    assert back.isfinite().all()
    torch.testing.assert_close(back @ direction, found @ direction, rtol=1e-9, atol=1e-10)


def test_a_graph_keeps_little(generator):
    """What backward keeps grows by a few numbers a step: no graph of the steps."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Circuit(samples=400)(waves(2, 400, generator=generator).requires_grad_(), {})
    words = sum({t.untyped_storage().data_ptr(): t.numel() for t in kept}.values())
    assert words < 20 * 2 * 400


# Batches, units, populations ------------------------------------------------------------------


def test_vmap_over_drives_units_and_both(generator):
    errors = 0.1 * torch.randn(3, len(RELATIVE), generator=generator)
    temperature = 5 * torch.randn(3, generator=generator)
    function = function_of_everything("base", "exponential")
    drive = waves(3, 2, 9, generator=generator)
    fleet = function(drive, errors, temperature)
    torch.testing.assert_close(vmap(function)(drive, errors, temperature), fleet)
    alone = vmap(function, in_dims=(0, None, None))(drive, errors[0], temperature[0])
    torch.testing.assert_close(alone[1], function(drive[1], errors[0], temperature[0]))
    same = vmap(function, in_dims=(None, 0, 0))(drive[0], errors, temperature)
    torch.testing.assert_close(same[2], function(drive[0], errors[2], temperature[2]))
    only = vmap(function, in_dims=(None, None, 0))(drive[0], errors[0], temperature)
    torch.testing.assert_close(only[2], function(drive[0], errors[0], temperature[2]))

    def loss(errors, temperature):
        return function(drive[0], errors, temperature).sin().sum()

    slopes = vmap(grad(loss))(errors, temperature)
    torch.testing.assert_close(slopes[1], grad(loss)(errors[1], temperature[1]))


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (0, 6)])
def test_samples_have_any_shape(shape, generator):
    found = Circuit(samples=6)(waves(*shape, generator=generator), {})
    assert found.shape == shape and found.isfinite().all()


def test_units_of_two_dimensions_and_prefixes(generator):
    L, C = (0.1 * torch.randn(s, generator=generator) for s in ((2, 3), (2,)))
    fleet = Circuit(samples=6, mismatch=CircuitMismatch(L=L, C=C))
    drive = waves(2, 3, 4, 6, generator=generator)
    found = fleet(drive, {})
    assert fleet.units == (2, 3)
    one = Circuit(samples=6, mismatch=CircuitMismatch(L=L[1, 2], C=C[1]))
    torch.testing.assert_close(found[1, 2], one(drive[1, 2], {}))


def test_a_population_of_circuits(generator):
    population = Population(Circuit(samples=10), CircuitSpread(), noise=0.01)
    fleet = population.draw([7, 3])
    drive = waves(2, 5, 10, generator=generator)
    found = fleet.measure(drive, {})
    assert fleet.units == (2,) and fleet.calls == 10
    torch.testing.assert_close(found[1], population.unit(3).measure(drive[1], {}))
    assert error(found[0], found[1] * 0 + Circuit(samples=10)(drive[0], {})) > 1e-3


def test_the_spread_keeps_within_its_tolerances():
    fleet = CircuitSpread(L=0.1, Bf=0.3).perturb(Circuit(), range(200))
    for name, bound in (("L", 0.1), ("Bf", 0.3), ("R1", 0.05)):
        errors = getattr(fleet.mismatch, name)
        assert errors.abs().max() <= bound and errors.abs().max() > 0.9 * bound
    assert 3 < fleet.mismatch.temperature.std() < 7
    wider = CircuitSpread(L=0.2).single(Circuit(), 5).mismatch
    torch.testing.assert_close(wider.L, 4 * CircuitSpread().single(Circuit(), 5).mismatch.L)


def test_physics_aware_training_through_a_perturbed_unit(generator):
    twin = Circuit(samples=12)
    unit = CircuitSpread().single(twin, seed=4)
    device = SimulatedDevice(unit)
    layer = Encoded(PhysicsAware(device, twin), Affine(low=-2.0, high=2.0, spread=0.1))
    controls = layer.init_controls(generator=generator)
    x = 0.9 * waves(3, 12, generator=generator)
    offset = unit(layer.drive(x, controls), {}) - twin(layer.drive(x, controls), {})

    def surrogate(t):
        moved = {**controls, "offset": controls["offset"] + t}
        return ((twin(layer.drive(x, moved), {}) + offset).sin()).sum()

    def loss(t):
        return layer(x, {**controls, "offset": controls["offset"] + t}).sin().sum()

    zero, h = torch.zeros(()), 1e-4
    assert offset.abs().max() > 0.01
    first = (surrogate(h) - surrogate(-h)) / (2 * h)
    second = (surrogate(h) - 2 * surrogate(0.0) + surrogate(-h)) / h**2
    device.reset_calls()
    torch.testing.assert_close(grad(loss)(zero), first, rtol=1e-6, atol=1e-8)
    assert device.calls == 3
    torch.testing.assert_close(grad(grad(loss))(zero), second, rtol=1e-4, atol=1e-4)
    assert device.calls == 6


# Misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "`samples` must be >= 1"),
        ({"guard": -1}, "`guard` must be >= 0"),
        ({"rate": 0.0}, "`rate` must be > 0"),
        ({"substeps": 0}, "`substeps` must be >= 1"),
        ({"method": "euler"}, "`method` must be one of"),
        ({"hold": "cubic"}, "`hold` must be one of"),
        ({"readout": "emitter"}, "`readout` must be one of"),
        ({"components": LINEAR, "readout": "collector"}, "`readout` must be 'base'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Circuit(**arguments)


def test_bad_components_and_mismatches_are_named():
    with pytest.raises(ValueError, match="`L` must be > 0"):
        Components(L=0.0)
    with pytest.raises(ValueError, match="`Bf` must be > 0"):
        Transistor(Bf=math.inf)
    with pytest.raises(ValueError, match="`rb` must be >= 0"):
        Transistor(rb=-1.0)
    with pytest.raises(TypeError, match=r"`mismatch.L` must be a tensor"):
        Circuit(mismatch=CircuitMismatch(L=0.1))
    with pytest.raises(ValueError, match=r"`mismatch.L` must be of a shape"):
        Circuit(mismatch=CircuitMismatch(L=torch.zeros(2), C=torch.zeros(3, 1)))
    with pytest.raises(ValueError, match=r"`L` must be within \[0, 1\)"):
        CircuitSpread(L=1.0)
    with pytest.raises(TypeError, match="`system` must be a Circuit"):
        CircuitSpread().single("circuit", 0)
