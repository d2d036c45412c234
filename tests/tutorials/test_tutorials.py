"""Every tutorial runs, shows a picture, and what its text says of its figures holds."""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

TUTORIALS = Path(__file__).parents[2] / "tutorials"
NEEDS = {"01_bilevel_optimization": "graphviz", "06_maml_tabular_mdp": "gymnasium"}


def _bilevel(names: dict[str, Any]) -> None:
    for value in ("by_hand", "by_meta_optimizer", "by_meta_sgd"):
        assert names[value].item() == -28
    for name in ("before the step: a", "after the step: a", "outer loss"):
        assert name in names["graph"].source
    torch.testing.assert_close(names["through_the_loop"], names["of_the_formula"])
    for path in names["paths"].values():
        assert path[-1][1] < path[0][1]


def _unrolls(names: dict[str, Any]) -> None:
    torch.testing.assert_close(names["between"], names["slopes"][49:51].mean(), rtol=1e-2, atol=0)
    wanted = names["alone"]["coupling"]
    torch.testing.assert_close(names["meta_gradients"]["coupling"][3], wanted)
    assert (names["unit"].calls, names["fleet"].calls) == (64, 320)
    full, *others = names["costs"].values()
    for found in others:
        torch.testing.assert_close(found[-1][2], full[-1][2], rtol=1e-3, atol=1e-7)
        assert found[-1][0] < full[-1][0]


def _physics_aware(names: dict[str, Any]) -> None:
    pairs = list(zip(names["cosines"]["physics-aware"], names["cosines"]["in silico"]))
    assert pairs and all(aware > 0.8 > in_silico for aware, in_silico in pairs)
    start = {reached[0] for reached, _ in names["runs"].values()}
    assert len({step for step, _ in start}) == 1


def _meta_training(names: dict[str, Any]) -> None:
    for rates in names["meta_rates"].values():
        assert rates.isfinite().all() and (rates != 1).any()
    for values in names["found"].values():
        assert values.shape == (names["UNITS"], 6) and ((values >= 0) & (values <= 1)).all()


def _three_systems(names: dict[str, Any]) -> None:
    for name in ("circuit", "SHG"):
        assert min(names["cosines"][name]["PAT"]) > 0.95
    assert set(names["cosines"]) == {"plate", "circuit", "SHG"}
    for name, gaps in names["gaps"].items():
        assert len(gaps) == len(names["cosines"][name]["in silico"]) == names["UNITS"]
        assert all(0 < gap < 1.5 for gap in gaps)


def _own_device(names: dict[str, Any]) -> None:
    # A step judges on the device, and physics-aware training asks it once more; both end so.
    assert names["card"].calls == 3 * names["STEPS"] + 2
    for ways in names["results"].values():
        for errors, readout in ways.values():
            assert errors[-1] < errors[0] and readout.shape == names["target"].shape


def _maml(names: dict[str, Any]) -> None:
    assert list(names["summary"]["methods"]) == ["maml", "mlp", "tabular"]
    assert Path("runs/tutorial-06/pictures/learning.png").exists()


CLAIMS: dict[str, Callable[[dict[str, Any]], None]] = {
    "01_bilevel_optimization": _bilevel,
    "02_unrolls_and_adjoints": _unrolls,
    "03_physics_aware_training": _physics_aware,
    "04_meta_training": _meta_training,
    "05_three_systems": _three_systems,
    "06_maml_tabular_mdp": _maml,
    "07_bring_your_own_device": _own_device,
}


def test_every_tutorial_is_in_the_table():
    assert {path.stem for path in TUTORIALS.glob("*.py")} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_tutorial_runs_and_its_claims_hold(name, monkeypatch, tmp_path, capsys):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures: list[Path] = []

    def show() -> None:
        pictures.append(tmp_path / f"{len(pictures)}.png")
        pyplot.savefig(pictures[-1])
        pyplot.close("all")

    monkeypatch.setattr(pyplot, "show", show)
    monkeypatch.setenv("METAPHYS_SHORT", "1")
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # what a reader has; the laboratory puts it back
    CLAIMS[name](runpy.run_path(str(TUTORIALS / f"{name}.py"), run_name="__main__"))
    assert pictures and all(picture.stat().st_size > 5000 for picture in pictures)


# Editions in other languages ----------------------------------------------------------------

EDITIONS = sorted(TUTORIALS.glob("*/*.py"))


def cells(path: Path) -> tuple[list[str], list[str]]:
    """The code and the text cells of a percent script, in order."""
    code, text = [], []
    for cell in path.read_text(encoding="utf-8").split("\n# %%")[1:]:
        (text if cell.startswith(" [markdown]") else code).append(cell.removeprefix(" [markdown]"))
    return code, text


def without_comments(cell: str) -> str:
    """What a code cell does, whatever its comments and docstrings say."""
    tree = ast.parse(cell)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


@pytest.mark.parametrize("path", EDITIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_edition_has_the_code_of_its_original(path):
    (code, text), (own_code, own_text) = cells(TUTORIALS / path.name), cells(path)
    assert list(map(without_comments, own_code)) == list(map(without_comments, code))
    assert len(own_text) == len(text)


def test_a_changed_cell_would_be_seen():
    assert without_comments("x = 1  # one") == without_comments("# 一\nx = 1")
    assert without_comments("x = 1") != without_comments("x = 2")
