"""`metaphys characterize`: what it prints, stores and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metaphys.cli import main

MINE = """
from metaphys.physics import Device, Ports

class Doubler(Device):
    ports = Ports(40, {}, 40)

    def _read(self, drive, controls):
        return 2 * drive

def opened():
    return Doubler()

number = 3
"""


@pytest.fixture(autouse=True)
def float32(laboratory: None) -> None:
    """A person's default dtype."""
    torch.set_default_dtype(torch.float32)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["characterize", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_a_simulated_unit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ["circuit", "--low", "-0.3", "--high", "0.3", "--noise", "0.002", "--run-dir", str(run)]
    assert main(["characterize", *given]) == 0
    out = capsys.readouterr().out
    for word in ("SNR", "delay", "memory", "THD", "guard time", "device calls", "no clipping"):
        assert word in out
    assert out.rstrip().endswith(f"picture: {run / 'characterization.png'}")
    found = json.loads((run / "characterization.json").read_text())
    assert found["repeatability"]["sigma"] == pytest.approx(0.002, rel=0.05)
    assert found["rate"] == 1e6 and f"{found['calls']}" in out
    assert (run / "characterization.png").read_bytes().startswith(b"\x89PNG")
    # A second run replaces nothing unasked.
    assert "Give --overwrite" in failed(capsys, *given)
    assert main(["characterize", *given, "--overwrite"]) == 0


@pytest.mark.parametrize("name", ["opened", "Doubler"])
def test_a_device_of_ones_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    run = ["--run-dir", str(tmp_path / name)]
    assert main(["characterize", f"{tmp_path / 'mine.py'}:{name}", *run]) == 0
    out = capsys.readouterr().out
    assert "repeats to the last bit" in out and "delay" not in out
    assert (tmp_path / name / "characterization.png").stat().st_size > 5_000


def test_what_is_no_device_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    run = ("--run-dir", str(tmp_path / "run"))
    mine = str(tmp_path / "mine.py")
    assert "one of circuit, plate" in failed(capsys, "pendulum", *run)
    assert "an existing file" in failed(capsys, f"{tmp_path / 'no.py'}:opened", *run)
    assert "no such name" in failed(capsys, f"{mine}:closed", *run)
    assert "a Device, or a function" in failed(capsys, f"{mine}:number", *run)
    assert "can be imported" in failed(capsys, "metaphys_no_such_module:x", *run)
    assert "`low` must be" in failed(capsys, "plate", "--low", "2", *run)
    assert "`unit` must be a seed" in failed(capsys, "plate", "--unit", "-1", *run)
    assert not (tmp_path / "run").exists()
