"""Store what a stack of plates reaches on the embedded digits: ``plate-digits.json``, and a page.

Run as ``python docs/results/plate.py``. Trained are the plates' drives alone, in silico by plain
autograd and then on units by physics-aware training, with the nominal plate as the twin and with
the plate's own impulse response, measured by a least-squares fit to the answers to random drives.
MNIST is in ``mnist_units.py``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from metaphys.data import Dataset, Split, digits
from metaphys.nn import WaveformNetwork, run_on
from metaphys.physics import Device, PhysicsAware, Plate, PlateSpread
from metaphys.physics._convolve import convolve

HERE = Path(__file__).parent
SIDE, BATCH, LAYERS, WINDOWS, SEED = 14, 64, 6, 100, 0
UNITS = (0, 1, 2)
WAVEFORMS = 20  # random drives of each plate from which its twin is measured
SPREAD = PlateSpread()
HEAD = """# {layers} plates, one after the other: {data}

Nothing is trained but the drives, {physical_parameters} numbers, and one factor on the logits. A
unit differs from the nominal plate by 5 % in thickness, 30 % in each damping, 2 % of the sides in
the places of drive and microphone and 10 % in gain (standard deviations); its readouts have an SNR
of 30 dB. Trained for {silico} epochs in silico, then {unit} on each unit, noise included; one value
for each unit ({units}), seed {seed}.

The thickness alone shifts 30 kHz by 1.5 kHz, more than a period in the millisecond of a record: the
gradient of the nominal plate then says little about the unit, and physics-aware training with it as
the twin can fail. A twin that was measured first, with {measuring} device calls, does not.

"""
SNR = 30.0  # dB, of each readout


def _resized(split: Split) -> Split:
    side = math.isqrt(split.inputs.shape[1])
    images = split.inputs.reshape(-1, 1, side, side)
    if side != SIDE:
        images = interpolate(images, (SIDE, SIDE), mode="bilinear")
    return Split(images.flatten(1), split.targets)


def _train(net: nn.Module, data: Split, epochs: int, lr: float) -> None:
    """Adam with a cosine to zero, from the same order of images every time."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    batches = len(data) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        order = torch.randperm(len(data), generator=generator)
        for index in order[: batches * BATCH].reshape(batches, BATCH):
            loss = cross_entropy(net(data.inputs[index]), data.targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _accuracy(net: nn.Module, data: Split) -> float:
    with torch.no_grad():
        parts = [net(part).argmax(-1) for part in data.inputs.split(1000)]
    return float((torch.cat(parts) == data.targets).double().mean())


def _linear(train: Split, test: Split) -> float:
    """A linear classifier on the same pixels, trained in the same way."""
    net = nn.Linear(SIDE**2, 10)
    _train(net, train, 6, lr=0.01)
    return _accuracy(net, test)


def _measured(device: Device) -> Callable[[Tensor, Any], Tensor]:
    """The twin of a linear plate: the convolution with the kernel that fits its answers best."""
    n = device.ports.drive
    generator = torch.Generator().manual_seed(SEED)
    drives = 2 * torch.rand(WAVEFORMS, n, generator=generator) - 1
    answers = device.measure(drives, {})
    delay = torch.arange(n).unsqueeze(-1) - torch.arange(n)
    rows = torch.where(delay >= 0, drives[:, delay.clamp(min=0)], torch.zeros(()))
    kernel = torch.linalg.lstsq(rows.flatten(0, 1), answers.flatten()).solution
    return lambda drive, controls: convolve(kernel, drive)


def collect(data: Dataset, epochs: int, retrained: int, units: Sequence[int]) -> dict[str, Any]:
    """The accuracies, in the units' order."""
    begin = time.perf_counter()
    train, test = _resized(data.train), _resized(data.test)
    generator = torch.Generator().manual_seed(SEED)
    net = WaveformNetwork(
        Plate(samples=SIDE**2), 10, layers=LAYERS, last=WINDOWS, generator=generator
    )
    _train(net, train, epochs, lr=0.02)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    reached = _accuracy(net, test)
    noise = net._level * 10 ** (-SNR / 20)
    moved, nominal, measured, calls = [], [], [], []
    for seed in units:
        hardware = [p.unit(seed) for p in net.populations(SPREAD, noise=noise)]
        twins = {"nominal": net.systems, "measured": [_measured(device) for device in hardware]}
        for found, name in ((nominal, "nominal"), (measured, "measured")):
            net.load_state_dict(start)
            with run_on(net, *map(PhysicsAware, hardware, twins[name])):
                if name == "nominal":
                    moved.append(_accuracy(net, test))
                before = sum(device.calls for device in hardware)
                _train(net, train, retrained, lr=0.01)
                calls.append(sum(device.calls for device in hardware) - before)
                found.append(_accuracy(net, test))
    return {
        "experiment": f"plate-{data.name}",
        "torch": torch.__version__,
        "seed": SEED,
        "layers": LAYERS,
        "epochs in silico": epochs,
        "epochs on the unit": retrained,
        "physical_parameters": sum(p.numel() for p in net.layers.parameters()),
        "digital_parameters": 1,
        "linear classifier": data.linear_accuracy or _linear(train, test),
        "in silico": reached,
        "in silico, moved to a unit": moved,
        "trained on the unit, nominal twin": nominal,
        "trained on the unit, measured twin": measured,
        "calls of a unit's plates to train": calls[0],
        "calls to measure its twins": LAYERS * WAVEFORMS,
        "seconds": round(time.perf_counter() - begin),
    }


def page(result: dict[str, Any]) -> str:
    """The table."""

    def points(value: float | list[float]) -> str:
        values = value if isinstance(value, list) else [value]
        return ", ".join(f"{100 * v:.1f}" for v in values)

    rows = (
        "linear classifier",
        "in silico",
        "in silico, moved to a unit",
        "trained on the unit, nominal twin",
        "trained on the unit, measured twin",
    )
    head = HEAD.format(
        data=result["experiment"].removeprefix("plate-"),
        silico=result["epochs in silico"],
        unit=result["epochs on the unit"],
        units=len(result["in silico, moved to a unit"]),
        measuring=result["calls to measure its twins"],
        **{name: result[name] for name in ("layers", "physical_parameters", "seed")},
    )
    lines = ["| | test accuracy, % |", "|---|---|"]
    lines += [f"| {row} | {points(result[row])} |" for row in rows]
    time = f"{result['seconds']} s on one core of a busy machine"
    foot = f"`python docs/results/plate.py`, torch {result['torch']}, {time}."
    return head + "\n".join(lines) + f"\n\n{foot}\n"


def main() -> None:
    """Run, store, print."""
    torch.set_num_threads(1)
    result = collect(digits(dtype=torch.float32), epochs=60, retrained=15, units=UNITS)
    (HERE / f"{result['experiment']}.json").write_text(json.dumps(result, indent=2) + "\n")
    (HERE / f"{result['experiment']}.md").write_text(page(result))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
