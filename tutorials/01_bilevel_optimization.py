# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100, D101, D102

# %% [markdown]
# # A step that can be differentiated
#
# Training is a loop: take the gradient of a loss, take a step, repeat. In a *bilevel* problem that
# loop is the inside of another one. The inner loop changes parameters $w$; the outer loop asks how
# the result of the inner loop depends on something else: on the data, on the start, on a step size.
# To answer, it differentiates **through the inner steps**.
#
# This tutorial takes one such derivative three times (by hand, with `MetaOptimizer`, with
# `MetaSGD`), looks at the graph that makes it possible, and then uses it to learn a step size.

# %%
import io
import os
import shutil

import matplotlib.pyplot as plt
import torch

import metaphys

SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it

# %% [markdown]
# ## The smallest bilevel problem
#
# A network with one parameter $a$ computes $f(x) = a\,x^2$, and its loss is its output. One inner
# step of gradient descent with step size 1 gives
#
# $$a' = a - \frac{\partial}{\partial a}\,(a\,x^2) = a - x^2 .$$
#
# The outer loss is the output after the step, $a' x^2 = (a - x^2)\,x^2$. It depends on $x$ twice:
# directly, and through the step. At $a = 1$, $x = 2$ its derivative is
# $2 a x - 4 x^3 = 4 - 32 = -28$. Someone who forgets the step gets $2 a' x = -12$.
#
# By hand, PyTorch can do it, if the inner gradient keeps its own graph (`create_graph=True`) and
# the new parameter is a new tensor:

# %%
a = torch.tensor(1.0, requires_grad=True)
x = torch.tensor(2.0, requires_grad=True)

(gradient,) = torch.autograd.grad(a * x**2, a, create_graph=True)
a_next = a - 1.0 * gradient
(by_hand,) = torch.autograd.grad(a_next * x**2, x)
print(by_hand)

# %% [markdown]
# ## The same with a module
#
# By hand becomes tedious as soon as there is a module with many parameters, a momentum or Adam.
# `MetaOptimizer` takes any module and any rule. Its `step` looks like that of every optimizer; but
# the parameters that it puts into the module are tensors with a history.


# %%
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.a * x**2


net, x = Net(), torch.tensor(2.0, requires_grad=True)
optimizer = metaphys.MetaOptimizer(net, metaphys.sgd(lr=1.0))

optimizer.step(net(x))  # inner
outer_loss = net(x)
outer_loss.backward()  # outer
by_meta_optimizer = x.grad
print(by_meta_optimizer)

# %% [markdown]
# Every rule has a short form too, `MetaSGD` for `sgd`, `MetaAdam` for `adam` and so on:

# %%
net, x = Net(), torch.tensor(2.0, requires_grad=True)
optimizer = metaphys.MetaSGD(net, lr=1.0)
optimizer.step(net(x))
net(x).backward()
by_meta_sgd = x.grad
print(by_meta_sgd)

# %% [markdown]
# ## What the step leaves behind
#
# The new parameter remembers how it came about. `make_dot` draws this memory: the graph that the
# outer loss is differentiated through. States that were extracted with `enable_visual=True` give
# the parameters their names, before and after the step.

# %%
net, x = Net(), torch.tensor(2.0, requires_grad=True)
optimizer = metaphys.MetaSGD(net, lr=1.0)
before = metaphys.extract_state_dict(net, enable_visual=True, visual_prefix="before the step: ")
optimizer.step(net(x))
after = metaphys.extract_state_dict(net, enable_visual=True, visual_prefix="after the step: ")
outer_loss = net(x)

names = [before, after, {"x": x, "outer loss": outer_loss}]
graph = metaphys.visual.make_dot(outer_loss, names)

# %%
if shutil.which("dot"):  # the program of Graphviz that places boxes
    figure, axes = plt.subplots(figsize=(5, 6.5), layout="constrained")
    axes.imshow(plt.imread(io.BytesIO(graph.pipe(format="png"))))
    axes.axis("off")
    plt.show()
else:
    print(graph.source)  # any viewer of Graphviz' language shows it

# %% [markdown]
# Two ways lead from $x$ to the outer loss: on the left the direct one, on the right the one through
# the step. They are the two terms of the derivative, $2 a' x = -12$ and $-2 x \cdot x^2 = -16$.

# %% [markdown]
# ## Learning a step size
#
# What a derivative through the inner loop is good for: choosing what one usually guesses. Take a
# bowl with a flat and a steep direction,
#
# $$L(w) = \tfrac12 (w_1^2 + 10\,w_2^2), \qquad w^{(0)} = (1, 1),$$
#
# and $k$ steps of gradient descent with step size $\eta$. Here everything is known: each step
# multiplies $w_1$ by $1 - \eta$ and $w_2$ by $1 - 10\,\eta$, so the loss after $k$ steps is
#
# $$L_k(\eta) = \tfrac12\left[(1 - \eta)^{2k} + 10\,(1 - 10\,\eta)^{2k}\right].$$
#
# The inner loop does not know this formula, and neither does the outer one. The step size is a
# tensor that requires a gradient; `MetaSGD` takes it in place of a number.


# %%
class Bowl(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2))

    def forward(self):
        return (torch.tensor([1.0, 10.0]) * self.w**2).sum() / 2


def loss_after(k, rate):
    bowl = Bowl()
    optimizer = metaphys.MetaSGD(bowl, lr=rate)
    for _ in range(k):
        optimizer.step(bowl())
    return bowl()


def formula(k, rate):
    return ((1 - rate) ** (2 * k) + 10 * (1 - 10 * rate) ** (2 * k)) / 2


# %% [markdown]
# The derivative is that of the formula:

# %%
rate = torch.tensor(0.05, requires_grad=True)
(through_the_loop,) = torch.autograd.grad(loss_after(5, rate), rate)
(of_the_formula,) = torch.autograd.grad(formula(5, rate), rate)
print(through_the_loop, of_the_formula)

# %% [markdown]
# The outer loop is an ordinary one: an ordinary `torch.optim.Adam` descends on the logarithm of the
# step size, so that it stays positive. We let it look for the best step size for one inner step,
# for three, and for ten.

# %%
OUTER_STEPS = 10 if SHORT else 150


def learn(k, start=0.03):
    log_rate = torch.tensor(start).log().requires_grad_()
    outer = torch.optim.Adam([log_rate], lr=0.05)
    path = []
    for _ in range(OUTER_STEPS):
        outer.zero_grad()
        loss = loss_after(k, log_rate.exp())
        path.append((log_rate.exp().item(), loss.item()))
        # The logarithm of a loss that spans decades has a derivative of ordinary size.
        loss.log().backward()
        outer.step()
    return path


paths = {k: learn(k) for k in (1, 3, 10)}
for k, path in paths.items():
    print(f"k = {k:2d}: step size {path[-1][0]:.4f}, loss {path[-1][1]:.2e}")

# %% [markdown]
# The best step size depends on how many steps are taken. For one step it is
# $101 / 1001 \approx 0.101$, close to the inverse of the steep curvature: the steep direction is
# most of the loss. For many steps it tends to $2 / 11 \approx 0.182$, the classical value that
# shrinks both directions equally fast. Nobody told the outer loop; it found both.

# %%
figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
rates = torch.linspace(0.02, 0.199, 400, dtype=torch.float64)
for index, (k, path) in enumerate(paths.items()):
    colour = f"C{index}"
    axes.plot(rates, formula(k, rates), color=colour, lw=1.5, label=f"k = {k}")
    axes.plot(*zip(*path), ".", color=colour, ms=4, alpha=0.5)
    axes.plot(*path[-1], "o", color=colour, ms=10, mfc="white", mew=2)
axes.axvline(2 / 11, color="0.5", lw=1, ls="--")
axes.text(2 / 11 - 0.001, 11, "2/11", ha="right", color="0.4")
axes.set(yscale="log", ylim=(3e-3, 20), xlabel="step size", ylabel="loss after k inner steps")
axes.legend(title="curves: the formula\ndots: the outer loop", loc="lower left")
plt.show()

# %% [markdown]
# Every curve is the exact loss, every trail of dots an outer loop that started at 0.03 and only saw
# derivatives through the inner steps. The rings, where the trails end, lie at the minima.
#
# From here: more steps than memory allows are the subject of the next tutorial, on unrolls and
# their adjoints; a start instead of a step size is what MAML learns, in the tutorial on the tabular
# MDP; and the inner loop may run on a physical device, in the tutorials on physics-aware training.
