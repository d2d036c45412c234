"""Devices of the user's own on the command line: what can go wrong with them is said in a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from metaphys.cli import main
from metaphys.cli._devices import named_device
from metaphys.training import Config, build, save_model
from tests.training.runs import uniform

MINE = """
import time
from metaphys.physics import Device, Ports

class Own(Device):
    def __init__(self, answer):
        self.ports, self.answer = Ports(192, {}, 192), answer

    def _read(self, drive, controls):
        return self.answer(drive)

def good(): return Own(lambda drive: 0.3 * drive)
def double(): return Own(lambda drive: (0.3 * drive).double().numpy())
def failing(): return Own(lambda drive: 1 / 0)
def nan(): return Own(lambda drive: drive * float("nan"))
def turned(): return Own(lambda drive: drive * 1j)
def silent(): return Own(lambda drive: None)
def short(): return Own(lambda drive: drive[..., :5])
def hanging(): return Own(lambda drive: time.sleep(30))
def unplugged(): raise RuntimeError("no port /dev/tty7")
def leaving(): raise SystemExit(0)
def asking(port): return good()

class Portless(Device):
    def _read(self, drive, controls):
        return drive

class Abstract(Device):
    ports = Ports(192, {}, 192)
"""

MAKING = {
    "unplugged": "which raised RuntimeError: no port /dev/tty7 (mine.py, line ",
    "leaving": "which raised SystemExit: 0 (mine.py, line ",
    "asking": "missing 1 required positional argument: 'port'",
    "Abstract": "abstract method",
    "Portless": "`device` must be a Device with Ports, but got Portless without.",
}

MEASURING = {
    "failing": "the last time with ZeroDivisionError: division by zero",
    "nan": "are not finite",
    "turned": "`readout` must be of real numbers, but got torch.complex",
    "silent": "`readout` must be of real numbers, but got NoneType",
    "short": "192), but got ",
}


@pytest.fixture(autouse=True)
def float32(laboratory: None) -> None:
    """A person's default dtype."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A module of a user's own."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was learned of one layer of plates, with a unit's samples to adapt with."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    config = Config(system="plate", labels=4, adapt_steps=1, queries=1)
    problem = build(config)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, config, uniform(problem, 0).learned)
    torch.set_default_dtype(before)
    return path


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def adapting(model: Path, *arguments: str) -> tuple[str, ...]:
    return ("adapt", "--checkpoint", str(model), "--judged", "3", *arguments)


@pytest.mark.parametrize(("name", "message"), (MAKING | MEASURING).items())
def test_what_is_wrong_with_a_device_is_said_in_a_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], mine: Path, tmp_path: Path, name: str, message: str
) -> None:
    run = tmp_path / "run"
    assert message in failed(capsys, "characterize", f"{mine}:{name}", "--run-dir", str(run))
    assert not run.exists()


@pytest.mark.parametrize("name", ["unplugged", "Portless", "nan", "turned", "short"])
def test_adapt_writes_no_controls_for_a_device_that_fails(
    capsys: pytest.CaptureFixture[str], mine: Path, model: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "controls.safetensors"
    given = adapting(model, "--device", f"{mine}:{name}", "--output", str(output))
    assert (MAKING | MEASURING)[name] in failed(capsys, *given)
    assert not output.exists()


@pytest.mark.parametrize("name", ["good", "double"])
def test_a_device_that_answers_is_adapted_to(
    capsys: pytest.CaptureFixture[str], mine: Path, model: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "controls.safetensors"
    given = adapting(model, "--device", f"{mine}:{name}", "--output", str(output))
    assert main([*given, "--timeout", "inf"]) == 0
    assert "device calls     4\n" in capsys.readouterr().out
    assert output.exists()


def test_a_device_that_hangs_is_given_up(
    capsys: pytest.CaptureFixture[str], mine: Path, model: Path, tmp_path: Path
) -> None:
    few = ("--attempts", "2", "--timeout", "0.05")
    message = "Own() failed in 2 of 2 attempts, the last time with TimeoutError: no answer within"
    device, run = f"{mine}:hanging", ("--run-dir", str(tmp_path / "run"))
    assert message in failed(capsys, *adapting(model, "--device", device), *few)
    assert message in failed(capsys, "characterize", device, *run, *few)
    bad = ("--timeout", "nan")
    assert "`timeout` must be > 0" in failed(capsys, *adapting(model, "--device", device), *bad)
    assert "`timeout` must be > 0" in failed(capsys, "characterize", device, *run, *bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"def (", "which raised SyntaxError: invalid syntax (broken.py, line 1)"),
        (b"import metaphys_no_such", "No module named 'metaphys_no_such' (broken.py, line 1)"),
        (b"import sys\nsys.exit(0)", "which raised SystemExit: 0 (broken.py, line 2)"),
        (b"\xff\xfe", "which raised SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "broken.py").write_bytes(content)
    given = ("characterize", f"{tmp_path / 'broken.py'}:device", "--run-dir", str(tmp_path / "run"))
    assert message in failed(capsys, *given)
    assert "broken" not in sys.modules


@pytest.mark.parametrize("place", ["..package:device", ".:device", "mine.py", ":device", "mine:"])
def test_no_place(capsys: pytest.CaptureFixture[str], place: str) -> None:
    assert "or module:name or file.py:name" in failed(capsys, "characterize", place)


def test_a_file_takes_no_module_s_place(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(MINE)
    assert named_device(f"{tmp_path / 'json.py'}:good").ports.drive == 192
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--low", "-inf", "`low` must be finite"),
        ("--high", "inf", "`high` must be finite"),
        ("--rate", "inf", "`rate` must be > 0 (Hz) and finite"),
        ("--noise", "inf", "`noise` must be >= 0 and finite"),
        ("--seed", "-1", "`seed` must be from 0 to 2**50 - 1"),
        ("--seed", f"{2**70}", "`seed` must be from 0 to 2**50 - 1"),
        ("--attempts", "0", "`attempts` must be >= 1"),
    ],
)
def test_numbers_that_nothing_can_be_driven_with(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, value: str, message: str
) -> None:
    run = tmp_path / "run"
    given = ("characterize", "oscillators", "--run-dir", str(run), f"{option}={value}")
    assert message in failed(capsys, *given)
    assert not run.exists()


def test_where_nothing_can_be_written_nothing_is_measured(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    tmp_path: Path,
) -> None:
    def measured(*given: object, **named: object) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr("metaphys.physics.characterize", measured)
    monkeypatch.setattr("metaphys.training._model.judge", measured)
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "below")
    assert "`run_dir` must be" in failed(capsys, "characterize", "plate", "--run-dir", below)
    given = adapting(model, "--unit", "20000", "--output")
    assert "`output` must be in a folder" in failed(capsys, *given, below)
    assert "another file than the checkpoint" in failed(capsys, *given, str(model))
    assert model.stat().st_size > 0
