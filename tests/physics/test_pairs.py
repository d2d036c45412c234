"""Recorded pairs: three formats, and errors that name the file and the line or field."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import builtins
import importlib.util
import pickle

import numpy as np
import pytest
import torch

from metaphys.physics import Pairs, read_pairs, write_pairs

needs_h5py = pytest.mark.skipif(
    importlib.util.find_spec("h5py") is None, reason="the package h5py is not installed"
)
FORMATS = ["a.npz", "a.csv", pytest.param("a.h5", marks=needs_h5py)]


def recording(generator, guard=3):
    drives = torch.randn(4, 6, generator=generator)
    readouts = torch.randn(4, 6 + guard, generator=generator)
    return Pairs(drives, readouts, rate=192e3, drive_unit="N", readout_unit="V")


@pytest.mark.parametrize("guard", [0, 3])
@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_comes_back(name, guard, tmp_path, generator):
    pairs = recording(generator, guard)
    write_pairs(tmp_path / name, pairs)
    found = read_pairs(tmp_path / name, rate=192e3, drive_unit="N", readout_unit="V")
    assert found.drives.equal(pairs.drives) and found.readouts.equal(pairs.readouts)
    assert found.rate == pytest.approx(192e3, rel=1e-9)
    assert (found.drive_unit, found.readout_unit) == ("N", "V")


@pytest.mark.parametrize("name", FORMATS)
def test_units_and_rate_are_checked(name, tmp_path, generator):
    file = tmp_path / name
    write_pairs(file, recording(generator))
    with pytest.raises(ValueError, match=rf"{name}: drive_unit` must be 'mN', but got 'N'"):
        read_pairs(file, drive_unit="mN")
    with pytest.raises(ValueError, match=rf"{name}: readout_unit` must be 'Pa', but got 'V'"):
        read_pairs(file, readout_unit="Pa")
    with pytest.raises(ValueError, match=rf"{name}: rate` must be 48000.0 Hz, but got 19"):
        read_pairs(file, rate=48e3)


def test_without_a_rate_there_is_no_time(tmp_path):
    pairs = Pairs(torch.ones(2, 3), torch.ones(2, 1))
    write_pairs(tmp_path / "a.npz", pairs)
    assert read_pairs(tmp_path / "a.npz").rate is None
    with pytest.raises(ValueError, match="rate` must be 5"):
        read_pairs(tmp_path / "a.npz", rate=5.0)
    with pytest.raises(ValueError, match="column of time"):
        write_pairs(tmp_path / "a.csv", pairs)
    assert not (tmp_path / "a.csv").exists()


HEADER = "record,time [s],drive [V],readout [V]\n"
BODY = "0,0,1,2\n0,1e-6,1,2\n1,0,1,2\n1,1e-6,1,2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a header and lines, but got 0"),
        ("a,b,c,d\n" + BODY, "line 1` must be a header of the columns record, time"),
        (HEADER.replace("[s]", "[ms]") + BODY, r"line 1: time` must be in \[s\], but got ms"),
        (HEADER + "0,0,1\n", "line 2` must be 4 cells, but got 3"),
        (HEADER + BODY.replace("0,1e-6,1,2", "0,1e-6,1,x"), "line 3: readout`.*'x'"),
        (HEADER + BODY.replace("0,1e-6,1,2", "0,1e-6,inf,2"), "line 3: drive`.*'inf'"),
        (HEADER + BODY.replace("0,1e-6,1,2", "0,,1,2"), "line 3: time`.*''"),
        (HEADER + BODY.replace("1,1e-6,1,2", "1,2e-6,1,2"), "line 5: time` must be 1e-06 s after"),
        (HEADER + BODY.replace("1,1e-6,1,2\n", ""), "line 4: record 1` must be of 2 drives and 2"),
        (HEADER + "0,0,,2\n0,1e-6,,2\n", "line 2: record 0` must be of 0 drives"),
        (HEADER + "0,0,1,2\n0,1e-6,,2\n0,2e-6,1,2\n", "line 4: drive` must be empty after"),
        (HEADER + "0,0,1,2\n", "records of 2 lines or more, but got 1"),
    ],
)
def test_a_csv_is_refused_by_its_line(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "a.csv")


def test_what_a_spreadsheet_writes_is_read(tmp_path):
    text = "\ufeff" + HEADER.replace(",", " ,") + BODY.replace("\n", "\r\n") + "\r\n,,,\r\n"
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read_pairs(tmp_path / "a.csv").drives.equal(torch.ones(2, 2))


FIELDS = {"drive": np.ones((2, 3)), "readout": np.ones((2, 4)), "rate": 1e3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drive": None}, "a.npz: drive` must be there, but got"),
        ({"drive": np.ones(3)}, r"a.npz: drive` must be of shape \(records, samples\)"),
        ({"drive": np.array([["x"]])}, "drive` must be of real numbers"),
        ({"drive": np.ones((2, 0))}, "drive` must be not empty"),
        ({"readout": np.ones((3, 4))}, "readout` must be 2 rows"),
        ({"readout": np.full((2, 4), np.nan)}, r"readout` must be finite, but got nan at \(0, 0\)"),
        ({"rate": 0.0}, "rate` must be one number > 0"),
        ({"rate": "fast"}, "rate` must be one number > 0"),
    ],
)
def test_an_npz_is_refused_by_its_field(change, message, tmp_path):
    fields = {name: value for name, value in {**FIELDS, **change}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **fields)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "a.npz")


def test_nothing_in_a_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("run",))

    np.savez(tmp_path / "a.npz", **{**FIELDS, "drive": np.array([Trap()], dtype=object)})
    with pytest.raises(ValueError, match="plain arrays"):
        read_pairs(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(1))
    with pytest.raises(ValueError, match="plain arrays"):
        read_pairs(tmp_path / "b.npz")


@needs_h5py
def test_hdf5_is_refused_by_its_field(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["drive"] = np.ones((2, 3))
        file.create_group("readout")
    with pytest.raises(ValueError, match=r"a.h5: readout` must be a data set"):
        read_pairs(tmp_path / "a.h5")
    (tmp_path / "b.hdf5").write_bytes(b"no")
    with pytest.raises(ValueError, match="a readable HDF5 file"):
        read_pairs(tmp_path / "b.hdf5")


def test_without_h5py_the_remedy_is_named(tmp_path, monkeypatch, generator):
    genuine = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'", name="h5py")
        return genuine(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.h5").touch()
    for act in (read_pairs, lambda path: write_pairs(path, recording(generator))):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "metaphys\[hdf5\]"'):
            act(tmp_path / "a.h5")


def test_paths_are_refused(tmp_path, generator):
    with pytest.raises(FileNotFoundError, match=r"nowhere.npz"):
        read_pairs(tmp_path / "nowhere.npz")
    (tmp_path / "a.mat").touch()
    with pytest.raises(ValueError, match=r"one of .npz, .csv, .h5, .hdf5"):
        read_pairs(tmp_path / "a.mat")
    with pytest.raises(ValueError, match=r"one of .npz"):
        write_pairs(tmp_path / "a.mat", recording(generator))
    with pytest.raises(ValueError, match="`readouts` must be 2, one for each drive"):
        Pairs(torch.ones(2, 3), torch.ones(3, 3))
