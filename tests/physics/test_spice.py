"""ngspice as a device: netlists, processes, and the circuit's twin against it."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.func import grad

from metaphys.physics import (
    Affine,
    Circuit,
    CircuitMismatch,
    CircuitSpread,
    Components,
    Encoded,
    Netlist,
    PhysicsAware,
    SpiceDevice,
    calibrate,
    circuit_netlist,
)
from metaphys.physics.spice import (
    Amplifier,
    Bipolar,
    Capacitor,
    CurrentSource,
    Diode,
    Inductor,
    Model,
    Mosfet,
    Resistor,
    VoltageSource,
)
from metaphys.physics.spice._process import usable_cores

needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="the package ngspice is not installed"
)
LOW_PASS = Netlist(
    [Resistor("1", "in", "out", 1e3), Capacitor("1", "out", "0", 1e-9)], drive="in", readout="out"
)


def waves(*shape, generator=None):
    """Volts, uniform in ±2."""
    return 4 * torch.rand(*shape, generator=generator) - 2


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


def spice(circuit, **arguments):
    netlist, temperature = circuit_netlist(circuit)
    ports = {"samples": circuit.samples, "guard": circuit.guard, "hold": circuit.hold}
    return SpiceDevice(netlist, temperature=temperature, **{**ports, **arguments})


# The twin against ngspice ---------------------------------------------------------------------


@needs_ngspice
@pytest.mark.parametrize("hold", ["linear", "step"])
def test_the_nominal_twin_is_within_a_percent_of_ngspice(hold, generator):
    twin = Circuit(hold=hold)
    drive = waves(4, 196, generator=generator)
    measured = spice(twin).measure(drive, {})
    # Seen: 0.26 % with one step a sample. What is left are charges and high injection.
    assert error(twin(drive, {}), measured) < 4e-3
    # The figure means something: the linear circuit is far off.
    linear = Circuit(Components().linear(), hold=hold)
    assert error(linear(drive, {}), measured) > 0.1


@needs_ngspice
def test_a_hot_and_mismatched_unit_is_as_near(generator):
    errors = {"R1": 0.05, "L": -0.03, "C": 0.04, "Rb": -0.05, "Bf": 0.3, "Is": 0.4}
    mismatch = CircuitMismatch(**{name: torch.tensor(e) for name, e in errors.items()})
    mismatch = CircuitMismatch(**mismatch.given(), temperature=torch.tensor(33.0))
    unit = Circuit(samples=100, guard=20, mismatch=mismatch)
    drive = waves(3, 100, generator=generator)
    measured = spice(unit).measure(drive, {})
    assert measured.shape == (3, 120)
    assert error(unit(drive, {}), measured) < 4e-3
    assert error(unit.with_mismatch(None)(drive, {}), measured) > 0.03


@needs_ngspice
def test_without_the_transistor_they_agree_to_ngspices_tolerance(generator):
    circuit = Circuit(Components().linear(), samples=60)
    drive = waves(2, 60, generator=generator)
    measured = spice(circuit, options={"reltol": 1e-7}).measure(drive, {})
    assert error(circuit(drive, {}), measured) < 2e-4
    finer = spice(circuit, options={"reltol": 1e-7}, substeps=100).measure(drive, {})
    assert error(circuit(drive, {}), finer) < 1e-5


@needs_ngspice
def test_the_collector_is_read_at_the_collector():
    circuit = Circuit(samples=30, readout="collector")
    measured = spice(circuit).measure(torch.zeros(30), {})
    torch.testing.assert_close(measured, torch.full((30,), 5.0), rtol=1e-6, atol=0)
    high = spice(circuit).measure(torch.full((30,), 2.0), {})
    assert 0 < high[-1] < 0.2


@needs_ngspice
def test_one_waveform_calibrates_the_twin(generator):
    """With the tolerances as the prior."""
    nominal = Circuit(samples=100, substeps=2)
    unit = CircuitSpread().single(nominal, seed=3)
    drive, other = waves(2, 100, generator=generator)
    measured, expected = spice(unit).measure(torch.stack([drive, other]), {})
    # What is modelled is 0.2 % off: that is the noise.
    found = calibrate(
        nominal, drive[None], measured[None], prior=CircuitSpread(), noise=2e-3, steps=4
    )
    assert error(nominal(other, {}), expected) > 0.05
    assert error(found.twin(other, {}), expected) < 3e-3


# The device -----------------------------------------------------------------------------------


@needs_ngspice
def test_a_low_pass_charges_as_its_time_constant_says():
    device = SpiceDevice(LOW_PASS, samples=5, guard=3, hold="step", options={"reltol": 1e-6})
    found = device.measure(torch.ones(5), {})
    t = torch.arange(1, 9.0)
    up = 1 - torch.exp(-t[:5])
    down = up[-1] * torch.exp(-t[:3])
    torch.testing.assert_close(found, torch.cat([up, down]), rtol=0, atol=1e-3)


def test_runs_take_the_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@needs_ngspice
def test_copies_and_processes_change_nothing(generator):
    drive = waves(7, 12, generator=generator)
    # Copies share ngspice's time steps: 0.02 time constants here, so that the trapezoidal rule is
    # right to 2 V · 0.02² / 12 = 7e-5 V whichever steps it takes.
    arguments = {"samples": 12, "substeps": 50, "options": {"reltol": 1e-6}}
    alone = SpiceDevice(LOW_PASS, copies=1, processes=1, **arguments)
    together = SpiceDevice(LOW_PASS, copies=3, processes=2, **arguments)
    found = together.measure(drive.reshape(7, 1, 12), {})
    assert found.shape == (7, 1, 12) and together.calls == 7
    torch.testing.assert_close(found[:, 0], alone.measure(drive, {}), rtol=0, atol=1e-4)
    assert together.measure(drive[:0], {}).shape == (0, 12)
    single = together.measure(drive.float(), {})
    assert single.dtype == torch.float32


@needs_ngspice
def test_every_element_is_understood():
    elements = [
        Resistor("1", "in", "a", 1e3),
        Inductor("1", "a", "b", 1e-6),
        Capacitor("1", "b", "0", 1e-9),
        Diode("1", "b", "0", "d1"),
        VoltageSource("1", "vcc", "0", 5.0),
        CurrentSource("1", "0", "b", 1e-4),
        Bipolar("1", "vcc", "b", "e", "q1"),
        Resistor("2", "e", "0", 1e3),
        Mosfet("1", "vcc", "e", "s", "0", "m1"),
        Resistor("3", "s", "0", 1e3),
        Amplifier("1", "out", "0", "s", "0", 2.0),
        Resistor("4", "out", "0", 1e3),
        Resistor("5", "in", "0", 1e3),
    ]
    models = [Model("d1", "D"), Model("q1", "NPN", {"Bf": 100.0}), Model("m1", "NMOS", {"Vto": -1})]
    device = SpiceDevice(Netlist(elements, models, readout="out"), samples=40)
    low, high = device.measure(torch.tensor([[0.0], [2.0]]).expand(2, 40), {})[:, -1]
    # A follower with a gate that conducts at -1 V: both voltages are positive, and rise.
    assert 0 < low < high


@needs_ngspice
def test_ngspices_own_words_are_in_the_error():
    wrong = Netlist(
        [Bipolar("1", "in", "out", "0", "odd"), Resistor("1", "out", "0", 1e3)],
        [Model("odd", "NOTAKIND")],
    )
    device = SpiceDevice(wrong, samples=4)
    with pytest.raises(RuntimeError, match=r"(?s)ngspice failed .exit status .*odd"):
        device.measure(torch.zeros(4), {})
    assert device.calls == 0


@needs_ngspice
def test_physics_aware_training_through_ngspice(generator):
    twin = Circuit(samples=16)
    device = spice(twin, options={"reltol": 1e-5})
    layer = Encoded(PhysicsAware(device, twin), Affine(low=-2.0, high=2.0))
    controls = layer.init_controls(generator=generator)
    x = 0.9 * waves(2, 16, generator=generator)
    offset = device.measure(x, {}) - twin(x, {})
    assert offset.abs().max() > 1e-4

    def on(readout, t):
        return readout({**controls, "offset": controls["offset"] + t}).sin().sum()

    def surrogate(t):
        return on(lambda c: twin(layer.drive(x, c), {}) + offset, t)

    def loss(t):
        return on(lambda c: layer(x, c), t)

    zero, h = torch.zeros(()), 1e-4
    device.reset_calls()
    first = (surrogate(h) - surrogate(-h)) / (2 * h)
    torch.testing.assert_close(grad(loss)(zero), first, rtol=1e-6, atol=1e-8)
    assert device.calls == 2
    second = (surrogate(h) - 2 * surrogate(0.0) + surrogate(-h)) / h**2
    torch.testing.assert_close(grad(grad(loss))(zero), second, rtol=1e-4, atol=1e-4)
    assert device.calls == 4


# Processes ------------------------------------------------------------------------------------


def program(folder: Path, text: str) -> str:
    """A stand-in for ngspice that does something else."""
    path = folder / "ngspice"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def end_soon(pids: list[int]) -> bool:
    """Whether all of them end: a killed child of a child dies when the kernel comes to it."""
    deadline = time.monotonic() + 20  # of the 60 seconds that they would live
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def temporary(monkeypatch, path: Path) -> Path:
    folder = path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_without_ngspice_the_error_names_the_package():
    with pytest.raises(FileNotFoundError, match="apt-get install ngspice"):
        SpiceDevice(LOW_PASS, executable="ngspice-that-is-not-there")


def test_a_failing_program_is_shown(tmp_path, monkeypatch):
    folder = temporary(monkeypatch, tmp_path)
    bad = program(tmp_path, "echo some words; echo a complaint >&2; exit 3\n")
    device = SpiceDevice(LOW_PASS, samples=2, executable=bad)
    with pytest.raises(RuntimeError, match=r"(?s)status 3.*a complaint.*some words"):
        device.measure(torch.zeros(2), {})
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes under /proc")
def test_a_run_that_takes_too_long_is_killed(tmp_path, monkeypatch):
    folder, pids = temporary(monkeypatch, tmp_path), tmp_path / "pids"
    slow = program(tmp_path, f"echo $$ >> {pids}\nsleep 60 & echo $! >> {pids}\nwait\n")
    device = SpiceDevice(LOW_PASS, samples=2, executable=slow, timeout=0.5, copies=1, processes=2)
    with pytest.raises(TimeoutError, match=r"`timeout` = 0\.5"):
        device.measure(torch.zeros(5, 2), {})
    found = [int(line) for line in pids.read_text().split()]
    assert len(found) >= 2
    assert end_soon(found)
    assert list(folder.iterdir()) == [] and device.calls == 0


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes under /proc")
def test_nothing_stays_on_the_disk_when_it_is_killed(tmp_path):
    folder, started = tmp_path / "temporary", tmp_path / "pid"
    folder.mkdir()
    slow = program(
        tmp_path, f"echo $$ > {started}.new; mv {started}.new {started}\nexec sleep 60\n"
    )
    script = (
        "import torch; from metaphys.physics.spice import *\n"
        "net = Netlist([Resistor('1', 'in', '0', 1.0)], readout='in')\n"
        f"SpiceDevice(net, samples=2, executable={slow!r}).measure(torch.zeros(2), {{}})\n"
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        for _ in range(600):
            if started.exists() or child.poll() is not None:
                break
            time.sleep(0.05)
        assert started.exists()
    finally:
        child.kill()
        child.wait()
    os.kill(int(started.read_text()), signal.SIGKILL)
    assert list(folder.iterdir()) == []


# Misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Resistor("1", "a b", "0", 1.0), ValueError, "letters, digits"),
        (lambda: Resistor("1\n.end", "a", "0", 1.0), ValueError, "letters, digits"),
        (lambda: Resistor("1", "a", "0", 0.0), ValueError, r"`1.ohms` must be > 0"),
        (lambda: Capacitor("1", "a", "0", float("nan")), ValueError, "a finite number"),
        (lambda: Model("m", "NPN", {"Is": float("inf")}), ValueError, r"`m.Is` must be a finite"),
        (lambda: Netlist(["R1 in out 1"]), TypeError, "made of Elements"),
        (lambda: Netlist([Resistor("1", "in", "out", 1.0)]), ValueError, "connected to ground"),
        (
            lambda: Netlist([Resistor("a", "in", "0", 1.0), Resistor("A", "in", "out", 1.0)]),
            ValueError,
            "of different names, but got ra",
        ),
        (lambda: Netlist([Resistor("1", "in", "0", 1.0)]), ValueError, "`readout` must be one of"),
        (
            lambda: Netlist([Diode("1", "in", "0", "none")], readout="in"),
            ValueError,
            r"`1.model` must be one of",
        ),
        (lambda: LOW_PASS.replace("R7", ohms=1.0), ValueError, "`name` must be one of"),
        (lambda: LOW_PASS.replace("R1", farads=1.0), ValueError, "`values` must be among"),
        (lambda: SpiceDevice("R1 in out 1"), TypeError, "`netlist` must be a Netlist"),
        (lambda: SpiceDevice(LOW_PASS, copies=0), ValueError, "`copies` must be >= 1"),
        (lambda: SpiceDevice(LOW_PASS, rate=0.0), ValueError, "`rate` must be > 0"),
        (lambda: SpiceDevice(LOW_PASS, hold="cubic"), ValueError, "`hold` must be one of"),
        (
            lambda: circuit_netlist(Circuit(mismatch=CircuitMismatch(L=torch.zeros(2)))),
            ValueError,
            "`circuit` must be one unit",
        ),
        (
            lambda: circuit_netlist(Circuit(mismatch=CircuitMismatch(source=torch.tensor(0.1)))),
            ValueError,
            "`circuit` must be one without amplifiers",
        ),
    ],
)
def test_misuse_is_named(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_a_drive_that_is_not_finite_is_refused(tmp_path):
    device = SpiceDevice(LOW_PASS, samples=2, executable=program(tmp_path, "exit 1\n"))
    with pytest.raises(ValueError, match="`drive` must be finite"):
        device.measure(torch.tensor([0.0, float("nan")]), {})
