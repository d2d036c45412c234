"""Twins: mismatches and networks fitted to what a device answered."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacrev, vmap

from metaphys.physics import (
    SHG,
    Calibrate,
    Circuit,
    CircuitMismatch,
    CircuitSpread,
    Corrected,
    Device,
    LearnCorrection,
    LearnNetwork,
    NetworkTwin,
    OscillatorArray,
    OscillatorSpread,
    Pairs,
    PhysicsAware,
    Plate,
    PlateMismatch,
    PlateSpread,
    Population,
    Ports,
    SHGSpread,
    SimulatedDevice,
    ThinSHG,
    calibrate,
    fit_pairs,
    fit_twin,
    load_twin,
    nrmse,
    random_drives,
    save_twin,
)
from metaphys.physics.twins import Schedule
from metaphys.physics.twins._fields import Fields
from metaphys.physics.twins._levenberg import jacobian

CIRCUIT = Circuit(samples=40)
SYSTEMS = {
    "circuit": (CIRCUIT, CircuitSpread(), 2.0),
    "plate": (Plate(samples=80), PlateSpread(thickness=0.01), 1.0),
    "oscillators": (
        OscillatorArray(5),
        OscillatorSpread(coupling=0.5, gain=0.1, gain_spread=0.05, per_oscillator=True),
        2.0,
    ),
    "shg": (ThinSHG(), SHGSpread(coupling=0.05, dk0=1.0, shift=0.05), 1.0),
}


def problem(name, count, seed=7):
    system, spread, high = SYSTEMS[name]
    low = 0.0 if name == "shg" else -high
    drives = random_drives(system.ports, count, low=low, high=high, seed=seed)
    controls = system.init_controls(generator=torch.Generator().manual_seed(1))
    return system, spread, drives, controls


# The mismatch ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_jacobian_is_that_of_central_differences_and_of_reverse_mode(name, generator):
    system, spread, drives, controls = problem(name, 2)
    fields = Fields(system, spread)

    def model(z):
        return fields.system(z)(drives, controls).flatten()

    z = 0.3 * torch.randn(fields.size, generator=generator)
    outputs = 2 * system.ports.readout
    found = jacobian(model, z, outputs)
    h = 1e-5
    steps = h * torch.eye(fields.size)
    differences = torch.stack([(model(z + d) - model(z - d)) / (2 * h) for d in steps], -1)
    scale = differences.abs().max()
    assert scale > 0
    # Central differences are right to h² times the third derivative and eps / h.
    torch.testing.assert_close(found, differences, rtol=0, atol=1e-7 * float(scale))
    reverse = jacrev(model)(z)
    torch.testing.assert_close(found, reverse, rtol=1e-6, atol=1e-9 * float(scale))


def test_more_mismatches_than_readouts_are_differentiated_in_reverse():
    system, spread, drives, controls = problem("oscillators", 1)
    fields = Fields(system, spread)

    def model(z):
        return fields.system(z)(drives, controls).flatten()

    z = torch.full((fields.size,), 0.1)
    assert fields.size > 5
    found = jacobian(model, z, 5)
    torch.testing.assert_close(found, jacobian(lambda z: model(z).repeat(9), z, 45)[:5])


@pytest.mark.parametrize(("name", "count"), [("circuit", 3), ("plate", 2), ("shg", 2)])
@pytest.mark.parametrize("seed", [0, 3])
def test_noiseless_readouts_give_the_mismatch_that_can_be_told(name, count, seed):
    assert_recovers(name, count, seed)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_noiseless_readouts_give_the_couplings_of_any_unit(seed):
    assert_recovers("oscillators", 30, seed)


def assert_recovers(name_of, count, seed):
    system, spread, drives, controls = problem(name_of, count)
    unit = spread.single(system, seed)
    found = calibrate(system, drives, unit(drives, controls), prior=spread, controls=controls)
    assert found.before > 0.01 and found.after < 1e-4
    _, _, fresh, _ = problem(name_of, 4, seed=8)
    assert nrmse(found.twin(fresh, controls), unit(fresh, controls)) < 1e-3
    fields = Fields(system, spread)
    errors = {
        label: (ours - theirs) / deviation
        for field, mean in fields._mean.items()
        for label, ours, theirs, deviation in zip(
            [field] if mean.numel() == 1 else [f"{field}[{i}]" for i in labels(mean)],
            getattr(found.twin.mismatch, field).flatten(),
            getattr(unit.mismatch, field).flatten(),
            fields._deviation[field].flatten(),
        )
        if deviation > 0
    }
    told = [c for c in found.combinations if c.told > 1 - 1e-6]
    assert len(told) >= 3 and len(errors) == fields.size
    for combination in told:
        along = sum(w * errors[name] for name, w in combination.weights.items())
        # In the prior's deviations. The circuit's valleys of equal voltages are curved: over the
        # 5 % that its scale is off by, by 0.05² / 2, which is 0.04 of a deviation of 3 %.
        assert abs(along) < (0.1 if name_of == "circuit" else 0.02)
    if name_of == "circuit":
        ours, theirs = (resonance(each.mismatch) for each in (found.twin, unit))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


def resonance(m):
    """What voltages tell of a circuit without its transistor: LC and RC."""
    return torch.stack([(1 + m.L) * (1 + m.C), (100 * (1 + m.R1) + 3 * (1 + m.RL)) * (1 + m.C)])


def labels(mean):
    return [", ".join(map(str, index)) for index in torch.ones_like(mean).nonzero().tolist()]


def test_the_impedance_scale_and_the_split_of_the_resistance_cannot_be_told():
    """All resistors, L and 1/C larger by one factor, Is smaller by it: the same voltages."""
    system, spread, drives, _ = problem("circuit", 2)
    unit = spread.single(system, 5)
    found = calibrate(system, drives, unit(drives, {}), prior=spread, noise=1e-3)
    up = {name: 1.0 for name in ("R1", "L", "RL", "Rb", "Rc")} | {"C": -1.0, "Is": -1.0}
    mismatch, fields = found.twin.mismatch, Fields(system, spread)
    scale = {n: s * (1 + getattr(mismatch, n)) / fields._deviation[n] for n, s in up.items()}
    split = {"R1": 1 / (100 * fields._deviation["R1"]), "RL": -1 / (3 * fields._deviation["RL"])}
    for direction in (scale, split):
        norm = sum(float(x) ** 2 for x in direction.values()) ** 0.5
        told = sum(
            c.told * sum(c.weights[n] * float(x) / norm for n, x in direction.items()) ** 2
            for c in found.combinations
        )
        # The transistor's own base resistance, 10 Ω beside 1 kΩ, does not scale with the rest.
        assert told < 1e-3
    # The frequency is told: L up, C up.
    resonance = sum(c.told * (c.weights["L"] + c.weights["C"]) ** 2 / 2 for c in found.combinations)
    assert resonance > 0.9
    # What cannot be told keeps the prior's deviation.
    assert found.deviation["RL"] > 0.99 * fields._deviation["RL"]
    assert found.deviation["C"] < found.deviation["RL"]


@pytest.mark.parametrize("sigma", [1e-3, 1e-2])
def test_the_noise_is_estimated_and_the_deviation_that_is_left_is_right(sigma):
    system, spread, drives, controls = problem("oscillators", 60)
    ratios = []
    for seed in range(5):
        device = Population(system, spread, noise=sigma).unit(seed)
        readouts = device.measure(drives, controls)
        found = calibrate(system, drives, readouts, prior=spread, controls=controls)
        # Of 300 readouts: 4 % of relative deviation, and some for 20 parameters.
        assert abs(found.noise / sigma - 1) < 0.2
        gain = spread.single(system, seed).mismatch.gain
        ratios.append((found.twin.mismatch.gain - gain) / found.deviation["gain"])
    scores = torch.stack(ratios)
    assert 0.6 < scores.square().mean().sqrt() < 1.5


def test_a_prior_by_field_fits_those_fields_alone():
    system, _, drives, _ = problem("circuit", 2)
    unit = system.with_mismatch(CircuitMismatch(C=torch.tensor(0.04)))
    prior = {"C": torch.tensor(0.05)}
    found = calibrate(system, drives.float(), unit(drives.float(), {}), prior=prior)
    assert (
        list(found.twin.mismatch.given()) == ["C"] and found.twin.mismatch.C.dtype == torch.float32
    )
    assert abs(float(found.twin.mismatch.C) - 0.04) < 1e-4
    # Where it starts from is the system's own mismatch, and what is not fitted stays.
    near = CircuitMismatch(C=torch.tensor(0.03), R1=torch.tensor(0.02))
    again = calibrate(system.with_mismatch(near), drives, unit(drives, {}), prior=prior)
    assert float(again.twin.mismatch.R1) == 0.02 and again.before < found.before


def test_a_unit_out_of_step_is_found_from_a_draw_of_the_prior():
    """7 % in thickness puts 16 modes out of step: the descent from the mean ends elsewhere."""
    plate, prior = Plate(samples=100, rate=96e3), PlateSpread()
    drives = random_drives(plate.ports, 1)
    readouts = prior.single(plate, 13)(drives, {})
    assert calibrate(plate, drives, readouts, prior=prior).after > 0.3
    assert calibrate(plate, drives, readouts, prior=prior, draws=100).after < 1e-6


@pytest.mark.parametrize("noise", [None, 1e-3])
def test_the_end_of_the_means_own_descent_counts_where_it_is_lower(noise):
    plate, prior = Plate(samples=40), {"thickness": torch.tensor([0.05])}
    unit = plate.with_mismatch(PlateMismatch(thickness=torch.tensor([0.1])))
    drives = random_drives(plate.ports, 1)
    alone, both = (
        calibrate(plate, drives, unit(drives, {}), prior=prior, noise=noise, draws=draws)
        for draws in (0, 20)
    )
    assert abs(float(alone.twin.mismatch.thickness) - 0.1) < 1e-3
    torch.testing.assert_close(both.twin.mismatch.thickness, alone.twin.mismatch.thickness)


def test_a_split_step_unit_is_fitted_by_the_split_step():
    system, spread = SHG(steps=5), SHGSpread(coupling=0.05)
    unit = spread.single(system, 1)
    drives = random_drives(system.ports, 1, low=0.0, high=1.0)
    found = calibrate(system, drives, unit(drives, {}), prior=spread)
    torch.testing.assert_close(
        found.twin.mismatch.coupling, unit.mismatch.coupling, rtol=1e-4, atol=0
    )


NONE = torch.zeros(0, 40)


@pytest.mark.parametrize(
    ("change", "message", "error"),
    [
        ({"system": SimulatedDevice(CIRCUIT)}, "a system with a mismatch", TypeError),
        ({"system": CircuitSpread().perturb(CIRCUIT, [1, 2])}, "one unit", ValueError),
        ({"readouts": torch.zeros(2, 39)}, "`readouts` must be of shape", ValueError),
        ({"readouts": torch.full((2, 40), torch.nan)}, "finite", ValueError),
        ({"drives": NONE, "readouts": NONE}, "at least one", ValueError),
        ({"prior": 0.1}, "a Spread", TypeError),
        ({"prior": {"Q": torch.ones(())}}, "of fields among", ValueError),
        ({"prior": {"C": torch.tensor(-1.0)}}, "finite and >= 0", ValueError),
        ({"prior": {"C": torch.zeros(())}}, "a spread of something", ValueError),
        ({"noise": 0.0}, "`noise` must be > 0", ValueError),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_refused(change, message, error):
    given = {"system": CIRCUIT, "drives": torch.zeros(2, 40), "readouts": torch.zeros(2, 40)}
    given = {**given, "prior": CircuitSpread(), **change}
    with pytest.raises(error, match=message):
        calibrate(given.pop("system"), given.pop("drives"), given.pop("readouts"), **given)


# Networks -------------------------------------------------------------------------------------


class Bent(Device):
    """A saturating mixture of its inputs, with noise of one known mode and a white part."""

    ports = Ports(drive=3, controls={"gain": ()}, readout=4)

    def __init__(self, sigma=0.0):
        self.generator = torch.Generator().manual_seed(3)
        self.matrix = torch.randn(3, 4, generator=self.generator)
        self.mode = torch.tensor([1.0, -1.0, 0.5, 0.0])
        self.sigma = sigma

    def _read(self, drive, controls):
        clean = torch.tanh(controls["gain"] * drive @ self.matrix)
        one = torch.randn(*drive.shape[:-1], 1, generator=self.generator)
        white = torch.randn(clean.shape, generator=self.generator)
        return clean + self.sigma * (one * self.mode + 0.3 * white)


def test_a_network_learns_a_device_and_its_noise():
    device = Bent(sigma=0.05)
    method = LearnNetwork((32, 32), (8,), modes=1, schedule=Schedule(steps=800, lr=3e-3))
    drives = random_drives(device.ports, 600)
    fresh = random_drives(device.ports, 100, seed=1)
    controls = {"gain": torch.tensor(1.2)}
    found = fit_twin(device, method, drives=drives, fresh=fresh, controls=controls, repeats=4)
    assert found.calls == 2500 and found.before is None and found.calibration is None
    clean = torch.tanh(1.2 * fresh @ device.matrix)
    twin = found.twin
    assert isinstance(twin, NetworkTwin)
    assert nrmse(twin(fresh, controls), clean) < 0.05
    expected = 0.05**2 * (torch.outer(device.mode, device.mode) + 0.09 * torch.eye(4))
    covariance = twin.covariance(fresh, controls).mean(0)
    # 1800 independent draws of each entry: 3 %; what the network bends of it is more.
    assert nrmse(covariance, expected) < 0.15
    samples = torch.stack(
        [twin.sample(fresh, controls, generator=device.generator) for _ in range(200)]
    )
    rest = samples - twin(fresh, controls)
    drawn = torch.einsum("rni,rnj->ij", rest, rest) / (200 * 100)
    assert nrmse(drawn, covariance) < 0.05


@pytest.mark.parametrize("kind", ["network", "corrected"])
def test_learned_twins_have_derivatives_of_every_order(kind, array, controls, generator):
    if kind == "network":
        twin = NetworkTwin(array.ports, hidden=[6], generator=generator)
        net = twin.mean
    else:
        twin = Corrected(array, hidden=[6], generator=generator)
        net = twin.correction
    with torch.no_grad():
        net.layers[-1].weight.normal_(generator=generator)
    drive = torch.randn(2, 4, generator=generator).requires_grad_()
    given = [value.clone().requires_grad_() for value in controls.values()]

    def respond(drive, *values):
        return twin(drive, dict(zip(controls, values)))

    assert gradcheck(respond, (drive, *given))
    assert gradgradcheck(respond, (drive, *given))
    many = torch.randn(3, 4, 4, generator=generator)
    mapped = vmap(lambda c: twin(drive[0], {**controls, "coupling": c}))(many)
    shared = twin(drive[0].expand(3, 4), {**controls, "coupling": many})
    torch.testing.assert_close(mapped, shared)
    # It starts at the physics, and its own parameters can be trained.
    assert all(p.grad is None for p in net.parameters())
    respond(drive, *given).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


class Compressing(Device):
    """A unit of the array whose angles are read by an instrument that compresses."""

    ports = SYSTEMS["oscillators"][0].ports

    def __init__(self):
        array, spread, _ = SYSTEMS["oscillators"]
        self.unit = spread.single(array, 5)

    def _read(self, drive, controls):
        angles = self.unit(drive, controls)
        return angles - 0.05 * angles**3


def test_a_correction_learns_what_the_physics_lacks():
    device, schedule = Compressing(), Schedule(steps=800, lr=1e-2)
    array, spread, drives, controls = problem("oscillators", 500)
    fresh = problem("oscillators", 50, seed=8)[2]
    given = {"drives": drives, "fresh": fresh, "controls": controls}
    physics = fit_twin(device, Calibrate(array, spread), **given)
    method = LearnCorrection(array, spread, hidden=(32,), schedule=schedule)
    corrected = fit_twin(device, method, **given)
    assert isinstance(corrected.twin, Corrected) and corrected.calibration is not None
    assert corrected.before == physics.before
    assert corrected.after < 0.5 * physics.after
    # Physics-aware training takes it.
    x = fresh[:1].clone().requires_grad_()
    readout = PhysicsAware(device, corrected.twin)(x, controls)
    (gradient,) = torch.autograd.grad(readout.sum(), x)
    assert gradient.abs().max() > 0


# Measuring and judging ------------------------------------------------------------------------


def test_fit_twin_counts_and_judges_on_fresh_drives():
    nominal, spread = CIRCUIT, CircuitSpread()
    device = Population(nominal, spread, noise=1e-3).unit(2)
    drives = random_drives(device.ports, 2, low=-2.0, high=2.0)
    fresh = random_drives(device.ports, 5, low=-2.0, high=2.0, seed=1)
    found = fit_twin(
        device, Calibrate(nominal, spread, 1e-3), drives=drives, fresh=fresh, repeats=3
    )
    assert found.calls == device.calls == 11
    clean = spread.single(nominal, 2)(fresh, {})
    assert nrmse(found.twin(fresh, {}), clean) < 0.3 * nrmse(nominal(fresh, {}), clean)
    assert found.calibration.noise == 1e-3 / 3**0.5


def test_fit_twin_refuses_what_does_not_fit():
    device, method = SimulatedDevice(CIRCUIT), Calibrate(CIRCUIT, CircuitSpread())
    drives = torch.zeros(2, 40)
    fleet = Population(CIRCUIT, CircuitSpread()).draw(2)
    with pytest.raises(TypeError, match="a Device"):
        fit_twin(CIRCUIT, method, drives=drives, fresh=drives)
    with pytest.raises(ValueError, match="one unit"):
        fit_twin(fleet, method, drives=drives, fresh=drives)
    with pytest.raises(TypeError, match="a Method"):
        fit_twin(device, CIRCUIT, drives=drives, fresh=drives)
    with pytest.raises(ValueError, match="`repeats`"):
        fit_twin(device, method, drives=drives, fresh=drives, repeats=0)
    with pytest.raises(ValueError, match=r"of shape \(..., 40\)"):
        fit_twin(device, method, drives=drives, fresh=drives[:, 1:])
    assert device.calls == 0
    with pytest.raises(ValueError, match=r"must be the system's, 1000000.0 Hz, but got 2"):
        fit_pairs(Pairs(drives, drives, rate=2e6), method)
    with pytest.raises(ValueError, match="`fresh`"):
        fit_pairs(Pairs(drives, drives), method, fresh=2)


# On disk --------------------------------------------------------------------------------------


def twins():
    generator = torch.Generator().manual_seed(0)
    ports = Ports(drive=40, controls={"gain": ()}, readout=4)
    unit = CircuitSpread().single(CIRCUIT, 3)
    corrected = Corrected(unit, hidden=[4], generator=generator)
    network = NetworkTwin(ports, hidden=[5], generator=generator)
    return {
        "mismatch": (unit, {}, CIRCUIT),
        "network": (network, {"gain": torch.ones(())}, None),
        "corrected": (corrected, {}, CIRCUIT),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["mismatch", "network", "corrected"])
def test_a_twin_comes_back_from_disk(kind, tmp_path, generator):
    twin, controls, nominal = twins()[kind]
    if kind != "mismatch":
        net = twin.mean if kind == "network" else twin.correction
        with torch.no_grad():
            net.layers[-1].weight.normal_(generator=generator)
    save_twin(tmp_path / "twin", twin, after=0.01)
    assert sorted(file.name for file in (tmp_path / "twin").iterdir()) == [
        "twin.json",
        "twin.safetensors",
    ]
    again = load_twin(tmp_path / "twin", nominal)
    drive = torch.randn(2, 40, generator=generator)
    assert again(drive, controls).equal(twin(drive, controls))
    if nominal is not None:
        with pytest.raises(ValueError, match=r"samples=41|`system` must be given"):
            load_twin(tmp_path / "twin", Circuit(samples=41))
        with pytest.raises(ValueError, match="must be given"):
            load_twin(tmp_path / "twin")


def test_a_damaged_twin_is_refused_by_name(tmp_path):
    unit = twins()["mismatch"][0]
    save_twin(tmp_path, unit)
    numbers = (tmp_path / "twin.safetensors").read_bytes()
    (tmp_path / "twin.safetensors").write_bytes(numbers[:-9])
    with pytest.raises(ValueError, match="undamaged"):
        load_twin(tmp_path, CIRCUIT)
    (tmp_path / "twin.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"twin.safetensors"):
        load_twin(tmp_path, CIRCUIT)
    (tmp_path / "twin.json").write_text("{")
    with pytest.raises(ValueError, match="readable JSON"):
        load_twin(tmp_path, CIRCUIT)
    (tmp_path / "twin.json").write_text("[]")
    with pytest.raises(ValueError, match="version 1"):
        load_twin(tmp_path, CIRCUIT)
    with pytest.raises(FileNotFoundError, match=r"twin.json"):
        load_twin(tmp_path / "nowhere", CIRCUIT)
    with pytest.raises(TypeError, match="a system with a mismatch"):
        save_twin(tmp_path, SimulatedDevice(CIRCUIT))
