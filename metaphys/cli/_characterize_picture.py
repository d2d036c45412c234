"""The picture of a characterization: what was measured, in at most three panels."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaphys._runs._drawing import SETTINGS, WIDTH
from metaphys.physics import Characterization

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#707070"


def picture(found: Characterization) -> Figure:
    """Impulse response, decay and gain of a waveform's device; noise and signal of any other."""
    with rc_context(SETTINGS):
        if found.linear.kernel is None or found.energy is None:
            figure = Figure(figsize=(WIDTH, 2.4))
            _levels(figure.add_subplot(), found)
            return figure
        count = 2 if found.tone is None else 3
        figure = Figure(figsize=(WIDTH, 2.1 * count))
        axes = figure.subplots(count, 1)
        _kernel(axes[0], found)
        _decay(axes[1], found)
        if found.tone is not None:
            _gain(axes[2], found)
        return figure


def _kernel(axes: Axes, found: Characterization) -> None:
    assert found.linear.kernel is not None
    kernel = found.linear.kernel.numpy()
    shown = kernel[: len(found.energy) if found.energy is not None else None]
    axes.plot(np.arange(len(shown)), shown, color=BLUE, lw=1.2)
    if found.delay is not None:
        axes.axvline(found.delay, color=ORANGE, lw=1, label=f"delay {found.delay}")
        axes.legend()
    axes.set(xlabel="lag (samples)", ylabel="response", title="impulse response of the linear part")


def _decay(axes: Axes, found: Characterization) -> None:
    assert found.energy is not None
    level = found.energy.numpy()
    lags = np.arange(len(level))
    axes.plot(lags[level > -80], level[level > -80], color=BLUE, lw=1.2, label="measured")
    if found.memory:
        line = (
            level[level <= -5][0] - 10 / np.log(10) * (lags - lags[level <= -5][0]) / found.memory
        )
        kept = (line > -60) & (line <= 0)
        label = f"{found.memory:.1f} samples"
        axes.plot(lags[kept], line[kept], color=ORANGE, lw=1, ls="--", label=label)
    axes.legend()
    axes.set(xlabel="lag (samples)", ylabel="energy left (dB)", title="memory")


def _gain(axes: Axes, found: Characterization) -> None:
    tone = found.tone
    assert tone is not None
    axes.plot(tone.amplitudes, tone.gains, "o-", color=BLUE, ms=4, lw=1.2)
    if tone.compression is not None:
        axes.axvline(tone.compression, color=ORANGE, lw=1, label="1 dB compression")
        axes.legend()
    title = f"a tone of {tone.cycles} cycles, THD {100 * tone.thd:.2f} % at the top"
    axes.set(xlabel="amplitude of the drive", ylabel="gain", title=title)
    axes.set_ylim(0, 1.15 * max(tone.gains))


def _levels(axes: Axes, found: Characterization) -> None:
    noise = found.repeatability
    names = ("signal", "not linear", "noise")
    values = (noise.signal, found.linear.residual * noise.signal, noise.sigma)
    axes.barh(names, values, color=(BLUE, ORANGE, GREY), height=0.6)
    axes.invert_yaxis()
    axes.set(xlabel="root mean square of a readout", title="readouts of random drives")
    axes.grid(visible=False, axis="y")
