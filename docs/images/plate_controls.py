"""Draw ``plate-controls.png``: one image through the plate under two settings of the controls.

Run as ``python docs/images/plate_controls.py``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch

from metaphys.data import digits
from metaphys.physics import Affine, Encoded, Plate

PIXELS = 196
GUARD = 100
COLORS = ("tab:blue", "tab:orange")


def image() -> torch.Tensor:
    """A digit of 14 x 14 grey levels."""
    small = digits(dtype=torch.float64).test.inputs[3].reshape(1, 1, 8, 8)
    return torch.nn.functional.interpolate(small, (14, 14), mode="bilinear").squeeze()


def main() -> None:
    """Compute the readouts and draw them."""
    plate = Plate(samples=PIXELS, guard=GUARD)
    encoded = Encoded(plate, Affine(low=-1.0, high=1.0, scale=0.5, spread=0.4))
    pixels = image()
    settings = [
        encoded.init_controls(generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in (0, 1)
    ]
    figure, axes = plt.subplots(
        2, 3, figsize=(11, 5), layout="constrained", width_ratios=(1, 2.2, 2.2)
    )
    axes[0, 0].imshow(pixels, cmap="gray_r")
    axes[0, 0].set_title("the image", fontsize=10)
    axes[0, 0].set_axis_off()
    place = torch.cartesian_prod(*[torch.linspace(0, 1, 60, dtype=torch.float64)] * 2)
    axes[1, 0].imshow(plate._shapes.at(place)[:, 3].reshape(60, 60).T, cmap="RdBu", origin="lower")
    for name, (x, y), mark in (
        ("drive", plate.design.drive_at, "v"),
        ("microphone", plate.design.microphone_at, "o"),
    ):
        axes[1, 0].plot(60 * x, 60 * y, mark, color="k", ms=6, label=name)
    axes[1, 0].legend(fontsize=7, loc="lower right")
    axes[1, 0].set_title(f"mode 4, {plate.frequencies[3] / 1e3:.1f} kHz", fontsize=10)
    axes[1, 0].set_axis_off()
    time = torch.arange(PIXELS + GUARD) / plate.rate * 1e3
    for column, (controls, color) in enumerate(zip(settings, COLORS), start=1):
        drive = encoded.drive(pixels.flatten(), controls)
        heard = encoded(pixels.flatten(), controls)
        top, bottom = axes[:, column]
        top.step(time[:PIXELS], drive, where="post", color=color, lw=0.9)
        top.set_title(f"controls {'AB'[column - 1]}", fontsize=10)
        bottom.plot(time, heard, color=color, lw=1.1)
        bottom.axvspan(time[PIXELS - 1], time[-1], color="0.92", zorder=0)
        bottom.set_xlabel("time, ms")
        for axis in (top, bottom):
            axis.set_xlim(0, time[-1])
    for row, label in ((0, "force, N"), (1, "microphone, V")):
        axes[row, 1].set_ylabel(label)
        low = min(axis.get_ylim()[0] for axis in axes[row, 1:])
        high = max(axis.get_ylim()[1] for axis in axes[row, 1:])
        for axis in axes[row, 1:]:
            axis.set_ylim(low, high)
    axes[1, 2].text(
        time[PIXELS + 4], axes[1, 2].get_ylim()[0] * 0.92, "guard: no force", fontsize=8
    )
    figure.savefig(Path(__file__).with_name("plate-controls.png"), dpi=130)


if __name__ == "__main__":
    main()
