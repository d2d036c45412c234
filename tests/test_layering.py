"""Who may import whom: the one-way street that keeps every layer understandable alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import metaphys

PACKAGE = Path(metaphys.__file__).parent
GROUND = {"_typing", "_errors", "_options", "_tree", "_replay", "_slots", "_saving"}

MAY_IMPORT: dict[str, set[str]] = {
    "_typing": set(),
    "_errors": set(),
    "_options": {"_typing", "_errors"},
    "_tree": {"_typing", "_errors"},
    "_replay": {"_typing", "_errors"},
    "_slots": set(),
    "_saving": {"_typing", "_errors"},
    "pytree": {"_typing", "_errors"},
    "version": set(),
    "ops": GROUND,
    "_runs": GROUND | {"ops"},
    "optim": GROUND | {"ops"},
    "transform": GROUND | {"ops", "optim"},
    "schedule": GROUND | {"ops", "optim"},
    "clip": GROUND | {"ops", "optim"},
    "hook": GROUND | {"ops", "optim"},
    "alias": GROUND | {"ops", "optim"},
    "base": GROUND | {"ops", "optim"},
    "combine": GROUND | {"ops", "optim"},
    "update": GROUND | {"ops", "optim"},
    "diff": GROUND,
    "meta": GROUND | {"ops", "optim", "diff"},
    "accelerated_op": GROUND | {"ops", "optim"},
    "visual": GROUND | {"ops", "optim", "diff", "meta"},
    "physics": GROUND | {"ops", "diff"},
    "nn": GROUND | {"ops", "diff", "physics"},
    "data": GROUND,
    "rl": GROUND | {"ops", "optim", "_runs"},
}
"""What each layer may see of metaphys; itself always."""

EVERYTHING = {"training", "cli", "__init__", "__main__", "utils", "typing"}
"""Those that put the layers together: they see all of them, but only its own door sees cli."""


def _layers() -> list[str]:
    found = [path.stem for path in PACKAGE.glob("*.py")]
    found += [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    return sorted(found)


def _imports(path: Path) -> set[str]:
    """The layers of metaphys that a file imports, wherever in it."""
    layers = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        layers |= {n.split(".")[1] for n in names if n.startswith("metaphys.") and "." in n}
    return layers & set(_layers())


DOORS = {PACKAGE / "optim" / "meta.py"}
"""Another library's path to what lies above: nothing but re-exports, and nobody's import."""


def _files(layer: str) -> list[Path]:
    single = PACKAGE / f"{layer}.py"
    inside = sorted(set((PACKAGE / layer).rglob("*.py")) - DOORS)
    return [single] if single.exists() else inside


def test_every_layer_has_its_rule():
    assert set(_layers()) <= set(MAY_IMPORT) | EVERYTHING


@pytest.mark.parametrize("layer", sorted(set(MAY_IMPORT) & set(_layers())))
def test_a_layer_sees_only_what_is_below_it(layer):
    for path in _files(layer):
        above = _imports(path) - MAY_IMPORT[layer] - {layer}
        assert not above, f"{path.relative_to(PACKAGE)} imports {sorted(above)}"


@pytest.mark.parametrize("layer", sorted(set(_layers()) - {"cli", "__main__"}))
def test_nothing_imports_the_command_line(layer):
    for path in _files(layer):
        assert "cli" not in _imports(path), f"{path.relative_to(PACKAGE)} imports cli"


def test_the_rules_are_a_one_way_street():
    for layer, below in MAY_IMPORT.items():
        for other in below:
            assert layer not in MAY_IMPORT[other]
            assert MAY_IMPORT[other] <= below | {other}, f"{layer} sees {other}, not what it sees"


def test_a_door_only_re_exports_and_nothing_in_its_layer_goes_through_it():
    for door in DOORS:
        body = ast.parse(door.read_text(encoding="utf-8")).body
        assert all(isinstance(node, (ast.Expr, ast.ImportFrom, ast.Assign)) for node in body)
        name = ".".join(door.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in _files(door.parent.name):
            assert name not in path.read_text(encoding="utf-8"), f"{path} imports {name}"


def test_an_import_upwards_would_be_seen(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(
        "def f():\n    from metaphys.optim import sgd\n    import metaphys.meta.state\n"
    )
    assert _imports(file) == {"optim", "meta"}
    file.write_text("from metaphys import ops, _tree\nimport metaphys\n")
    assert _imports(file) == {"ops", "_tree"}
