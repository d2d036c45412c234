"""Physics-aware training against y = twin + stopgrad(device - twin), to every order."""

# Misuse is tested here, and attributes that a base class does not declare.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from metaphys.physics import (
    Device,
    OscillatorMismatch,
    PhysicsAware,
    Ports,
    SimulatedDevice,
    System,
    WithNoise,
)


class Power(System):
    """x ** n: derivatives that anyone can check by hand."""

    def __init__(self, exponent):
        self.exponent = exponent

    ports = Ports(drive=1, controls={}, readout=1)

    def init_controls(self, **_):
        """None: a power has no controls."""
        return {}

    def _respond(self, drive, controls, settings):
        return drive**self.exponent


class Frozen:
    """The surrogate with its offset frozen at one point: what PAT's derivatives must be."""

    def __init__(self, device_system, twin, drive, controls):
        self.twin = twin
        self.offset = device_system(drive, controls) - twin(drive, controls)

    def __call__(self, drive, controls):
        """The readout of the surrogate."""
        return self.twin(drive, controls) + self.offset


def loss_of(f):
    weights = torch.linspace(0.5, 1.5, 4)
    return lambda drive, controls: (weights * f(drive, controls).sin()).sum().square()


def moved(point, direction, t):
    drive, controls = point
    step, steps = direction
    return drive + t * step, {k: controls[k] + t * steps[k] for k in controls}


@pytest.fixture
def pat(unit, array):
    return PhysicsAware(SimulatedDevice(unit), array)


@pytest.fixture
def direction(generator, drive, controls):
    return torch.randn(drive.shape, generator=generator), {
        k: torch.randn(v.shape, generator=generator) for k, v in controls.items()
    }


def test_forward_is_the_device_to_the_last_bit(pat, unit, drive, controls):
    expected = unit(drive, controls)
    leaf = drive.clone().requires_grad_()
    for readout in (
        pat(drive, controls),
        pat(leaf, controls),
        vmap(lambda d: pat(d, controls))(drive),
        jvp(lambda d: pat(d, controls), (drive,), (drive,))[0],
        vjp(lambda d: pat(d, controls), drive)[0],
    ):
        assert readout.equal(expected)


def test_forward_keeps_negative_zero_and_nan():
    class Odd(System):
        ports = Ports(drive=3, controls={}, readout=3)

        def init_controls(self, **_):
            return {}

        def _respond(self, drive, controls, settings):
            return torch.tensor([-0.0, 0.0, float("nan")]).expand(drive.shape)

    pat = PhysicsAware(SimulatedDevice(Odd()), lambda drive, controls: drive**2)
    readout = pat(torch.ones(3, requires_grad=True), {})
    assert readout.isnan().tolist() == [False, False, True]
    assert readout.signbit().tolist()[:2] == [True, False]


def test_first_order_is_that_of_the_frozen_surrogate(pat, unit, array, drive, controls, direction):
    point, h = (drive, controls), 1e-5
    surrogate = loss_of(Frozen(unit, array, *point))
    expected = surrogate(*moved(point, direction, h)) - surrogate(*moved(point, direction, -h))
    t = torch.zeros((), requires_grad=True)
    (found,) = torch.autograd.grad(loss_of(pat)(*moved(point, direction, t)), t)
    torch.testing.assert_close(found, expected / (2 * h), rtol=1e-8, atol=1e-9)


def test_second_order_is_that_of_the_frozen_surrogate(pat, unit, array, drive, controls, direction):
    point, h = (drive, controls), 1e-4
    surrogate = loss_of(Frozen(unit, array, *point))

    def at(t):
        return surrogate(*moved(point, direction, t))

    expected = (at(h) - 2 * at(0.0) + at(-h)) / h**2
    t = torch.zeros((), requires_grad=True)
    loss = loss_of(pat)(*moved(point, direction, t))
    (first,) = torch.autograd.grad(loss, t, create_graph=True)
    (found,) = torch.autograd.grad(first, t)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_through_twenty_layers_the_errors_of_the_twin_do_not_add_up_in_the_inputs():
    """The authors' notebook 3: the device is 2 x^1.1 and its twin 2.01 x^1.1, 20 layers.

    PAT takes each slope at what was measured: 1.005^20, 10.5 % too much. In silico the inputs
    drift too, by r with log r_n = log 1.005 (1.1^n - 1) / 0.1, and slopes go as r^0.1: 33 %.
    """

    class Layer(System):
        ports = Ports(drive=1, controls={}, readout=1)

        def __init__(self, factor):
            self.factor = factor

        def init_controls(self, **_):
            return {}

        def _respond(self, drive, controls, settings):
            return self.factor * drive**1.1

    def slope(f):
        x = torch.tensor([0.7], requires_grad=True)
        y = x
        for _ in range(20):
            y = f(y, {})
        return float(torch.autograd.grad(y.sum(), x)[0])

    device, twin = Layer(2.0), Layer(2.01)
    exact = slope(device)
    assert slope(PhysicsAware(SimulatedDevice(device), twin)) / exact == pytest.approx(1.005**20)
    drift = sum(0.1 * math.log(1.005) * (1.1**n - 1) / 0.1 for n in range(20))
    in_silico = slope(twin) / exact
    assert in_silico == pytest.approx(1.005**20 * math.exp(drift))
    assert round(100 * (1.005**20 - 1), 1) == 10.5 and round(100 * (in_silico - 1)) == 33


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_with_device_equal_to_twin_the_checks_pass(check, array, controls):
    pat = PhysicsAware(SimulatedDevice(array), array)
    names = sorted(controls)

    def function(drive, *values):
        return pat(drive, dict(zip(names, values, strict=True)))

    values = [torch.linspace(-0.9, 0.8, 8).reshape(2, 4), *(controls[k] for k in names)]
    assert check(function, [v.clone().requires_grad_() for v in values])


def test_gradcheck_against_the_device_itself_must_fail(pat, drive, controls):
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(lambda d: pat(d, controls), drive.clone().requires_grad_())


X = torch.tensor([2.0], dtype=torch.float64)


def along(f):
    """The forward-mode derivative, as a function that can be differentiated again."""
    return lambda x: jvp(f, (x,), (torch.ones_like(x),))[1]


def backward(f):
    return lambda x: grad(lambda y: f(y).sum())(x)


def plain(f):
    """Reverse mode by torch.autograd, itself differentiable."""

    def derivative(x):
        x = x if x.requires_grad else x.clone().requires_grad_()
        return torch.autograd.grad(f(x).sum(), x, create_graph=True)[0]

    return derivative


def dual(f):
    def derivative(x):
        with forward_ad.dual_level():
            pair = forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x))))
        return pair.tangent

    return derivative


# twin x³, device 2x, at x = 2: derivatives 12, 12, 6
COMPOSITIONS = [
    ("grad", lambda f: backward(f), 12),
    ("jvp", lambda f: along(f), 12),
    ("dual", lambda f: dual(f), 12),
    ("autograd", lambda f: plain(f), 12),
    ("grad(grad)", lambda f: backward(backward(f)), 12),
    ("jvp(jvp)", lambda f: along(along(f)), 12),
    ("jvp(grad)", lambda f: along(backward(f)), 12),
    ("grad(jvp)", lambda f: backward(along(f)), 12),
    ("autograd twice", lambda f: plain(plain(f)), 12),
    ("autograd(grad)", lambda f: plain(backward(f)), 12),
    ("dual(grad)", lambda f: dual(backward(f)), 12),
    ("jacfwd(jacfwd)", lambda f: jacfwd(jacfwd(f)), 12),
    ("jacrev(jacrev)", lambda f: jacrev(jacrev(f)), 12),
    ("hessian", lambda f: hessian(f), 12),
    ("jvp(jvp(jvp))", lambda f: along(along(along(f))), 6),
    ("grad(grad(grad))", lambda f: backward(backward(backward(f))), 6),
    ("autograd thrice", lambda f: plain(plain(plain(f))), 6),
    ("grad(jvp(jvp))", lambda f: backward(along(along(f))), 6),
]


# Without grad mode too, where that makes sense.
MODES = [(*c, mode) for c in COMPOSITIONS for mode in (True, False) if mode or "auto" not in c[0]]


@pytest.mark.parametrize(
    ("transform", "expected", "mode"),
    [c[1:] for c in MODES],
    ids=[c[0] if c[3] else f"{c[0]} in no_grad" for c in MODES],
)
def test_every_composition_is_right(transform, expected, mode):
    device = SimulatedDevice(Power(1))
    pat = PhysicsAware(WithNoise(device, 0.5), Power(3))
    with torch.set_grad_enabled(mode):
        found = transform(lambda x: pat(x, {}))(X.clone())
    assert found.flatten().tolist() == pytest.approx([expected], rel=1e-14)
    assert device.calls == 1


# torch maps neither torch.autograd.grad nor make_dual.
MAPPED = [c for c in COMPOSITIONS if "autograd" not in c[0] and "dual" not in c[0]]


@pytest.mark.parametrize(
    ("transform", "expected"), [c[1:] for c in MAPPED], ids=[c[0] for c in MAPPED]
)
def test_vmap_of_every_composition_measures_once(transform, expected, monkeypatch):
    device = SimulatedDevice(Power(1))
    pat, batches = PhysicsAware(device, Power(3)), []
    take = SimulatedDevice._take
    monkeypatch.setattr(SimulatedDevice, "_take", lambda *a: batches.append(a[1].shape) or take(*a))
    found = vmap(transform(lambda x: pat(x, {})))(X.expand(5, 1))
    assert found.flatten().tolist() == pytest.approx([expected] * 5, rel=1e-14)
    assert (device.calls, batches) == (5, [(5, 1)])


def test_vmap_over_units_is_the_loop_over_them(array, controls, generator):
    seeds, noise = range(4), 0.05
    mismatch = OscillatorMismatch(torch.randn(4, 4, 4, generator=generator))
    fleet = WithNoise(SimulatedDevice(array.with_mismatch(mismatch)), noise, seed=seeds)
    drive = torch.randn(4, 3, 4, generator=generator)

    def adapted(pat):
        """One inner step, differentiated by an outer one."""

        def outer(start, drive):
            slope = grad(lambda c: pat(drive, c).square().sum())(start)
            new = {k: start[k] - 0.1 * slope[k] for k in start}
            return pat(drive, new).sin().sum()

        return grad(outer)

    batched = vmap(adapted(PhysicsAware(fleet, array)), in_dims=(None, 0))(controls, drive)
    assert fleet.calls == 4 * 3 * 2
    for u in seeds:
        single = SimulatedDevice(array.with_mismatch(OscillatorMismatch(mismatch.coupling[u])))
        pat = PhysicsAware(WithNoise(single, noise, seed=u), array)
        expected = adapted(pat)(controls, drive[u])
        for name, value in expected.items():
            torch.testing.assert_close(batched[name][u], value, rtol=1e-11, atol=1e-12)


def test_controls_that_all_samples_share_are_set_once(array, drive, controls):
    class Watched(Device):
        ports, seen = array.ports, []

        def _read(self, drive, controls):
            self.seen.append(controls["coupling"].shape)
            return array(drive, controls).numpy()

    device = Watched()
    vmap(lambda d: device.measure(d, controls))(drive)
    vmap(vmap(device.measure, in_dims=(0, None)))(
        drive.expand(2, 3, 4), {k: v.expand(2, *v.shape) for k, v in controls.items()}
    )
    vmap(device.measure)(drive, {k: v.expand(3, *v.shape) for k, v in controls.items()})
    assert device.seen == [(4, 4), (2, 4, 4), (3, 4, 4)]
    assert device.calls == 3 + 6 + 3


def test_the_twin_is_not_run_when_no_derivative_is_wanted(unit, array, drive, controls):
    runs = []

    def twin(drive, controls):
        runs.append(1)
        return array(drive, controls)

    pat = PhysicsAware(SimulatedDevice(unit), twin)
    with torch.no_grad():
        pat(drive, controls)
        vmap(lambda d: pat(d, controls))(drive)
        assert runs == []
        grad(lambda d: pat(d, controls).sum())(drive)
        assert runs == [1]


def test_what_the_twin_closes_over_gets_its_gradient(unit, array, drive, controls):
    gain = torch.tensor([0.05], requires_grad=True)
    twin = array.with_mismatch(OscillatorMismatch(gain=gain))
    pat = PhysicsAware(SimulatedDevice(unit), twin)
    (found,) = torch.autograd.grad(pat(drive, controls).sum(), gain)
    (expected,) = torch.autograd.grad(twin(drive, controls).sum(), gain)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


WRONG = [
    (lambda unit, array: (array, array), TypeError, "`device` must be a Device.*SimulatedDevice"),
    (lambda unit, array: (SimulatedDevice(unit), None), TypeError, "`twin` must be callable"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_parts_are_refused(arguments, error, message, unit, array):
    with pytest.raises(error, match=message):
        PhysicsAware(*arguments(unit, array))


def test_a_twin_of_another_size_is_refused(unit, drive, controls):
    pat = PhysicsAware(SimulatedDevice(unit), lambda d, c: d[..., :2])
    with pytest.raises(ValueError, match=r"`twin` must be a model .* \(3, 4\), but got \(3, 2\)"):
        pat(drive, controls)
