"""Measurements on disk: found again, in order, whatever stopped the program."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
import torch

from metaphys.physics import Device, OscillatorArray, Ports, SimulatedDevice, WithArchive, WithNoise
from metaphys.physics.wrappers import _archive

ARRAY = OscillatorArray(3)
CONTROLS = {"coupling": torch.eye(3).flip(0), "force": torch.zeros(3)}


def noisy():
    return WithNoise(SimulatedDevice(ARRAY), sigma=0.1, seed=7)


def controls():
    return {name: value.to(torch.get_default_dtype()) for name, value in CONTROLS.items()}


def drives(count=4):
    return torch.linspace(-1, 1, 3 * count).reshape(count, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "measurements.sqlite"


def test_a_second_start_measures_nothing_twice_and_goes_on_with_the_same_noise(path):
    whole = noisy()
    expected = [whole.measure(drives(), controls()) for _ in range(4)]
    first = WithArchive(noisy(), path, name="a")
    before = [first.measure(drives(), controls()) for _ in range(2)]
    again = WithArchive(noisy(), path, name="a")  # as after a crash
    after = [again.measure(drives(), controls()) for _ in range(4)]
    for one, other in zip(before + after, expected[:2] + expected):
        assert one.equal(other)
    assert (again.replayed, again.calls, again.device.calls) == (2, 16, 16)
    spent = sqlite3.connect(path).execute("SELECT seconds FROM measurements ORDER BY time")
    assert again.saved == pytest.approx(sum(each for (each,) in spent.fetchall()[:2]))
    assert again.saved > 0 == first.saved
    assert not expected[0].equal(expected[1])  # the noise of each is its own


def test_a_readout_is_stored_before_it_is_seen(path):
    """A program that is killed by the step after the measurement has lost none."""
    script = f"""
import os, torch
from metaphys.physics import OscillatorArray, SimulatedDevice, WithArchive
array = OscillatorArray(3)
device = WithArchive(SimulatedDevice(array), {str(path)!r}, name="a")
device.measure(torch.ones(2, 3), array.init_controls(generator=torch.Generator().manual_seed(0)))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    device = WithArchive(SimulatedDevice(ARRAY), path, name="a")
    drive = torch.ones(2, 3, dtype=torch.float32)
    given = ARRAY.init_controls(generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    assert device.measure(drive, given).equal(ARRAY(drive, given))
    assert device.replayed == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_readout_comes_back_to_the_bit_in_its_dtype(path, dtype):
    given = {name: value.to(dtype) for name, value in CONTROLS.items()}
    drive = drives().to(dtype)
    taken = WithArchive(SimulatedDevice(ARRAY), path, name="a").measure(drive, given)
    found = WithArchive(SimulatedDevice(ARRAY), path, name="a").measure(drive, given)
    assert found.dtype == dtype and found.equal(taken) and taken.equal(ARRAY(drive, given))


@pytest.mark.parametrize("change", ["drive", "controls", "dtype", "shape", "name"])
def test_what_differs_is_another_measurement(path, change):
    WithArchive(noisy(), path, name="a").measure(drives(), controls())
    device = WithArchive(noisy(), path, name="b" if change == "name" else "a")
    drive, given = drives(), controls()
    if change == "drive":
        drive[0, 0] += 1e-12
    elif change == "controls":
        given["force"] = given["force"] + 1e-12
    elif change == "dtype":
        drive, given = drive.float(), {n: c.float() for n, c in given.items()}
    elif change == "shape":
        drive = drive.unsqueeze(1)
    device.measure(drive, given)
    assert device.replayed == 0 and device.device.calls == 4


class Failing(Device):
    """Off, until somebody switches it on."""

    ports = Ports(2, {}, 2)
    broken = True

    def _read(self, drive, controls):
        if self.broken:
            raise RuntimeError("the bench is off")
        return 2 * drive


def test_a_measurement_that_failed_was_none(path):
    bench = Failing()
    device = WithArchive(bench, path, name="bench")
    with pytest.raises(RuntimeError, match="bench is off"):
        device.measure(torch.ones(1, 2), {})
    bench.broken = False
    assert device.measure(torch.ones(1, 2), {}).tolist() == [[2, 2]]
    assert device.replayed == 0 and device.calls == 1
    rows = sqlite3.connect(path).execute("SELECT device, occurrence, calls FROM measurements")
    assert rows.fetchall() == [("bench", 0, 1)]


def test_its_state_goes_with_a_checkpoint(path):
    device = WithArchive(noisy(), path, name="a")
    first = device.measure(drives(), controls())
    state = device.state_dict()
    second = device.measure(drives(), controls())
    again = WithArchive(noisy(), path, name="a")
    again.load_state_dict(state)
    assert again.measure(drives(), controls()).equal(second) and not second.equal(first)
    assert again.calls == 8


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    wrong = tmp_path / "notes.txt"
    wrong.write_text("not a database at all, but long enough to be read as one\n" * 20)
    with pytest.raises(ValueError, match=r"`path`.*archive.*notes\.txt"):
        WithArchive(noisy(), wrong, name="a")
    assert wrong.read_text().startswith("not a database")


def test_a_file_that_another_program_writes_to_is_waited_for_then_named(path, monkeypatch):
    monkeypatch.setattr(_archive, "PATIENCE", 0.01)
    device = WithArchive(noisy(), path, name="unit")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ValueError, match=r"`path` must be .* \(database is locked\)\. Another pro"):
        device.measure(drives(), controls())
    other.execute("ROLLBACK")
    other.close()
    assert device.measure(drives(), controls()).shape == (4, 3)


def test_a_name_is_wanted(path):
    with pytest.raises(TypeError, match="`name`"):
        WithArchive(noisy(), path, name=7)
    assert not path.exists()
