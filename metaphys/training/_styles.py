"""What each method of meta-training looks like in every picture."""

from __future__ import annotations

# Okabe and Ito: told apart with every kind of colour vision; the markers tell them apart in grey.
STYLES = {
    "linear classifier": ("#707070", "_"),
    "another unit's": ("#A06060", "<"),
    "in silico": ("#56B4E9", "o"),
    "in silico + fine-tuning": ("#0072B2", "s"),
    "sharpness-aware": ("#A98BD6", "X"),
    "sharpness-aware + fine-tuning": ("#5B3A94", "p"),
    "population start": ("#E69F00", "^"),
    "population start + fine-tuning": ("#8C6100", "v"),
    "twin fitted by Gauss-Newton": ("#000000", "x"),
    "meta-learned start, not adapted": ("#CC79A7", "D"),
    "meta-learned": ("#D55E00", "P"),
    "full training": ("#009E73", "*"),
}
OTHER = ("#404040", "h")


def style(name: str) -> tuple[str, str]:
    """Colour and marker of a method."""
    return STYLES.get(name, OTHER)
