"""How pictures look: colours, markers, type; and turning a figure into bytes."""

from __future__ import annotations

import io
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

# Okabe and Ito: told apart with every kind of colour vision; the markers tell them apart in grey.
STYLES = {
    "linear classifier": ("#707070", "_"),
    "in silico": ("#56B4E9", "o"),
    "in silico + fine-tuning": ("#0072B2", "s"),
    "population start": ("#E69F00", "^"),
    "population start + fine-tuning": ("#8C6100", "v"),
    "meta-learned start, not adapted": ("#CC79A7", "D"),
    "meta-learned": ("#D55E00", "P"),
    "full training": ("#009E73", "*"),
}
OTHER = ("#404040", "h")
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


def style(name: str) -> tuple[str, str]:
    """Colour and marker of a method."""
    return STYLES.get(name, OTHER)
