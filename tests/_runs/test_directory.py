"""Run directories: whole files, runs that stop and go on, and everything that is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from metaphys._runs import (
    RunDirectory,
    load_tree,
    read_config,
    read_metrics,
    save_tree,
)
from metaphys._saving import write_atomically

CONFIG = {"seed": 0, "lr": 0.1}
State = dict[str, torch.Tensor]


def start() -> State:
    return {"x": torch.linspace(0, 1, 5), "count": torch.tensor(0)}


def step(state: State, index: int) -> State:
    noise = torch.randn(5, generator=torch.Generator().manual_seed(index))
    return {"x": (1.1 * state["x"] + noise).sin(), "count": state["count"] + 1}


def assert_same(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "other").write_bytes(b"")
    ours, other = ((tmp_path / name).stat().st_mode for name in ("ours", "other"))
    assert ours == other


def test_a_tree_survives_whatever_memory_it_shares(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    tree = {"a": (base.T, [base[0], base[0]]), "b": base[:1].expand(4, 3)}
    save_tree(tmp_path / "tree", tree, {"kind": "test"})
    there = load_tree(tmp_path / "tree", tree)
    assert there["a"][0].equal(base.T)
    assert there["a"][1][1].equal(base[0])
    assert there["b"].equal(tree["b"])


def test_a_checkpoint_of_other_tensors_is_refused(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", {"a": torch.zeros(2)}, {})
    with pytest.raises(ValueError, match=r"`checkpoint` .*without \['b'\].*with \['a'\]"):
        load_tree(tmp_path / "tree", {"b": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"`checkpoint` .*shape \(3,\).*shape \(2,\)"):
        load_tree(tmp_path / "tree", {"a": torch.zeros(3)})


def test_a_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "tree")
    with pytest.raises(ValueError, match="`checkpoint` must be a readable safetensors file"):
        load_tree(tmp_path / "tree", {"a": torch.zeros(2)})


@pytest.mark.parametrize("stop", [0, 1, 4, 6])
@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
def test_a_phase_that_stopped_ends_with_the_same_bits(
    tmp_path: Path, stop: int, error: type[BaseException]
) -> None:
    whole = RunDirectory(tmp_path / "whole", CONFIG).run_phase("p", start(), step, 7)

    def stopping(state: State, index: int) -> State:
        if index == stop:
            raise error
        return step(state, index)

    first = RunDirectory(tmp_path / "parts", CONFIG)
    with pytest.raises(error):
        first.run_phase("p", start(), stopping, 7)
    assert not first.finished("p")
    second = RunDirectory(tmp_path / "parts", CONFIG, resume=True)
    seen: list[int] = []
    parts = second.run_phase("p", start(), step, 7, advance=seen.append)
    assert_same(parts, whole)
    assert seen == list(range(stop, 8))
    assert second.finished("p")


def test_a_phase_killed_without_a_word_goes_on_from_the_last_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunDirectory(tmp_path / "whole", CONFIG).run_phase("p", start(), step, 7)
    run = RunDirectory(tmp_path / "parts", CONFIG)
    kept = run._store

    def store(file: Path, index: int, state: Any) -> None:
        if index > 3:
            raise SystemExit  # As if the process had ended here, with nothing stored.
        kept(file, index, state)

    monkeypatch.setattr(run, "_store", store)
    with pytest.raises(SystemExit):
        run.run_phase("p", start(), step, 7, every_seconds=-1)
    seen: list[int] = []
    again = RunDirectory(tmp_path / "parts", CONFIG, resume=True)
    assert_same(again.run_phase("p", start(), step, 7, advance=seen.append), whole)
    assert seen[0] == 3


def test_a_finished_phase_is_not_run_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    whole = run.run_phase("p", start(), step, 3)

    def never(state: State, index: int) -> State:
        raise AssertionError

    assert_same(run.run_phase("p", start(), never, 3), whole)


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.run_phase("p", start(), step, 3)
    file = tmp_path / "checkpoints" / "p.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"`checkpoint` .*p\.safetensors"):
        run.run_phase("p", start(), step, 3)


def test_a_checkpoint_of_another_state_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.run_phase("p", start(), step, 3)
    with pytest.raises(ValueError, match=r"`checkpoint` .*another system or configuration"):
        run.run_phase("p", {"y": torch.zeros(2)}, lambda state, index: state, 3)


def test_it_stores_what_the_run_depends_on(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "a" / "b", CONFIG)
    stored = read_config(tmp_path / "a" / "b")
    assert stored["config"] == CONFIG
    assert stored["environment"]["torch"] == torch.__version__
    assert os.sep not in stored["environment"]["command"].split()[0]


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match=f"`run_dir` .*{tmp_path.name}"):
            RunDirectory(tmp_path, CONFIG, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="`run_dir`"):
        RunDirectory(tmp_path / "file", CONFIG)


def test_a_config_of_another_program_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "other"}')
    (tmp_path / "metrics.csv").write_text("theirs")
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match="`run_dir` must be a directory that holds a run"):
            RunDirectory(tmp_path, CONFIG, **options)
    assert (tmp_path / "metrics.csv").read_text() == "theirs"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "metaphys run"}'])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="`run_dir`"):
        RunDirectory(tmp_path, CONFIG, resume=True)


def test_a_directory_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="`run_dir` must be a folder that can be made"):
        RunDirectory(tmp_path / "file" / "run", CONFIG)


def test_a_run_of_another_command_is_not_resumed(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"same command and version.*methods"):
        RunDirectory(tmp_path, {**CONFIG, "methods": ["maml"]}, resume=True)


def test_a_run_is_neither_lost_nor_mixed_by_accident(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG)
    with pytest.raises(FileExistsError, match="--resume, or delete it with --overwrite"):
        RunDirectory(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"'lr': '0\.1 instead of 0\.2'"):
        RunDirectory(tmp_path, {**CONFIG, "lr": 0.2}, resume=True)


def test_overwrite_deletes_what_is_ours_alone(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.run_phase("p", start(), step, 1)
    run.write_json("curves.json", {})
    (tmp_path / "notes.txt").write_text("mine")
    again = RunDirectory(tmp_path, {"seed": 1}, overwrite=True)
    assert not again.finished("p")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]
    assert read_config(tmp_path)["config"] == {"seed": 1}


ROW = {"method": "a, b", "seed": 0, "unit": -1, "labels": 5, "device_calls": 9, "accuracy": 0.5}


def test_they_come_back_as_written(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG).write_metrics([ROW, {**ROW, "method": 'quoted "x"'}])
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows == [ROW, {**ROW, "method": 'quoted "x"'}]


def test_a_row_without_a_column_writes_nothing(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.write_metrics([ROW])
    with pytest.raises(KeyError):
        run.write_metrics([{"method": "a"}])
    assert read_metrics(tmp_path / "metrics.csv") == [ROW]


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`run_dir` .*meta-train.*--resume"):
        read_metrics(tmp_path / "metrics.csv")


def test_a_missing_column_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("method,seed\na,1\n")
    with pytest.raises(ValueError, match=r"`metrics.csv` .*'accuracy'.*metrics\.csv"):
        read_metrics(tmp_path / "metrics.csv")


@pytest.mark.parametrize("bad", ["a,0,1,5,9,high", "a,zero,1,5,9,0.5", "a,0,1,5", "a,0,1,5,9,"])
def test_what_is_no_number_is_named_with_file_and_line(tmp_path: Path, bad: str) -> None:
    head = ",".join(ROW)
    (tmp_path / "metrics.csv").write_text(f"{head}\na,0,1,5,9,0.5\n{bad}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 3"):
        read_metrics(tmp_path / "metrics.csv")
