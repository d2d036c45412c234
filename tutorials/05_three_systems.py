# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100

# %% [markdown]
# # A plate, a circuit, a pulse of light
#
# Three machines classified images and vowels in Wright, Onodera et al., Nature 601, 549 (2022): a
# titanium plate that a voice coil shakes, a circuit around one transistor, and a crystal that
# doubles the frequency of a femtosecond pulse. They differ in everything but this: a drive goes in,
# a readout comes out, and whatever is trained has to share the drive with the data.
#
# Here the same few lines drive all three. The question is what PAT needs of a twin: how far may a
# unit depart from its model before the model's gradient no longer shows the way?

# %%
import os

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cosine_similarity

import metaphys
from metaphys.physics import (
    SHG,
    Affine,
    Circuit,
    CircuitSpread,
    Encoded,
    Interleaved,
    PhysicsAware,
    Plate,
    PlateDesign,
    PlateSpread,
    SHGSpread,
    SimulatedDevice,
    ThinSHG,
    TimeWindow,
)

torch.manual_seed(0)
SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it
UNITS = 2 if SHORT else 8
IMAGES = 4 if SHORT else 64

# %% [markdown]
# ## Three systems, one interface
#
# A *system* is a differentiable model: `system(drive, controls) -> readout`, batched, in SI units.
#
# | system | drive | what happens | readout |
# |---|---|---|---|
# | `Plate` | force, N, 192 kS/s | convolved with the ringing of the plate's modes | microphone, V |
# | `Circuit` | voltage, V, 1 MS/s | an RLC resonance that a transistor clips | at its base, V |
# | `SHG` | levels of a pulse shaper | every two frequencies make their sum | energies of bins |
#
# Their unit-to-unit spread is a distribution over what a workshop cannot hold: thickness, damping
# and places of a plate; values, current gain and temperature of a circuit; power, angle, chirp and
# the alignment of a laser.

# %%
window = TimeWindow(duration=16.0, points=512)  # ps
SYSTEMS = {
    "plate": (Plate(PlateDesign(modes=16)), Affine(low=-1.0, high=1.0), PlateSpread()),
    "circuit": (Circuit(), Affine(low=-2.0, high=2.0, scale=2.0), CircuitSpread()),
    "SHG": (SHG(window=window), Interleaved(), SHGSpread(coupling=0.05, dk0=1.0, shift=0.02)),
}
TWINS = {"SHG": ThinSHG(window=window)}  # the others' twin is the nominal system itself

# %% [markdown]
# Data and controls share the channel: on the plate and the circuit every sample of the drive is
# $\mathrm{clamp}(s_i x_i + b_i)$, in the shaper data and controls take turns. `Encoded` puts this
# in front of a system or of a device.
#
# The data are images of handwritten digits, stretched over the length of the drive.

# %%
pixels = metaphys.data.digits().train.inputs[:IMAGES]


def stretched(size):
    return torch.nn.functional.interpolate(pixels[:, None], size=size, mode="linear")[:, 0]


def gradient(physics, encoding, data, controls, target):
    """How the controls have to change for the readout to come nearer to ``target``."""
    readout = Encoded(physics, encoding)(data, controls)
    grads = torch.autograd.grad((readout - target).square().sum(), list(controls.values()))
    return torch.cat([grad.flatten() for grad in grads])


def relative(difference, value):
    return (difference.square().mean() / value.square().mean()).sqrt().item()


# %% [markdown]
# ## A unit, its twin, and three gradients
#
# The task for each unit: bring its readouts back to what they were before every control was moved
# by a few per cent. Three gradients are on offer: the *exact* one through the unit itself, which
# only a simulation has; that of PAT, which measures the unit and differentiates the twin; and the
# in-silico one, which takes the twin's readouts for the unit's.

# %%
gaps, cosines, examples = {}, {}, {}
for name, (system, encoding, spread) in SYSTEMS.items():
    twin = TWINS.get(name, system)
    encoded = Encoded(twin, encoding)
    data = stretched(encoded.ports.drive)
    before = encoded.init_controls()
    controls = {k: (v + 0.05 * torch.randn_like(v)).requires_grad_() for k, v in before.items()}
    with torch.no_grad():
        modelled = encoded(data, controls)
    gaps[name], cosines[name] = [], {"PAT": [], "in silico": []}
    for seed in range(UNITS):
        unit = spread.single(system, seed)
        device = PhysicsAware(SimulatedDevice(unit), twin)
        with torch.no_grad():
            target = Encoded(unit, encoding)(data, before)
            measured = Encoded(unit, encoding)(data, controls)
        exact = gradient(unit, encoding, data, controls, target)
        for way, physics in (("PAT", device), ("in silico", twin)):
            found = gradient(physics, encoding, data, controls, target)
            cosines[name][way].append(cosine_similarity(found, exact, dim=0).item())
        gaps[name].append(relative(measured - modelled, measured))
        examples[name] = modelled[0], measured[0]
    print(
        f"{name:8s} unit against twin: {100 * sum(gaps[name]) / UNITS:5.1f} %   cosine with the "
        f"exact gradient: PAT {sum(cosines[name]['PAT']) / UNITS:.2f}, "
        f"in silico {sum(cosines[name]['in silico']) / UNITS:.2f}"
    )

# %%
figure, (above, below) = plt.subplots(2, 3, figsize=(10, 5.6), layout="constrained")
for axes, (name, (modelled, measured)) in zip(above, examples.items()):
    axes.plot(modelled, color="0.6", label="twin")
    axes.plot(measured, lw=1, label="a unit")
    axes.set(title=name, xlabel="spectral bin" if name == "SHG" else "sample", yticks=[])
above[0].set_ylabel("readout of one image")
above[0].legend()
for axes, name in zip(below, SYSTEMS):
    for way, values in cosines[name].items():
        axes.scatter([100 * gap for gap in gaps[name]], values, s=18, label=way)
    axes.axhline(0, color="0.5", lw=1)
    axes.set(xlabel="distance of unit and twin (%)", ylim=(-1.05, 1.05))
below[0].set_ylabel("cosine with the exact gradient")
below[0].legend(loc="lower left")
plt.show()

# %% [markdown]
# Above, what a unit answers to one image, and what its twin says. Below, one dot a unit and way:
# how well the gradient agrees with the exact one.
#
# The circuit's parts are off by five per cent and its readout by about four, less than the eye
# sees. That is enough to mislead the in-silico gradient, which takes this difference for an error
# that the controls should mend; on two lasers it even points backwards. The gradient of PAT has the
# error from the unit and only the derivative from the twin, and does not mind. Of the plate the
# twin knows too little even for that: five per cent of thickness move the frequencies of all modes,
# and within one record the phases drift apart. Such a twin is calibrated from measured waveforms
# before its gradient is worth much.
