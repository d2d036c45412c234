# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100

# %% [markdown]
# # Training a device whose model is wrong
#
# A physical layer computes what its physics computes, and that is never quite what the model of it
# says. Who trains on the model (*in silico*) and copies the result onto the device gets the model's
# accuracy only on the model. Who trains on the device needs a gradient, and a device has none: it
# can be measured, not differentiated.
#
# *Physics-aware training* (PAT; Wright, Onodera et al., Nature 601, 549 (2022)) takes the value
# from the one and the derivative from the other:
#
# $$y = f_\text{device}(x, \theta), \qquad
# \frac{\partial L}{\partial \theta} :=
# \left(\frac{\partial f_\text{twin}}{\partial \theta}\right)^{\!\top}
# \frac{\partial L}{\partial y}\bigg|_{y\ \text{measured}} .$$
#
# The error signal $\partial L / \partial y$ is that of the real readout, so that training goes on
# until the *device* is right. The twin only has to turn it roughly in the right direction. This
# tutorial trains one oscillator array on handwritten digits in three ways and looks at both: what
# the device reaches, and where the gradients point.

# %%
import os

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

import metaphys
from metaphys.nn import OscillatorNetwork, run_on
from metaphys.physics import OscillatorSpread, PhysicsAware, SimulatedDevice, WithNoise

SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it
STEPS = 40 if SHORT else 600

# %% [markdown]
# ## A device and its twin
#
# The system is an array of 74 coupled nonlinear oscillators: 64 start at angles that are the pixels
# of an image, the last 10 at rest, and after a while the angles of those 10 are read as the scores
# of the classes. Its controls are the couplings between the oscillators and a constant force on
# each.
#
# The twin is the nominal array. The device is a unit of it, as it may come out of a workshop: every
# coupling is off by a random amount, the angle inside each sine is off by 10 %, and its readout
# carries noise of 0.02 rad. Since this device is a simulation too, we can do what nobody can in a
# laboratory, and differentiate it: the *exact* gradient serves as a ruler.

# %%
data = metaphys.data.digits()


def new_network():
    start = torch.Generator().manual_seed(0)
    net = OscillatorNetwork(64, 10, logit_scale=10.0, generator=start)
    net.logit_scale.requires_grad_(False)  # only the controls are trained
    return net


twin = new_network().systems[0]
truth = OscillatorSpread(coupling=1.0, gain=0.1).single(twin, seed=7)
device = WithNoise(SimulatedDevice(truth), sigma=0.02, seed=7)

WAYS = {
    "in silico": twin,  # value and derivative of the model
    "physics-aware": PhysicsAware(device, twin=twin),  # value measured, derivative of the model
    "exact": truth,  # value and derivative of the truth
}

# %% [markdown]
# The same controls give quite different readouts on device and twin. Here are the first image's
# ten scores, in rad, before training:

# %%
drive = torch.nn.functional.pad(data.test.inputs[0], (0, 10))
controls = dict(new_network().layers[0].controls)
print("twin:  ", twin(drive, controls)[-10:].detach().numpy().round(2))
print("device:", device.measure(drive, controls)[-10:].numpy().round(2))

# %% [markdown]
# ## Three ways to train
#
# `run_on` moves a network to other physics and leaves its controls what they are. So all three
# ways share one training loop, start at the same controls, and see the same batches. However it was
# trained, a network is judged on the device.


# %%
def accuracy(net):
    with torch.no_grad(), run_on(net, WAYS["physics-aware"]):
        guess = net(data.test.inputs).argmax(-1)
    return (guess == data.test.targets).double().mean().item()


def batch_loss(net, rows):
    return cross_entropy(net(data.train.inputs[rows]), data.train.targets[rows])


def train(way):
    net, order = new_network(), torch.Generator().manual_seed(1)
    run_on(net, WAYS[way])
    optimizer = metaphys.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    reached, snapshots = [], []
    for step in range(STEPS + 1):
        if step % 20 == 0:
            reached.append((step, accuracy(net)))
            snapshots.append([p.detach().clone() for p in net.parameters()])
        rows = torch.randperm(len(data.train), generator=order)[:64]
        optimizer.zero_grad()
        batch_loss(net, rows).backward()
        optimizer.step()
    return reached, snapshots


device.reset_calls()
runs = {way: train(way) for way in WAYS}
for way, (reached, _) in runs.items():
    print(f"{way:14s} accuracy on the device: {100 * reached[-1][1]:.1f} %")

# %% [markdown]
# In silico stays far behind, though on its own model it is excellent. Physics-aware training comes
# close to the exact gradient, which no laboratory has.
#
# ## Where the gradients point
#
# We go along the path of physics-aware training once more and compare, at the same controls and on
# the same 256 images, the three gradients. The cosine with the exact one tells whether a step goes
# the right way.


# %%
def gradients(snapshot):
    net, found = new_network(), {}
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), snapshot):
            parameter.copy_(value)
    for way, physics in WAYS.items():
        with run_on(net, physics):
            wanted = [p for p in net.parameters() if p.requires_grad]
            grads = torch.autograd.grad(batch_loss(net, slice(256)), wanted)
        found[way] = torch.cat([grad.flatten() for grad in grads])
    return found


cosines = {"in silico": [], "physics-aware": []}
for snapshot in runs["physics-aware"][1]:
    found = gradients(snapshot)
    for way, values in cosines.items():
        values.append(cosine_similarity(found[way], found["exact"], dim=0).item())

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for index, (way, (reached, _)) in enumerate(runs.items()):
    steps, values = zip(*reached)
    left.plot(steps, [100 * v for v in values], color=f"C{index}", label=way)
    if way in cosines:
        right.plot(steps, cosines[way], color=f"C{index}", label=way)
left.axhline(100 * data.linear_accuracy, color="0.5", lw=1, ls="--")
left.text(0, 100 * data.linear_accuracy + 1, "linear classifier on the pixels", color="0.4")
left.set(xlabel="training step", ylabel="accuracy on the device (%)", ylim=(0, 104))
right.axhline(0, color="0.5", lw=1)
right.set(xlabel="training step", ylabel="cosine with the exact gradient", ylim=(-0.6, 1.05))
left.legend(loc="lower right")
plt.show()

# %% [markdown]
# On the left, what the device reaches. On the right, why: once the device begins to be right, the
# model's own error has nothing to do with the device's, and its gradient loses its way; the
# physics-aware gradient, which differs only in where the error comes from, keeps its direction.
#
# The dashed line is a reminder. On these pixels a linear classifier does as well; the point is that
# physics can be trained, not that digits need it.
#
# This took one unit and many device calls. The next tutorial asks how few are enough, when units
# before it have taught what units have in common.

# %%
print(f"{device.calls:,} device calls, of which {STEPS + 1} batches of 64 were for training")
