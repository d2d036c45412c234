# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100

# %% [markdown]
# # Bring your own device
#
# A device is anything that answers a drive with a readout: a converter card, an oscilloscope, a
# folder that a colleague's program watches, a circuit simulator. metaphys asks two things of it:
# the sizes of what goes in and comes out, and a method that takes a batch. Counting calls, checking
# shapes, limits, noise models and physics-aware training are then the same as for any other.
#
# The device here is a class around a piece of numpy that stands for a driver. Where ngspice is
# installed, the last part swaps in a SPICE netlist, and nothing else changes.

# %%
import os
import shutil
from typing import final

import matplotlib.pyplot as plt
import numpy as np
import torch

import metaphys
from metaphys.physics import (
    Affine,
    Circuit,
    Device,
    Encoded,
    PhysicsAware,
    Ports,
    SpiceDevice,
    WithJournal,
    WithLimits,
    circuit_netlist,
)

SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it
STEPS = 5 if SHORT else 100
SAMPLES = 32 if SHORT else 64

# %% [markdown]
# ## A driver and a class
#
# What a laboratory has is a function that takes arrays of volts and returns arrays of volts. This
# one filters like an RC element, saturates softly and adds a millivolt of noise: something that no
# one has written down as a model.


# %%
def driver(volts: np.ndarray) -> np.ndarray:
    state, out = np.zeros(len(volts)), []
    for column in volts.T:
        state = state + 0.2 * (column - state)
        out.append(np.tanh(state) + 0.05 * state**2)
    noise = np.random.default_rng(len(volts)).normal(scale=1e-3, size=volts.shape)
    return np.stack(out, axis=1) + noise


@final
class Card(Device):
    """A converter card: volts out, volts in, at as many instants."""

    def __init__(self, samples):
        self.ports = Ports(drive=samples, controls={}, readout=samples)

    def _read(self, drive, controls):
        batch = drive.reshape(-1, drive.shape[-1])  # any leading dimensions may arrive
        return driver(batch.numpy()).reshape(drive.shape)


# %% [markdown]
# Wrappers compose around it. `WithLimits` refuses a drive that would hurt the hardware *before*
# anything is sent; `WithJournal` keeps what was measured, and when.

# %%
card = WithLimits(Card(SAMPLES), low=-2.0, high=2.0)
try:
    card.measure(torch.full((1, SAMPLES), 5.0), {})
except ValueError as error:
    print(error)
print("calls so far:", card.calls)

# %% [markdown]
# ## A twin that is only roughly right
#
# PAT needs a model whose derivative shows the way. Ours knows of a low pass and nothing else, and
# has the wrong time constant. A *system* is one class too.


# %%
@final
class LowPass(metaphys.physics.System):
    """A first-order low pass: what one would guess of the card."""

    def __init__(self, samples, rate):
        self.ports = Ports(drive=samples, controls={}, readout=samples)
        lag = torch.arange(samples)[:, None] - torch.arange(samples)
        self.kernel = torch.where(lag >= 0, rate * (1 - rate) ** lag.clamp(min=0), 0.0)

    def init_controls(self, *, generator=None, dtype=None, device=None):
        """It has none of its own."""
        return {}

    def _respond(self, drive, controls, settings):
        return drive @ self.kernel.to(drive).mT


twin = LowPass(SAMPLES, rate=0.3)

# %% [markdown]
# ## Train the drive
#
# The task: find the drive for which the device's readout is a given waveform. `Encoded` turns a
# constant input and an offset for every sample into the drive, clamped to the range of the card;
# the offsets are what is trained, by three ways that differ in one word.

# %%
time = torch.linspace(0, 1, SAMPLES)
target = 0.6 * torch.sin(2 * torch.pi * 2 * time) * torch.exp(-2 * time)


def train(physics, judge):
    encoded = Encoded(physics, Affine(low=-2.0, high=2.0))
    judged = Encoded(judge, Affine(low=-2.0, high=2.0))
    controls = {"scale": torch.zeros(1, SAMPLES), "offset": torch.zeros(SAMPLES)}
    offset = controls["offset"].requires_grad_()
    optimizer = metaphys.Adam([offset], lr=0.1)
    idle, errors = torch.zeros(SAMPLES), []
    for _ in range(STEPS):
        with torch.no_grad():
            errors.append((judged(idle, controls) - target).square().mean().sqrt().item())
        optimizer.zero_grad()
        (encoded(idle, controls) - target).square().mean().backward()
        optimizer.step()
    return errors, judged(idle, controls).detach()


DEVICES = {"a card behind a class": (card, twin)}

# %% [markdown]
# ## The same with SPICE
#
# `SpiceDevice` starts ngspice on a netlist. Its twin is `Circuit`, the same circuit as equations,
# here with the wrong inductor.

# %%
if shutil.which("ngspice") and not SHORT:
    nominal = Circuit(samples=SAMPLES)
    wrong = metaphys.physics.CircuitSpread(L=0.1).single(nominal, seed=3)
    netlist, temperature = circuit_netlist(nominal)
    spice = SpiceDevice(netlist, samples=SAMPLES, temperature=temperature)
    DEVICES["a netlist in ngspice"] = (spice, wrong)
else:
    print("ngspice is not installed, or this is the short form: only the class is shown")

# %%
results = {}
for name, (device, model) in DEVICES.items():
    aware = PhysicsAware(WithJournal(device), model)
    results[name] = {
        "physics-aware": train(aware, aware),
        "in silico": train(model, aware),
    }
    for way, (errors, _) in results[name].items():
        print(f"{name}: {way:14s} error {errors[0]:.3f} V, after {STEPS} steps {errors[-1]:.4f} V")

# %%
figure, axes = plt.subplots(
    len(results), 2, figsize=(9, 3 * len(results)), layout="constrained", squeeze=False
)
for (left, right), (name, ways) in zip(axes, results.items()):
    left.plot(target, color="k", lw=3, alpha=0.25, label="wanted")
    for way, (errors, readout) in ways.items():
        left.plot(readout, lw=1.2, label=way)
        right.semilogy(errors, label=way)
    left.set(title=name, xlabel="sample", ylabel="readout (V)")
    right.set(xlabel="training step", ylabel="error on the device (V)")
    left.legend()
plt.show()

# %% [markdown]
# In silico stops at the error of the model. Physics-aware training passes it and is still falling,
# with the same model, because it asks the device what it did. For an instrument of yours, replace
# the body of `_read`.
