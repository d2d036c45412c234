"""Drivers, folders and references: devices of a laboratory."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import os
import pickle
import threading

import numpy as np
import pytest
import torch

from metaphys.physics import (
    FileDevice,
    Instrument,
    OscillatorArray,
    OscillatorMismatch,
    Plate,
    Ports,
    SimulatedDevice,
    WithDrift,
    WithReference,
    answer_requests,
)

PORTS = Ports(drive=3, controls={"gain": ()}, readout=2)


def amplified(drive, controls):
    return controls["gain"] * drive[:, :2]


# A driver -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 1, 4, 100])
def test_a_driver_gets_arrays_in_batches(batch, generator):
    sizes = []

    def read(drive, controls):
        assert isinstance(drive, np.ndarray) and isinstance(controls["gain"], np.ndarray)
        sizes.append(len(drive))
        return amplified(drive, controls)

    device = Instrument(read, PORTS, batch=batch)
    drive = torch.randn(2, 5, 3, generator=generator)
    readout = device.measure(drive, {"gain": torch.tensor(3.0)})
    torch.testing.assert_close(readout, 3 * drive[..., :2])
    expected = {None: [10], 1: [1] * 10, 4: [4, 4, 2], 100: [10]}[batch]
    assert sizes == expected and device.calls == 10
    assert device.measure(drive[:0], {"gain": torch.tensor(3.0)}).shape == (0, 5, 2)


def test_an_instrument_belongs_to_one_process():
    device = Instrument(amplified, PORTS)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(device)
    device._process = os.getpid() + 1  # what a forked worker sees
    with pytest.raises(RuntimeError, match="Measure in the main process"):
        device.measure(torch.ones(3), {"gain": torch.tensor(3.0)})
    assert device.calls == 0


def test_an_instrument_refuses_what_does_not_fit():
    with pytest.raises(TypeError, match="`read`"):
        Instrument(3, PORTS)
    with pytest.raises(ValueError, match="`batch`"):
        Instrument(amplified, PORTS, batch=0)
    device = Instrument(lambda drive, controls: drive, PORTS)
    with pytest.raises(RuntimeError, match=r"an array of shape \(1, 2\), but got \(1, 3\)"):
        device.measure(torch.ones(3), {"gain": torch.tensor(3.0)})
    with pytest.raises(ValueError, match="one setting"):
        device.measure(torch.ones(4, 3), {"gain": torch.ones(4)})


# A folder -------------------------------------------------------------------------------------


def file_device(folder, **arguments):
    given = {"rate": 1e6, "drive_unit": "V", "readout_unit": "mV", "timeout": 0.02}
    return FileDevice(folder, PORTS, **{**given, "interval": 0.005, **arguments})


CONTROLS = {"gain": torch.tensor(3.0, dtype=torch.float64)}


def test_a_request_says_what_is_asked_and_waits(tmp_path, generator):
    device = file_device(tmp_path / "new")
    drive = torch.randn(2, 2, 3, generator=generator)
    with pytest.raises(TimeoutError, match=r"answer-000000-\w{12}.npz to appear, but got 0.02 s"):
        device.measure(drive, CONTROLS)
    assert device.calls == 0
    (request,) = (tmp_path / "new").iterdir()
    with np.load(request) as fields:
        np.testing.assert_array_equal(fields["drive"], drive.reshape(4, 3).numpy())
        assert fields["control:gain"] == 3.0 and fields["rate"] == 1e6
        assert fields["drive_unit"] == "V" and fields["readout_unit"] == "mV"
        assert str(fields["id"]) == request.stem.removeprefix("request-")
    # Asked again it is the same request; answered, the program goes on.
    with pytest.raises(TimeoutError):
        device.measure(drive, CONTROLS)
    assert list((tmp_path / "new").iterdir()) == [request]
    assert answer_requests(tmp_path / "new", amplified) == 1
    torch.testing.assert_close(device.measure(drive, CONTROLS), 3 * drive[..., :2])
    assert device.calls == 4


def test_an_answer_that_comes_while_waiting_is_taken(tmp_path):
    device = file_device(tmp_path, timeout=30.0)

    def laboratory():
        while not answer_requests(tmp_path, amplified):
            pass

    colleague = threading.Thread(target=laboratory)
    colleague.start()
    readout = device.measure(torch.ones(1, 3), CONTROLS)
    colleague.join()
    assert readout.equal(torch.full((1, 2), 3.0))


def test_a_stopped_program_finds_its_answers_and_asks_the_rest(tmp_path):
    asked = []

    def answer(drive, controls):
        asked.append(drive)
        return amplified(drive, controls) + len(asked)

    def program(device, count):
        readouts = []
        for number in range(count):
            try:
                readouts.append(device.measure(torch.full((1, 3), 1.0 * (number // 2)), CONTROLS))
            except TimeoutError:
                answer_requests(tmp_path, answer)
                readouts.append(device.measure(torch.full((1, 3), 1.0 * (number // 2)), CONTROLS))
        return torch.cat(readouts)

    first = program(file_device(tmp_path), 3)
    assert len(asked) == 3 and not first[0].equal(first[1])  # the same drive is measured anew
    again = program(file_device(tmp_path), 5)
    assert len(asked) == 5 and again[:3].equal(first)
    # A checkpoint goes on with the number that it had.
    device, resumed = file_device(tmp_path), file_device(tmp_path)
    program(device, 2)
    resumed.load_state_dict(device.state_dict())
    assert resumed.measure(torch.ones(1, 3), CONTROLS).equal(again[2:3])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "readout` must be there"),
        ({"readout": np.ones((2, 2))}, r"readout` must be of shape \(1, 2\)"),
        ({"readout": np.array([["a", "b"]])}, "of real numbers"),
        ({"readout": np.ones((1, 2)), "readout_unit": "V"}, "readout_unit` must be 'mV'"),
        ({"readout": np.ones((1, 2)), "rate": 5e5}, "rate` must be 1000000.0"),
        ({"readout": np.ones((1, 2)), "id": "000001-x"}, "id` must be '000000-"),
        (None, "readable .npz of plain arrays"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_by_file_and_field(tmp_path, fields, message):
    device = file_device(tmp_path)
    with pytest.raises(TimeoutError):
        device.measure(torch.ones(1, 3), CONTROLS)
    (request,) = tmp_path.iterdir()
    answer = tmp_path / request.name.replace("request", "answer")
    if fields is None:
        answer.write_bytes(b"half of it")
    else:
        np.savez(answer, **fields)
    with pytest.raises(ValueError, match=message) as caught:
        device.measure(torch.ones(1, 3), CONTROLS)
    assert answer.name in str(caught.value) and device.calls == 0
    # Deleted and answered again, it goes on.
    answer.unlink()
    answer_requests(tmp_path, amplified)
    assert device.measure(torch.ones(1, 3), CONTROLS).shape == (1, 2)


def test_a_folder_is_refused_with_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="`timeout` must be > 0"):
        file_device(tmp_path, timeout=0.0)
    with pytest.raises(ValueError, match="by name"):
        FileDevice(tmp_path, Ports(drive=1, controls=((),), readout=1))
    with pytest.raises(ValueError, match="one setting"):
        file_device(tmp_path).measure(torch.ones(4, 3), {"gain": torch.ones(4)})
    assert list(tmp_path.iterdir()) == []


# A reference ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [[120], [50, 50, 20], [7] * 17 + [1], [49, 2, 69]])
def test_references_lie_at_the_same_calls_however_samples_are_batched(batches, generator):
    plate = SimulatedDevice(Plate(samples=8))
    drive = torch.randn(8, generator=generator)
    device = WithReference(plate, drive, interval=50)
    samples = torch.randn(120, 8, generator=generator)
    found = torch.cat([device.measure(part, {}) for part in samples.split(batches)])
    torch.testing.assert_close(found, SimulatedDevice(Plate(samples=8)).measure(samples, {}))
    assert [each.calls for each in device.references] == [0, 50, 100]
    assert device.calls == plate.calls == 123
    times = [each.time for each in device.references]
    assert times == sorted(times) and times[0] > 1e9
    assert all(each.change == 0 and each.gain == 1 for each in device.references)


def test_the_gain_of_a_drifting_device_is_seen(generator):
    drifting = WithDrift(SimulatedDevice(Plate(samples=8)), gain=0.02, seed=3)
    device = WithReference(drifting, torch.randn(8, generator=generator), interval=10)
    ones = torch.ones(1, 8)
    true = []
    for _ in range(40):
        device.measure(ones, {})
    clean = Plate(samples=8)(device._drive, {})
    true = [each.readout.norm() / clean.norm() for each in device.references]
    gains = torch.stack([each.gain for each in device.references])
    torch.testing.assert_close(gains, torch.stack(true) / true[0])
    assert len(gains) == 4 and gains.std() > 0.01
    assert device.references[-1].change == pytest.approx(abs(float(gains[-1]) - 1), rel=1e-9)


def test_a_fleet_and_settings_have_references_too(generator):
    gains = torch.tensor([[0.0], [0.1], [0.2]])
    fleet = OscillatorArray(4, mismatch=OscillatorMismatch(gain=gains))
    controls = fleet.init_controls()
    given = {"interval": 5, "controls": controls}
    device = WithReference(SimulatedDevice(fleet), torch.ones(4), **given)
    drive = torch.randn(3, 2, 6, 4, generator=generator)
    torch.testing.assert_close(device.measure(drive, controls), fleet(drive, controls))
    assert [each.calls for each in device.references] == [0, 5, 10]
    assert device.references[0].readout.shape == (3, 4) and device.calls == 36 + 9
    single = SimulatedDevice(OscillatorArray(4))
    device = WithReference(single, torch.ones(4), **given)
    many = {name: value.expand(6, *value.shape) for name, value in controls.items()}
    readout = device.measure(drive[0, 0], many)
    torch.testing.assert_close(readout, OscillatorArray(4)(drive[0, 0], controls))
    assert [each.calls for each in device.references] == [0]
    assert device.measure(drive[0, :0], controls).shape == (0, 6, 4)


def test_references_are_resumed(generator):
    def fresh():
        drifting = WithDrift(SimulatedDevice(Plate(samples=8)), gain=0.02, seed=3)
        return WithReference(drifting, torch.ones(8), interval=4)

    samples, whole, parts = torch.randn(10, 8, generator=generator), fresh(), fresh()
    whole.measure(samples, {})
    parts.measure(samples[:6], {})
    resumed = fresh()
    resumed.load_state_dict(parts.state_dict())
    resumed.measure(samples[6:], {})
    assert resumed.calls == whole.calls
    for ours, theirs in zip(resumed.references, whole.references, strict=True):
        assert ours.calls == theirs.calls and ours.readout.equal(theirs.readout)


def test_a_reference_that_does_not_fit_is_refused():
    plate = SimulatedDevice(Plate(samples=8))
    with pytest.raises(ValueError, match="`interval`"):
        WithReference(plate, torch.ones(8), interval=0)
    with pytest.raises(ValueError, match=r"`drive` must be of shape \(8,\)"):
        WithReference(plate, torch.ones(2, 8), interval=1)
    with pytest.raises(ValueError, match="`controls`"):
        WithReference(plate, torch.ones(8), interval=1, controls={"x": torch.ones(())})
    assert plate.calls == 0
