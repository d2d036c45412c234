# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100

# %% [markdown]
# # Training as a function, and what its derivative costs
#
# The first tutorial stepped a module. Underneath is something simpler: an optimizer is a pair of
# pure functions, and $k$ steps of training are one function of the start, the data and the
# hyper-parameters. Functions can be differentiated, mapped over tasks, and composed.
#
# They can also be differentiated in different ways. The result is the same; what it costs is not.
# At the end we measure it.

# %%
import os
import time

import matplotlib.pyplot as plt
import torch
from torch.func import grad, grad_and_value, vmap

import metaphys
from helpers.memory import PeakMemory
from metaphys.physics import OscillatorArray, OscillatorSpread, PhysicsAware, Population

torch.manual_seed(0)
SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it

# %% [markdown]
# ## A rule is two pure functions
#
# `metaphys.adam(...)` returns a rule. `init` makes its state, `update` turns gradients into updates
# and a new state; nothing is written in place, nothing is remembered elsewhere. Parameters are any
# tree of tensors.

# %%
rule = metaphys.adam(lr=0.1)
params = {"w": torch.tensor([1.0, -2.0]), "b": torch.tensor(0.5)}
state = rule.init(params)

updates, state = rule.update({"w": torch.tensor([0.3, 0.1]), "b": torch.tensor(1.0)}, state, params)
print(metaphys.apply_updates(params, updates, inplace=False))

# %% [markdown]
# ## Many steps are one function
#
# `unroll` takes $k$ steps. A loss is given as a function of the parameters (and of further
# meta-parameters, if there are any). Here is a small network that fits a noisy line; we ask for the
# loss after 20 steps as a function of the step size.


# %%
points = torch.linspace(-1, 1, 32).unsqueeze(-1)
values = 0.5 * points + 0.1 * torch.randn(32, 1)
start = {"in": torch.randn(1, 8), "out": torch.randn(8, 1) / 8**0.5}


def loss(params, meta=None):
    return ((torch.tanh(points @ params["in"]) @ params["out"] - values) ** 2).mean()


def loss_after(log_rate):
    end = metaphys.unroll(loss, metaphys.sgd(lr=log_rate.exp()), start, steps=20)
    return loss(end.params)


print(grad_and_value(loss_after)(torch.tensor(-2.0)))

# %% [markdown]
# A function can be mapped. One call of `vmap` trains 200 networks with 200 step sizes and
# differentiates through all of them. Two neighbours and the derivative between them agree, as they
# should:

# %%
log_rates = torch.linspace(-5, 0, 200)
slopes, losses = vmap(grad_and_value(loss_after))(log_rates)
between = (losses[50] - losses[49]) / (log_rates[50] - log_rates[49])
print(f"slope {slopes[49:51].mean():.5f}, difference quotient {between:.5f}")

# %% [markdown]
# ## The inner loop may run on devices
#
# `PhysicsAware(device, twin)` is an ordinary function too: its value is measured, its derivatives
# are the twin's, under every transform and to every order. So the same pattern trains on hardware.
# Five units of an oscillator array, each different, take three steps each on a task of their own;
# the outer gradient says how to change the common start. Under `vmap`, a fleet of five units is
# measured in one batch.

# %%
array = OscillatorArray(6)
population = Population(array, OscillatorSpread(coupling=0.5, gain=0.1), noise=0.01)
drives, targets = torch.randn(5, 16, 6), torch.randn(5, 16, 6)


def after_three_steps(pat):
    def task(controls, drive, target):
        def error(controls, meta=None):
            return ((pat(drive, controls) - target) ** 2).mean()

        return error(metaphys.unroll(error, metaphys.sgd(lr=0.5), controls, steps=3).params)

    return task


fleet = population.draw(5)  # units 0 … 4
controls = array.init_controls(generator=torch.Generator().manual_seed(0))
of_fleet = vmap(grad(after_three_steps(PhysicsAware(fleet, twin=array))), in_dims=(None, 0, 0))
meta_gradients = of_fleet(controls, drives, targets)
print({name: tuple(value.shape) for name, value in meta_gradients.items()})

# %% [markdown]
# Every unit is the same alone and in the fleet, its noise included, so one of them can be checked
# by itself. Its calls are counted: 16 samples, in three steps and the last evaluation.

# %%
unit = population.unit(seed=3)
alone = grad(after_three_steps(PhysicsAware(unit, twin=array)))(controls, drives[3], targets[3])
difference = (alone["coupling"] - meta_gradients["coupling"][3]).abs().max()
print(f"difference {difference:.1e}; calls of the unit {unit.calls}, of the fleet {fleet.calls}")

# %% [markdown]
# ## The price of a derivative
#
# Reverse mode keeps what the forward pass computed until the backward pass has used it. Through $k$
# inner steps that is $k$ times a training step's memory. An *adjoint* says what to keep:
#
# | adjoint | what is kept | what is done again |
# |---|---|---|
# | `Full()` | the graph of every step | nothing |
# | `Checkpoint()` | parameters and state every $\sqrt k$ steps | every step once |
# | `Mixed()` | the same; backwards one step's activations | every step, forward over reverse |
#
# All three give the same gradient. We train a network of some 26,000 parameters by Adam, measure
# the peak of all living tensors with a small helper, and compare.

# %%
LENGTHS = (4, 8) if SHORT else (4, 12, 36, 108)
ADJOINTS = {
    "Full()": metaphys.adjoint.Full(),
    "Checkpoint()": metaphys.adjoint.Checkpoint(),
    "Mixed()": metaphys.adjoint.Mixed(),
}
inputs, outputs = torch.randn(256, 64), torch.randn(256, 10)
sizes = ((64, 128), (128, 128), (128, 10))
weights = [(torch.randn(*size) / size[0] ** 0.5).requires_grad_() for size in sizes]


def net_loss(weights, meta=None):
    hidden = torch.tanh(torch.tanh(inputs @ weights[0]) @ weights[1])
    return ((hidden @ weights[2] - outputs) ** 2).mean()


def meta_gradient(adjoint, steps):
    rule = metaphys.adam(lr=1e-3)
    end = metaphys.unroll(net_loss, rule, weights, steps=steps, adjoint=adjoint)
    return torch.autograd.grad(net_loss(end.params), weights)


def cost(adjoint, steps):
    with PeakMemory() as memory:
        gradient = meta_gradient(adjoint, steps)
    seconds = []
    for _ in range(1 if SHORT else 3):  # again, because counting takes time too; the best of three
        begin = time.process_time()
        meta_gradient(adjoint, steps)
        seconds.append(time.process_time() - begin)
    return memory.peak / 2**20, min(seconds), gradient


for adjoint in ADJOINTS.values():
    cost(adjoint, 2)  # the first use of torch.func imports much
costs = {name: [cost(adjoint, k) for k in LENGTHS] for name, adjoint in ADJOINTS.items()}

for name, found in costs.items():
    same = all(
        torch.allclose(ours, full, rtol=1e-3, atol=1e-7)
        for ours, full in zip(found[-1][2], costs["Full()"][-1][2])
    )
    print(f"{name:13s} {LENGTHS[-1]} steps: {found[-1][0]:6.1f} MiB, same gradient: {same}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name, found in costs.items():
    memory, seconds, _ = zip(*found)
    left.plot(LENGTHS, memory, "o-", label=name)
    right.plot(LENGTHS, [1000 * s / k for s, k in zip(seconds, LENGTHS)], "o-", label=name)
for axes in (left, right):
    axes.set(xscale="log", xticks=LENGTHS, xlabel="inner steps")
    axes.set_xticks(LENGTHS, [str(k) for k in LENGTHS])
    axes.minorticks_off()
left.set(yscale="log", ylabel="peak of living tensors (MiB)")
right.set(ylim=(0, None), ylabel="processor time for each step (ms)")
left.legend()
plt.show()

# %% [markdown]
# On the left, memory: on logarithmic axes the graph of every step grows with slope 1, the
# checkpoints with about one half. On the right, the price: steps that are taken again take time.
# A short unroll is best with `Full()`, which is the default; a long one that does not fit takes
# `Checkpoint()`, or `Mixed()` where activations are large beside the parameters.
#
# For very long loops there are `Forward()` (exact, for a handful of scalar meta-parameters) and the
# biased, cheap windows `Truncated(k)` and `OneStep()`.
