"""The command line: what it prints, how it fails, how it is stopped and goes on."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import metaphys
from metaphys._runs import Silent, load_tensors
from metaphys.cli import main
from metaphys.cli._failures import explain
from metaphys.cli._main import resume_command
from metaphys.rl import Config as RLConfig
from metaphys.training import RunDirectory, TrainConfig, read_config, read_metrics, train
from metaphys.training.unit import _report
from tests.training.runs import finished

TINY = (
    "--units 1 --labels 4 --queries 4 --adapt-steps 1 --meta-units 1 --pool 2 --nominal-steps 30 "
    "--population-steps 10 --meta-steps 10 --full-epochs 1 --epoch-steps 5"
).split()


@pytest.fixture(autouse=True)
def float32(laboratory: None) -> None:
    """A person's default dtype."""
    torch.set_default_dtype(torch.float32)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ("info", "meta-train", "adapt", "report")),
        (("info",), ("--data-root PATH", "--debug")),
        (("meta-train",), ("--run-dir PATH", "--resume", "--quick", "--coupling-spread", "rad")),
        (
            ("train",),
            ("--run-dir PATH", "--resume", "--quick", "--rule", "ngspice", "--spsa-directions"),
        ),
        (("recalibrate",), ("--run-dir PATH", "--resume", "--quick", "--budgets", "--spread")),
        (("drift",), ("--run-dir PATH", "--resume", "--quick", "--walk", "--intervals")),
        (("rl",), ("--run-dir PATH", "--resume", "--quick", "--methods", "--outer-iters")),
        (("adapt",), ("--checkpoint PATH", "--unit INT", "20,000")),
        (("report",), ("RUN_DIR [RUN_DIR ...]", "--output PATH")),
    ],
)
def test_help_of_every_command(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)
    assert "tyro" not in out
    assert "Options" not in out  # The name of a class of ours is no word for a user.


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"metaphys {metaphys.__version__}\n"


def test_info_says_what_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["info", "--data-root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert facts["metaphys"] == metaphys.__version__
    assert facts["torch"] == torch.__version__
    assert facts["kernels"].endswith(metaphys.ops.status().reason)
    assert facts["digits"].startswith("found")
    assert facts["mnist"].startswith("not usable: ")
    assert facts["extra lab"] == "complete"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "info, meta-train, train, adapt, recalibrate, drift, report"),
        (["nonsense"], "nonsense"),
        (["info", "extra"], "extra"),
        (["meta-train", "--labels", "many"], "--labels"),
        (["meta-train", "--system", "pendulum"], "pendulum"),
        (["meta-train", "--data", "cats"], "cats"),
        (["meta-train", "--labls", "5"], "--labls"),
        (["train", "--system", "laser"], "laser"),
        (["train", "--rule", "magic"], "magic"),
        (["train", "--device", "fpga"], "fpga"),
        (["rl", "--seeds", "a few"], "--seeds"),
        (["adapt"], "--checkpoint"),
        (["adapt", "--checkpoint", "x", "--unit", "first"], "first"),
        (["report", "--outptu", "x"], "--outptu"),
    ],
)
def test_nonsense_is_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert named in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "0"], "`labels` must be >= 1, but got 0."),
        (["--meta-lr", "-1"], "`meta_lr` must be > 0 and finite, but got -1.0."),
        (["--meta-lr", "nan"], "`meta_lr` must be > 0 and finite, but got nan."),
        (["--labels", "5000"], "`labels` must be at most 1078"),
        (["--pool", "3"], "`pool` must be a divisor"),
        (["--coupling-limit", "inf"], "`limits['coupling']` must be > 0 and finite, but got inf."),
        (["--data", "mnist"], "root` must be"),
        (["--data", "mnist", "--data-root", "nowhere"], "root` must be"),
        (["--resume", "--overwrite"], "`resume` must be given without --overwrite"),
    ],
)
def test_meta_train_refuses_before_it_makes_a_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    directory = tmp_path / "run"
    assert message in failed(capsys, "meta-train", "--run-dir", str(directory), *arguments)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "`steps` must be >= 1, but got 0."),
        (["--system", "shg", "--device", "spice"], "`system` must be circuit where"),
        (["--system", "shg"], "but got 64. Images shrink by `pool`"),
        (["--data", "vowels"], "`data_root` must be the folder"),
        (["--data", "vowels", "--data-root", "nowhere"], "`root` must be the folder with"),
        (["--data", "mnist", "--data-root", "nowhere"], "root` must be"),
        (["--system", "oscillators", "--rule", "dfa"], "inside the physics"),
        (["--resume", "--overwrite"], "`resume` must be given without --overwrite"),
    ],
)
def test_train_refuses_before_it_makes_a_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    directory = tmp_path / "run"
    assert message in failed(capsys, "train", "--run-dir", str(directory), *arguments)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "sarsa"], "`methods` must be names among"),
        (["--tasks", "-3"], "`tasks` must be >= 1, but got -3."),
        (["--seed", "-1"], "`seed` must be from 0 to 2**62 - 1, but got -1."),
        (["--seed", f"{2**70}"], "`seed` must be from 0 to 2**62 - 1"),
        (["--resume", "--overwrite"], "`resume` must be given without --overwrite"),
    ],
)
def test_rl_refuses_before_it_makes_a_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    directory = tmp_path / "run"
    assert message in failed(capsys, "rl", "--run-dir", str(directory), *arguments)
    assert not directory.exists()


def test_rl_stopped_by_ctrl_c_says_how_to_go_on_and_ends_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = "--outer-iters 60 --evaluate-every 20 --evaluation-tasks 4 --test-tasks 8 --tasks 4"
    given = ["rl", "--methods", "maml", "tabular", *few.split(), "--run-dir"]
    code, lines = interrupted([*given, str(tmp_path / "parts")], "tabular, seed 0: 0/")
    assert code == 130
    assert not (tmp_path / "parts" / "metrics.csv").exists()
    again = lines[-1].split()
    assert again == ["metaphys", *given, str(tmp_path / "parts"), "--resume"]
    assert main(again[1:]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^optimal +\d+\.\d\d$", out, re.M)
    assert re.search(r"^tabular +\d+\.\d\d$", out, re.M)
    page = tmp_path / "parts" / "report.html"
    assert out.rstrip().endswith(f"report: {page}")
    first = page.read_bytes()
    assert main(["report", str(tmp_path / "parts")]) == 0 and page.read_bytes() == first
    assert main([*given, str(tmp_path / "whole")]) == 0
    parts, whole = ((tmp_path / run / "metrics.csv").read_bytes() for run in ("parts", "whole"))
    assert parts == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--units", "0"], "`units` must be >= 1, but got 0."),
        (["--noise", "inf"], "`noise` must be finite, but got inf."),
        (["--gain", "nan"], "`gain` must be finite, but got nan."),
        (["--gain", "-1"], "`gain` must be > -1, but got -1.0."),
        (["--amplitude", "inf"], "`amplitude` must be finite, but got inf."),
        (["--start-lr", "inf"], "`start_lr` must be finite, but got inf."),
        (["--coupling-limit", "inf"], "`coupling_limit` must be finite, but got inf."),
        (["--force-limit", "0"], "`force_limit` must be > 0, but got 0.0."),
        (["--budgets", "50", "20"], "`budgets` must be ascending numbers >= 1"),
        (["--data-root", "nowhere"], "nowhere"),
    ],
)
def test_recalibrate_refuses_before_it_makes_a_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    directory = tmp_path / "run"
    assert message in failed(capsys, "recalibrate", "--run-dir", str(directory), *arguments)
    assert not directory.exists()


def test_recalibrate_stopped_by_ctrl_c_says_how_to_go_on_and_ends_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["recalibrate", "--quick", "--budgets", "6", "12", "--run-dir"]
    code, lines = interrupted([*given, str(tmp_path / "parts")], "in silico: 0/")
    assert code == 130 and not (tmp_path / "parts" / "metrics.csv").exists()
    again = lines[-1].split()
    assert again == ["metaphys", *given, str(tmp_path / "parts"), "--resume"]
    assert main(again[1:]) == 0
    out = capsys.readouterr().out
    for method, calls in (("recalibrated", 12), ("Gauss-Newton", 12), ("in silico", 0)):
        name = f"{method}, {calls} calls" if calls else method
        assert re.search(rf"^{name} +\d+\.\d.* % +0 +{calls}$", out, re.M)
    assert "figures mean nothing" in out.replace("\n", " ")
    page = tmp_path / "parts" / "report.html"
    assert out.rstrip().endswith(f"report: {page}")
    first = page.read_bytes()
    assert main(["report", str(tmp_path / "parts")]) == 0 and page.read_bytes() == first
    assert main([*given, str(tmp_path / "whole")]) == 0
    parts, whole = ((tmp_path / run / "metrics.csv").read_bytes() for run in ("parts", "whole"))
    assert parts == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--units", "0"], "`units` must be >= 1, but got 0."),
        (["--calls", "1"], "`calls` must be >= 2, a call of each layer, but got 1."),
        (["--system", "shg"], "but got 64. Images shrink by `pool`"),
        (["--data", "vowels", "--data-root", "nowhere"], "`root` must be the folder with"),
    ],
)
def test_drift_refuses_before_it_makes_a_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    directory = tmp_path / "run"
    assert message in failed(capsys, "drift", "--run-dir", str(directory), *arguments)
    assert not directory.exists()


def test_drift_prints_what_each_method_kept_and_its_report_is_written_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = "--quick --layers 1 --units 1 --intervals 2 --run-dir".split()
    assert main(["drift", *few, str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    for method, labels, calls in (("filter", 0, 5), ("no adaptation", 0, 0), ("fine-tuning", 5, 5)):
        assert re.search(rf"^{method} +(\d+\.\d % +){{4}}{labels} +{calls}$", out, re.M)
    assert "figures mean nothing" in out.replace("\n", " ")
    page = tmp_path / "run" / "report.html"
    first = page.read_bytes()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert page.read_bytes() == first
    assert resume_command(["drift", "--overwrite"]) == ["metaphys", "drift", "--resume"]


def interrupted(given: list[str], at: str) -> tuple[int, list[str]]:
    """Exit code and error lines of a command that got Ctrl-C when a line began with ``at``."""
    command, lines = [sys.executable, "-m", "metaphys", *given], []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if line.startswith(at):
                process.send_signal(signal.SIGINT)
    return process.returncode, lines


def test_train_without_ngspice_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert "Install the package ngspice" in failed(capsys, "train", "--device", "spice")


def test_a_training_from_start_to_report_is_stopped_and_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["train", "--system", "plate", "--layers", "1", "--batch", "4", "--steps", "60"]
    code, lines = interrupted([*given, "--run-dir", str(tmp_path / "parts")], "pat: 0/")
    assert code == 130
    assert not (tmp_path / "parts" / "metrics.csv").exists()
    again = lines[-1].split()
    assert again == ["metaphys", *given, "--run-dir", str(tmp_path / "parts"), "--resume"]
    assert main(again[1:]) == 0
    out = capsys.readouterr().out
    assert re.search(r"exact gradient +\d+\.\d % +0\n", out)
    assert out.rstrip().endswith(f"report: {tmp_path / 'parts' / 'report.html'}")
    config = TrainConfig(system="plate", layers=1, batch=4, steps=60)
    train(config, RunDirectory(tmp_path / "whole", config.to_json()), Silent())
    for name in ("metrics.csv", "curves.json"):
        parts, whole = ((tmp_path / run / name).read_bytes() for run in ("parts", "whole"))
        assert parts == whole
    monkeypatch.setattr(_report, "_draw", lambda *given: [])
    assert main(["report", str(tmp_path / "whole"), "--output", str(tmp_path / "again.html")]) == 0
    assert "Training a physical network on one unit" in (tmp_path / "again.html").read_text()


def test_meta_train_loses_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    given = ("meta-train", "--run-dir", str(run))
    assert "Continue it with --resume" in failed(capsys, *given)
    assert "'seed': '0 instead of 4'" in failed(capsys, *given, "--resume", "--seed", "4")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    other = ("meta-train", "--overwrite", "--run-dir", str(tmp_path / "mine"))
    assert "holds something else" in failed(capsys, *other)
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("content", "unit", "message"),
    [
        (None, "1", "`checkpoint` must be an existing .safetensors file"),
        (b"", "1", "`checkpoint` must be a readable safetensors file"),
        (b"\x80\x04K\x01.", "1", "`checkpoint` must be a readable safetensors file"),
        (b"", "-1", "`unit` must be a seed >= 0, but got -1."),
    ],
)
def test_adapt_refuses_what_is_no_model(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: bytes | None,
    unit: str,
    message: str,
) -> None:
    file = tmp_path / "model.safetensors"
    if content is not None:
        file.write_bytes(content)
    assert message in failed(capsys, "adapt", "--checkpoint", str(file), "--unit", unit)


def test_report_refuses_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    assert "`run_dir` must be at least one" in failed(capsys, "report")
    assert "nowhere" in failed(capsys, "report", str(tmp_path / "nowhere"))
    assert "`output` must be" in failed(capsys, "report", str(run), "--output", "x.pdf")
    RunDirectory(tmp_path / "rl", RLConfig().to_json())
    assert "with a metrics.csv" in failed(capsys, "report", str(tmp_path / "rl"))
    both = failed(capsys, "report", str(run), str(tmp_path / "rl"))
    assert "got runs of meta-train and of rl" in both


def test_report_is_written_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    runs = [str(finished(tmp_path / str(seed), seed=seed)[0]) for seed in (0, 1)]
    assert main(["report", *runs, "--output", str(tmp_path / "both.html")]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'both.html'}\n"
    assert (tmp_path / "both.html").stat().st_size > 10_000


def test_a_run_from_start_to_report_and_adapt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(["meta-train", *TINY, "--quick", "--run-dir", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "figures mean nothing" in out
    assert re.search(r"meta-learned +\d+\.\d % +4 +4\n", out)
    assert out.rstrip().endswith(f"report: {run / 'report.html'}")
    assert "\x1b" not in out + err
    assert "meta-learning: done in" in err
    given = ["adapt", "--checkpoint", str(run / "model.safetensors"), "--unit", "20007"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert re.search(r"accuracy after +\d+\.\d %", out)
    assert re.search(r"device calls +4\n", out)
    assert (run / "adapted-20007.safetensors").exists()


STOPPED = """
import sys
from metaphys.training import _judge
_judge.GRID = {("SGD", "cross entropy"): (1.0, 2.0)}
from metaphys.cli import main
sys.exit(main(sys.argv[1:]))
"""


LONG = ["meta-train", *TINY, "--meta-steps", "60", "--run-dir"]


def stopped(run: Path, number: signal.Signals) -> tuple[int, list[str]]:
    """Exit code and error lines of a run that got a signal in the middle of meta-learning."""
    command = [sys.executable, "-c", STOPPED, *LONG, str(run), "--overwrite"]
    seen = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            seen.append(line)
            if line.startswith("meta-learning: 0/"):
                time.sleep(0.2)
                process.send_signal(number)
    return process.returncode, seen


def test_a_run_stopped_by_ctrl_c_says_how_to_go_on_and_ends_the_same(tmp_path: Path) -> None:
    parts, whole = (tmp_path / name for name in ("parts", "whole"))
    code, lines = stopped(parts, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in "".join(lines)
    assert not (parts / "metrics.csv").exists()
    again = lines[-1].split()
    assert again[:2] == ["metaphys", "meta-train"]
    assert "--overwrite" not in again
    assert main(again[1:]) == 0
    assert main([*LONG, str(whole)]) == 0
    assert read_metrics(parts / "metrics.csv") == read_metrics(whole / "metrics.csv")
    ours, theirs = (load_tensors(run / "model.safetensors") for run in (parts, whole))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_what_is_stopped_before_it_began_is_not_said_to_be_stored(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: list[str],
) -> None:
    def pressed(*given: object) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    config = TrainConfig(seed=7)
    RunDirectory(run, config.to_json())
    monkeypatch.setattr("metaphys.training.unit._machine.build_machine", pressed)
    assert main(["train", "--run-dir", str(run), *options]) == 130
    assert capsys.readouterr().err == "\nstopped.\n"
    assert read_config(run)["config"]["seed"] == 7


def test_what_is_stopped_once_it_began_is_said_to_be_stored(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def pressed(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metaphys.training.unit._machine.build_machine", lambda config: None)
    monkeypatch.setattr("metaphys.training.train", pressed)
    given = ["train", "--run-dir", str(tmp_path / "run")]
    assert main([*given, "--overwrite"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"  metaphys {' '.join(given)} --resume"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OverflowError("Python int too large to convert to C ssize_t"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        TypeError("full(): argument 'size' failed ... \"Overflow when unpacking long long"),
    ],
)
def test_options_that_ask_for_too_much_are_said_to(error: Exception) -> None:
    said = explain(error)
    assert said is not None and said.startswith("the options ask for more than this machine has (")


def test_numbers_beyond_the_tensor_library(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = ("--run-dir", str(tmp_path / "run"))
    err = failed(capsys, "rl", *run, "--test-tasks", f"{10**30}")
    assert "the options ask for more than this machine has (" in err


def test_a_terminated_run_is_stored(tmp_path: Path) -> None:
    code, lines = stopped(tmp_path / "run", signal.SIGTERM)
    assert code == 143
    assert lines[-1].rstrip().endswith("--resume")
    assert (tmp_path / "run" / "checkpoints" / "meta-learning.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoints" / "meta-learning.done").exists()


def test_debug_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        main(["report", str(tmp_path), "--debug"])
    monkeypatch.setenv("METAPHYS_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["report", str(tmp_path)])


def test_our_own_faults_are_not_put_on_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(root: Path | None) -> None:
        raise TypeError("unsupported operand")

    monkeypatch.setattr("metaphys.cli._info.facts", broken)
    with pytest.raises(TypeError, match="unsupported"):
        main(["info"])


def test_what_our_checks_raise_is_explained_whatever_its_type() -> None:
    from metaphys._errors import refuse

    with pytest.raises(TypeError) as caught:
        refuse("rule", expected="a Rule", got=3, error=TypeError)
    assert explain(caught.value) == "`rule` must be a Rule, but got 3."
    assert explain(TypeError("unsupported operand")) is None


@pytest.mark.parametrize("module", ["tyro", "rich", "safetensors", "jinja2", "matplotlib"])
def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    module: str,
) -> None:
    run, _ = finished(tmp_path / "run")
    genuine = importlib.util.find_spec

    def find(name: str, package: str | None = None):
        return None if name == module else genuine(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    for loaded in [
        name
        for name in sys.modules
        if name.startswith(("metaphys._runs", "metaphys.cli._", "metaphys.training"))
    ]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    err = failed(capsys, "report", str(run))
    assert module in err
    assert 'pip install "metaphys[lab]"' in err


def test_a_module_and_a_reader_that_leaves() -> None:
    command = [sys.executable, "-m", "metaphys", "info"]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write)
    assert ended.returncode == 141
    assert ended.stderr == ""
