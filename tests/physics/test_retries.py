"""Devices that hang, crash or answer with what is no number; alone and under everything else."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import threading

import pytest
import torch
from torch.func import vmap

from metaphys.physics import (
    Device,
    DeviceError,
    OscillatorArray,
    PhysicsAware,
    Ports,
    SimulatedDevice,
    WithArchive,
    WithLimits,
    WithNoise,
    WithRetries,
)


class Bench(Device):
    """Doubles its drive, unless its next entry says how it fails."""

    ports = Ports(2, {"k": ()}, 2)

    def __init__(self, *script):
        self.script, self.asked, self.let_go = list(script), 0, threading.Event()

    def __repr__(self):
        return "Bench 7"

    def _read(self, drive, controls):
        self.asked += 1
        how = self.script.pop(0) if self.script else "works"
        if how == "crashes":
            raise OSError("the port is gone")
        if how == "refuses":
            raise ValueError("could not convert 12,3 to float")
        if how == "hangs":
            self.let_go.wait(30)
        readout = 2 * drive
        if how == "nan":
            readout[0, 1] = torch.nan
        return readout[:, :1] if how == "half" else readout


FAILURES = {
    "crashes": ("OSError", "port is gone"),
    "refuses": ("ValueError", "12,3"),
    "nan": ("ArithmeticError", r"1 of 6 values.*\(0, 1\)"),
    "half": ("RuntimeError", "shape"),
    "hangs": ("TimeoutError", "no answer within"),
}
K = {"k": torch.zeros(())}


def measure(device, drive=None):
    return device.measure(torch.ones(3, 2) if drive is None else drive, K)


def wrapped(bench, how, **given):
    return WithRetries(bench, **{"timeout": 0.05 if how == "hangs" else None, **given})


@pytest.fixture(autouse=True)
def default_k():
    K["k"] = torch.zeros(())


@pytest.mark.parametrize("how", FAILURES)
def test_what_failed_is_measured_again(how):
    bench = Bench(how, how)
    device = wrapped(bench, how)
    assert measure(device).equal(torch.full((3, 2), 2.0))
    assert device.failures == {FAILURES[how][0]: 2} and bench.asked == 3
    bench.let_go.set()


@pytest.mark.parametrize("how", FAILURES)
def test_after_the_last_attempt_the_error_says_all(how):
    bench = Bench(how, how, how)
    device = wrapped(bench, how, attempts=2)
    kind, said = FAILURES[how]
    with pytest.raises(DeviceError, match=rf"Bench 7.*2 of 2.*{kind}.*{said}.*--resume") as caught:
        measure(device)
    assert type(caught.value.__cause__).__name__ == kind
    assert bench.asked == 2 and device.failures == {kind: 2}
    bench.let_go.set()


def test_only_what_was_answered_counts_as_calls():
    bench = Bench("crashes", "nan", "works")
    device = WithRetries(bench)
    measure(device)
    assert device.calls == bench.calls == 6  # 3 in vain, 3 in the end; the crash answered nothing


def test_an_answer_that_comes_too_late_is_nobodys():
    bench = Bench("hangs")
    device = WithRetries(bench, timeout=0.05)
    first = measure(device, torch.zeros(1, 2))
    bench.let_go.set()
    assert measure(device).equal(torch.full((3, 2), 2.0)) and first.equal(torch.zeros(1, 2))


def test_a_bad_drive_is_not_the_devices_fault():
    bench = Bench()
    device = WithRetries(WithLimits(bench, low=0.0, high=0.5))
    with pytest.raises(ValueError, match="`drive`"):
        measure(device)
    assert bench.asked == 0 and not device.failures


def test_what_is_not_finite_on_the_way_in_may_be_so_on_the_way_out():
    bench = Bench()
    readout = measure(WithRetries(bench), torch.full((3, 2), torch.nan))
    assert bool(readout.isnan().all()) and bench.asked == 1


def test_the_device_is_recovered_before_every_further_attempt():
    bench, opened = Bench("crashes", "crashes"), []
    measure(WithRetries(bench, recover=lambda: opened.append(bench.asked)))
    assert opened == [1, 2]


def test_what_cannot_be_recovered_is_a_failed_attempt():
    def recover():
        raise OSError("no such port")

    bench = Bench("crashes")
    with pytest.raises(DeviceError, match="no such port"):
        measure(WithRetries(bench, recover=recover))
    assert bench.asked == 1


def test_pauses_double(monkeypatch):
    slept = []
    monkeypatch.setattr("metaphys.physics.wrappers._retries.time.sleep", slept.append)
    measure(WithRetries(Bench("crashes", "crashes", "crashes"), attempts=4, wait=0.5))
    assert slept == [0.5, 1.0, 2.0]


def test_an_interrupt_is_no_failure():
    class Stopped(Device):
        ports = Bench.ports

        def _read(self, drive, controls):
            raise KeyboardInterrupt

    device = WithRetries(Stopped())
    with pytest.raises(KeyboardInterrupt):
        measure(device)
    assert not device.failures


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_a_device_that_works_answers_the_same_with_and_without(timeout):
    array = OscillatorArray(3)
    controls = array.init_controls(generator=torch.Generator().manual_seed(1))
    drives = torch.linspace(-1, 1, 12).reshape(4, 3)

    def noisy():
        return WithNoise(SimulatedDevice(array), sigma=0.1, seed=7)

    expected = noisy().measure(drives, controls)
    assert WithRetries(noisy(), timeout=timeout).measure(drives, controls).equal(expected)

    def answered(device):
        pat = PhysicsAware(device, array)
        return vmap(torch.func.grad(lambda x: pat(x, controls).square().sum()))(drives)

    assert answered(WithRetries(noisy(), timeout=timeout)).equal(answered(noisy()))


def test_an_archive_around_it_keeps_what_succeeded_and_goes_on_there(tmp_path):
    def start(*script):
        bench = Bench(*script)
        return bench, WithArchive(WithRetries(bench, 2), tmp_path / "m.sqlite", name="bench")

    bench, device = start("works", "nan", "works", "crashes", "crashes")
    taken = [measure(device, torch.full((3, 2), 1.0 * n)) for n in range(2)]
    with pytest.raises(DeviceError):
        measure(device, torch.full((3, 2), 2.0))
    bench, again = start()
    found = [measure(again, torch.full((3, 2), 1.0 * n)) for n in range(3)]
    assert found[0].equal(taken[0]) and found[1].equal(taken[1])
    assert (
        again.replayed == 2 and bench.asked == 1 and again.device.failures["ArithmeticError"] == 1
    )


def test_its_state_goes_with_a_checkpoint():
    device = WithRetries(Bench("nan"))
    measure(device)
    other = WithRetries(Bench())
    other.load_state_dict(device.state_dict())
    assert other.failures == device.failures and other.calls == other.device.calls == 6


@pytest.mark.parametrize("given", [{"attempts": 0}, {"timeout": 0.0}, {"wait": -1.0}])
def test_options_out_of_range_are_refused(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"`{name}`"):
        WithRetries(Bench(), **given)
