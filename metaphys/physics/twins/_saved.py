"""Twins on disk: ``twin.json`` says what it is, ``twin.safetensors`` holds its numbers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaphys._errors import check, refuse
from metaphys._saving import write_atomically
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics.twins._corrected import Corrected
from metaphys.physics.twins._network import NetworkTwin

VERSION = 1


def save_twin(folder: str | Path, twin: System, **facts: Any) -> None:
    """Write a twin: numbers as safetensors, the rest as JSON, nothing that could run.

    Args:
        folder: where the two files go; made if need be.
        twin: a :class:`NetworkTwin`, a :class:`Corrected`, or a system with a mismatch, of which
            only the mismatch is stored.
        facts: what JSON can hold and a reader should know, such as ``after=fitted.after``.

    Raises:
        TypeError: another kind of system.
        ModuleNotFoundError: safetensors is not installed.

    Example:
        >>> from tempfile import mkdtemp
        >>> from metaphys.physics import Circuit, CircuitSpread
        >>> folder = mkdtemp()
        >>> save_twin(folder, CircuitSpread().single(Circuit(), seed=1), after=0.002)
        >>> load_twin(folder, Circuit()).mismatch.L.shape
        torch.Size([])
    """
    safetensors, _ = _safetensors()
    place = Path(folder)
    about, tensors = _taken_apart(twin)
    whole = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    text = json.dumps({"metaphys twin": VERSION, **about, "facts": facts}, indent=2) + "\n"
    # The description last: where it is, the numbers are there too.
    write_atomically(place / "twin.safetensors", safetensors.save(whole))
    write_atomically(place / "twin.json", text.encode())


def load_twin(folder: str | Path, system: System | None = None) -> Any:
    """Read what :func:`save_twin` wrote.

    Args:
        folder: where the two files are.
        system: the nominal system whose mismatch was stored; ``None`` for a network.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, or one that belongs to another system.

    Example:
        >>> from tempfile import mkdtemp
        >>> from metaphys.physics import Ports
        >>> folder, ports = mkdtemp(), Ports(drive=3, controls={}, readout=2)
        >>> save_twin(folder, NetworkTwin(ports, hidden=[8]))
        >>> load_twin(folder)
        NetworkTwin([3, 8, 2], modes=2)
    """
    (safetensors, damaged), place = _safetensors(), Path(folder)
    about = _read(place / "twin.json")
    file = place / "twin.safetensors"
    if not file.is_file():
        refuse("folder", expected=f"one that holds {file.name}", got=place, error=FileNotFoundError)
    try:
        tensors = safetensors.load(file.read_bytes())
        return _put_together(about, tensors, system)
    except (damaged, KeyError, RuntimeError) as error:
        refuse(str(place), expected="an undamaged twin", got=error)


def _taken_apart(twin: System) -> tuple[dict[str, Any], dict[str, Tensor]]:
    ports = {"drive": twin.ports.drive, "readout": twin.ports.readout}
    if isinstance(twin, NetworkTwin):
        shape = {"hidden": twin.mean.sizes[1:-1], "noise_hidden": twin.noise.sizes[1:-1]}
        about = {"kind": "network", "ports": {**ports, "controls": twin.ports.controls}}
        tensors = {f"mean.{n}": v for n, v in twin.mean.state_dict().items()}
        tensors |= {f"noise.{n}": v for n, v in twin.noise.state_dict().items()}
        return {**about, **shape, "modes": twin.modes}, tensors
    if isinstance(twin, Corrected):
        inner, tensors = _taken_apart(twin.system)
        own = {f"correction.{n}": v for n, v in twin.correction.state_dict().items()}
        hidden = twin.correction.sizes[1:-1]
        return {"kind": "corrected", "system": inner, "hidden": hidden}, {**tensors, **own}
    mismatch: Any = getattr(twin, "mismatch", None)
    kind, fits = type(twin).__name__, dataclasses.is_dataclass(mismatch)
    expected = "a NetworkTwin, a Corrected, or a system with a mismatch"
    check(fits, "twin", expected=expected, got=kind, error=TypeError)
    named = {f.name: getattr(mismatch, f.name) for f in dataclasses.fields(mismatch)}
    tensors = {f"mismatch.{n}": v for n, v in named.items() if v is not None}
    nominal: Any = twin
    about = {"kind": "mismatch", "system": repr(nominal.with_mismatch(None)), "ports": ports}
    return about, tensors


def _put_together(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], system: System | None
) -> System:
    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}

    if about["kind"] == "network":
        ports = about["ports"]
        known = Ports(ports["drive"], _shapes(ports["controls"]), ports["readout"])
        given = {name: about[name] for name in ("hidden", "noise_hidden", "modes")}
        twin = NetworkTwin(known, **given)
        twin.mean.load_state_dict(part("mean."))
        twin.noise.load_state_dict(part("noise."))
        return twin
    remedy = "Give the nominal system that the twin was made from."
    check(system is not None, "system", expected="given", got=None, remedy=remedy)
    if about["kind"] == "corrected":
        physics = _put_together(about["system"], tensors, system)
        twin = Corrected(physics, hidden=about["hidden"])
        twin.correction.load_state_dict(part("correction."))
        return twin
    nominal: Any = system
    own = repr(nominal.with_mismatch(None))
    check(own == about["system"], "system", expected=about["system"], got=own, remedy=remedy)
    return nominal.with_mismatch(type(nominal.mismatch)(**part("mismatch.")))


def _shapes(tree: Any) -> Any:
    """Shapes are tuples; JSON knows lists alone. Controls by name are dicts of shapes."""
    if isinstance(tree, dict):
        return {name: _shapes(value) for name, value in tree.items()}
    return tuple(tree)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        refuse("folder", expected="one that holds twin.json", got=path, error=FileNotFoundError)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        refuse(str(path), expected="readable JSON", got=error)
    found = about.get("metaphys twin") if isinstance(about, dict) else None
    check(found == VERSION, str(path), expected=f"a twin of version {VERSION}", got=found)
    return about


def _safetensors() -> Any:
    """The module, and what it raises."""
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        text = 'Twins are stored by safetensors. Install it with pip install "metaphys[lab]".'
        raise ModuleNotFoundError(text, name="safetensors") from error
    return safetensors.torch, safetensors.SafetensorError
