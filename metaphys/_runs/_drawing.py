"""How pictures look, and turning a figure into bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from metaphys._saving import write_atomically

WIDTH = 6.0  # inches; with 9 points of type it stays legible on a phone

SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#606060",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.hashsalt": "metaphys",  # The same numbers give the same file.
    "figure.constrained_layout.use": True,
}


def rendered(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """The bytes of a picture; the same figure gives the same bytes."""
    file = io.BytesIO()
    with rc_context(SETTINGS):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(file, format=kind, metadata=metadata, dpi=160)
    return file.getvalue()


def store(figure: Figure, stem: Path) -> bytes:
    """Write the picture as SVG and PNG; the SVG."""
    vector = rendered(figure, "svg")
    write_atomically(stem.with_suffix(".svg"), vector)
    write_atomically(stem.with_suffix(".png"), rendered(figure, "png"))
    return vector
