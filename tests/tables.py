"""The tables that tests are products of, and the one place where tolerances come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import metaphys
from metaphys.ops import leaves as ops_leaves
from metaphys.ops._leafwise import LeafOperator
from metaphys.optim import Rule

RULES: dict[str, Callable[[], Rule]] = {
    "sgd": lambda: metaphys.sgd(lr=0.1),
    "sgd-momentum": lambda: metaphys.sgd(lr=0.1, momentum=0.9),
    "sgd-dampened": lambda: metaphys.sgd(lr=0.1, momentum=0.9, dampening=0.3),
    "sgd-nesterov": lambda: metaphys.sgd(lr=0.1, momentum=0.9, nesterov=True),
    "sgd-decay": lambda: metaphys.sgd(lr=0.1, momentum=0.5, weight_decay=0.1),
    "sgd-maximize": lambda: metaphys.sgd(lr=0.1, momentum=0.9, maximize=True),
    "adam": lambda: metaphys.adam(lr=0.1),
    "adam-decay": lambda: metaphys.adam(lr=0.1, betas=(0.8, 0.95), weight_decay=0.1),
    "adam-maximize": lambda: metaphys.adam(lr=0.1, maximize=True),
    "adamw": lambda: metaphys.adamw(lr=0.1, weight_decay=0.1),
    "adamw-maximize": lambda: metaphys.adamw(lr=0.1, betas=(0.8, 0.95), maximize=True),
}

TORCH: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd-dampened": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "sgd-decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.1),
    "sgd-maximize": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, maximize=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam-decay": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.1),
    "adam-maximize": lambda p: torch.optim.Adam(p, lr=0.1, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "adamw-maximize": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), maximize=True),
}

# (ours, torch's, arguments of both)
SHARED: dict[str, tuple[Callable[..., Rule], Callable[..., Any], dict[str, Any]]] = {
    "adam-amsgrad": (metaphys.adam, torch.optim.Adam, {"lr": 0.1, "amsgrad": True}),
    "adamw-amsgrad": (
        metaphys.adamw,
        torch.optim.AdamW,
        {"lr": 0.1, "betas": (0.8, 0.7), "weight_decay": 0.1, "amsgrad": True, "maximize": True},
    ),
    "rmsprop": (metaphys.rmsprop, torch.optim.RMSprop, {"lr": 0.01}),
    "rmsprop-centered": (
        metaphys.rmsprop,
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "centered": True, "weight_decay": 0.1}
        | {"eps": 1e-3},
    ),
    "rmsprop-maximize": (
        metaphys.rmsprop,
        torch.optim.RMSprop,
        {"lr": 0.02, "momentum": 0.9, "maximize": True},
    ),
    "adagrad": (metaphys.adagrad, torch.optim.Adagrad, {"lr": 0.1}),
    "adagrad-decay": (
        metaphys.adagrad,
        torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}
        | {"eps": 1e-3, "maximize": True},
    ),
    "adadelta": (metaphys.adadelta, torch.optim.Adadelta, {}),
    "adadelta-decay": (
        metaphys.adadelta,
        torch.optim.Adadelta,
        {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    ),
    "adamax": (metaphys.adamax, torch.optim.Adamax, {"lr": 0.1}),
    "adamax-decay": (
        metaphys.adamax,
        torch.optim.Adamax,
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    ),
    "radam": (metaphys.radam, torch.optim.RAdam, {"lr": 0.1}),
    "radam-decoupled": (
        metaphys.radam,
        torch.optim.RAdam,
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ),
    "radam-decay": (
        metaphys.radam,
        torch.optim.RAdam,
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "nadam": (metaphys.nadam, torch.optim.NAdam, {"lr": 0.1}),
    "nadam-decoupled": (
        metaphys.nadam,
        torch.optim.NAdam,
        {"lr": 0.1, "momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "nadam-decay": (
        metaphys.nadam,
        torch.optim.NAdam,
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    ),
}
RULES |= {name: partial(ours, **given) for name, (ours, _, given) in SHARED.items()}
TORCH |= {name: partial(theirs, **given) for name, (_, theirs, given) in SHARED.items()}


def plain_lion(p, grads, lr, b1, b2, decay):
    """Algorithm 2 of arXiv 2302.06675, all steps of one leaf."""
    m = torch.zeros_like(p)
    for g in grads:
        c = b1 * m + (1 - b1) * g
        p = p - lr * (c.sign() + decay * p)
        m = b2 * m + (1 - b2) * g
    return p


def plain_adan(p, grads, lr, betas, eps, decay, prox=True):
    """Algorithm 1 of arXiv 2208.06677 with the betas and bias corrections of its code."""
    m, v, n, last = (torch.zeros_like(p) for _ in range(4))
    b1, b2, b3 = betas
    for t, g in enumerate(grads, start=1):
        d = g - last if t > 1 else torch.zeros_like(g)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * d
        n = b3 * n + (1 - b3) * (g + b2 * d) ** 2
        rate = lr / ((n / (1 - b3**t)).sqrt() + eps)
        step = rate * (m / (1 - b1**t) + b2 * v / (1 - b2**t))
        p = (p - step) / (1 + lr * decay) if prox else p * (1 - lr * decay) - step
        last = g
    return p


def plain_rmsprop(p, grads, lr, alpha, eps, momentum, scale):
    """RMSprop with Nesterov's momentum, from a mean of squares that starts at ``scale``."""
    v, b = torch.full_like(p, scale), torch.zeros_like(p)
    for g in grads:
        v = alpha * v + (1 - alpha) * g**2
        b = momentum * b + g / (v.sqrt() + eps)
        p = p - lr * (g / (v.sqrt() + eps) + momentum * b)
    return p


def plain_adams(p, grads, lr, betas, eps, eps_root, decay, decoupled):
    """All steps of one leaf by :func:`plain_adam`, with either kind of weight decay."""
    m, v, (b1, b2) = torch.zeros_like(p), torch.zeros_like(p), betas
    for t, g in enumerate(grads, start=1):
        g = g if decoupled else g + decay * p
        step, m, v = plain_adam(g, m, v, t, b1, b2, eps, eps_root, lr)
        p = p - (lr * decay * p if decoupled else 0.0) - step
    return p


def plain_muon(
    p,
    grads,
    lr,
    decay,
    momentum,
    *,
    nesterov=True,
    coefficients=(3.4445, -4.775, 2.0315),
    eps=1e-7,
    steps=5,
    rms=False,
    betas=(0.9, 0.999),
    adamw_eps=1e-8,
):
    """Matrices by Newton and Schulz, on their singular values; the rest by AdamW."""
    if p.ndim != 2:
        return plain_adams(p, grads, lr, betas, adamw_eps, 0.0, decay, decoupled=True)
    m, (a, b, c), (n, k) = torch.zeros_like(p), coefficients, p.shape
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        ahead = momentum * m + (1 - momentum) * g if nesterov else m
        u, s, vh = torch.linalg.svd(ahead / ahead.norm().clamp(min=eps), full_matrices=False)
        for _ in range(steps):
            s = a * s + b * s**3 + c * s**5
        ratio = 0.2 * max(n, k) ** 0.5 if rms else max(1.0, n / k) ** 0.5
        p = p - lr * decay * p - lr * ratio * (u * s) @ vh
    return p


ADAN = {"lr": 0.1, "betas": (0.9, 0.8, 0.95)}
# Rules that torch does not have: ours, and the same by the paper's equations.
EQUATIONS: dict[str, tuple[Callable[[], Rule], Callable[..., torch.Tensor]]] = {
    "lion": (
        lambda: metaphys.lion(lr=0.1, weight_decay=0.1),
        lambda p, grads: plain_lion(p, grads, 0.1, 0.9, 0.99, 0.1),
    ),
    "lion-maximize": (
        lambda: metaphys.lion(lr=0.1, betas=(0.5, 0.8), maximize=True),
        lambda p, grads: plain_lion(p, [-g for g in grads], 0.1, 0.5, 0.8, 0.0),
    ),
    "adan": (
        lambda: metaphys.adan(**ADAN),
        lambda p, grads: plain_adan(p, grads, **ADAN, eps=1e-8, decay=0.0),
    ),
    "adan-decay": (
        lambda: metaphys.adan(**ADAN, eps=1e-2, weight_decay=0.3),
        lambda p, grads: plain_adan(p, grads, **ADAN, eps=1e-2, decay=0.3),
    ),
    "adan-no-prox": (
        lambda: metaphys.adan(**ADAN, weight_decay=0.3, no_prox=True, maximize=True),
        lambda p, grads: plain_adan(
            p, [-g for g in grads], **ADAN, eps=1e-8, decay=0.3, prox=False
        ),
    ),
    "muon": (
        lambda: metaphys.muon(lr=0.1, weight_decay=0.2, momentum=0.9),
        lambda p, grads: plain_muon(p, grads, 0.1, 0.2, 0.9),
    ),
    "muon-options": (
        lambda: metaphys.muon(
            0.1,
            0.2,
            0.8,
            False,
            (2.0, -1.5, 0.5),
            0.5,
            3,
            "match_rms_adamw",
            betas=(0.8, 0.9),
            adamw_eps=1e-3,
            maximize=True,
        ),
        lambda p, grads: plain_muon(
            p,
            [-g for g in grads],
            0.1,
            0.2,
            0.8,
            nesterov=False,
            coefficients=(2.0, -1.5, 0.5),
            eps=0.5,
            steps=3,
            rms=True,
            betas=(0.8, 0.9),
            adamw_eps=1e-3,
        ),
    ),
    "adam-eps": (
        lambda: metaphys.adam(lr=0.1, eps=1e-2, eps_root=1e-3),
        lambda p, grads: plain_adams(p, grads, 0.1, (0.9, 0.999), 1e-2, 1e-3, 0.0, False),
    ),
    "adamw-eps": (
        lambda: metaphys.adamw(lr=0.1, eps=1e-2, eps_root=1e-3, weight_decay=0.2),
        lambda p, grads: plain_adams(p, grads, 0.1, (0.9, 0.999), 1e-2, 1e-3, 0.2, True),
    ),
    "rmsprop-nesterov": (
        lambda: metaphys.rmsprop(0.01, momentum=0.9, initial_scale=0.5, nesterov=True),
        lambda p, grads: plain_rmsprop(p, grads, 0.01, 0.99, 1e-8, 0.9, 0.5),
    ),
}
RULES |= {name: ours for name, (ours, _) in EQUATIONS.items()}

ONE_OF_EACH = (
    "adam",
    "adam-amsgrad",
    "rmsprop-centered",
    "adagrad-decay",
    "adadelta",
    "adamax",
    "radam-decoupled",
    "nadam",
    "lion",
    "adan-decay",
    "muon",
)
"""One option of each rule that has its mathematics in a state, for what takes long."""


def tolerance(dtype: torch.dtype) -> dict[str, Any]:
    """What two right computations of the same thing may differ by."""
    return {
        torch.float64: {"rtol": 1e-10, "atol": 1e-12},
        torch.float32: {"rtol": 1e-5, "atol": 1e-6},
        torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2},
        torch.float16: {"rtol": 2e-3, "atol": 1e-3},
    }[dtype]


def plain_adam(g, m, v, t, b1, b2, eps, eps_root, scale):
    """Adam as in the paper, by nobody's kernel."""
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    root = (v / (1 - b2**t) + eps_root).sqrt()
    return scale * m / (1 - b1**t) / (root + eps), m, v


def plain_sgd(g, b, t, momentum, dampening, nesterov, scale):
    """SGD as in torch's documentation."""
    b = momentum * b + (g if t == 1 else (1 - dampening) * g)
    return scale * (g + momentum * b if nesterov else b), b


@dataclass(frozen=True)
class Kernel:
    """One operator with its hyper-parameters; a state is a list of lists of tensors."""

    states: int
    hyper: dict[str, Any]
    kind: str

    def call(self, grads, states, count):
        """The differentiable operator of metaphys.ops, as lists [updates, *states]."""
        states = states or ((),)
        return getattr(metaphys.ops, self.kind)(grads, *states, count, **self.hyper)[: self.out]

    def plain(self, grads, states, count):
        """The same by the statements above, leaf by leaf."""
        if self.kind == "adam":
            rule = plain_adam
        elif self.states:
            rule = plain_sgd
        else:
            return [[self.hyper["scale"] * g for g in grads]]
        leaves = zip(grads, *states, count.tolist())
        return [list(part) for part in zip(*(rule(*leaf, **self.hyper) for leaf in leaves))]

    @property
    def out(self) -> int:
        """How many lists come out: the updates and the states."""
        return 1 + self.states

    def raw(self, form: str) -> Callable[..., Any]:
        """The registered operator: ``""``, ``"_vjp"`` or ``"_"``."""
        return getattr(torch.ops.metaphys, self.kind + form).default

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The hyper-parameters in the order of the operator's schema."""
        return tuple(self.hyper.values())

    def arguments(self, form: str, params, grads, states, count) -> tuple[Any, ...]:
        """The arguments of :meth:`raw`."""
        states = states or [[]]
        if form == "_":
            rest = (0.1, True, False) if self.kind == "adam" else (0.1, False)
            return params, grads, *states, count, *self.numbers, *rest
        repeated = (grads, *states) if form and self.kind == "adam" else ()
        return *repeated, grads, *states, count, *self.numbers


@dataclass(frozen=True)
class LeafKernel:
    """An operator that is one function of a leaf, with the same statement by nobody's kernel.

    Where it is ``centered`` the mean is made small and its square added to the first moment, so
    that there is a variance, and not one that is the difference of large numbers.
    """

    states: int
    operator: LeafOperator
    numbers: tuple[float, ...]
    statement: Callable[..., Any]
    factors: Callable[[torch.Tensor], list[torch.Tensor]] = lambda t: []
    centered: bool = False
    kind: str = "leaf"

    def call(self, grads, states, count):
        """As :meth:`Kernel.call`."""
        updates, moments = self.operator(grads, self.valid(states), self._rows(count), self.numbers)
        return [updates, *moments]

    def plain(self, grads, states, count):
        """As :meth:`Kernel.plain`."""
        rows = self._rows(count).tolist()
        leaves = zip(grads, rows, *self.valid(states))
        steps = (self.statement(g, *m, *row, *self.numbers) for g, row, *m in leaves)
        return [list(part) for part in zip(*steps)]

    def _rows(self, count):
        columns = self.factors(count.to(torch.float64))
        return torch.stack(columns, 1) if columns else torch.zeros(len(count), 0)

    def valid(self, states):
        """The states that :meth:`call` and :meth:`plain` make of any."""
        if not self.centered:
            return states
        small = [0.1 * mu for mu in states[1]]
        return [[nu + mu.square() for nu, mu in zip(states[0], small)], small, *states[2:]]

    def raw(self, form: str) -> Callable[..., Any]:
        """As :meth:`Kernel.raw`."""
        return getattr(torch.ops.metaphys, self.operator.name + form).default

    def arguments(self, form: str, params, grads, states, count) -> tuple[Any, ...]:
        """As :meth:`Kernel.arguments`."""
        flat = [m for each in states for m in each]
        tensors = {
            "": (grads, flat),
            "_vjp": (grads, flat, grads, flat),
            "_": (params, grads, flat),
        }
        rest = (0.1, -0.01, True) if form == "_" else ()
        return *tensors[form], self._rows(count), list(self.numbers), *rest


def step_rmsprop(g, nu, *rest, centered=False, traced=False):
    """RMSprop by its equations."""
    *moments, alpha, eps, momentum, nesterov, scale = rest
    nu = variance = alpha * nu + (1 - alpha) * g**2
    after = [nu]
    if centered:
        after.append(alpha * moments[0] + (1 - alpha) * g)
        variance = nu - after[1] ** 2
    x = g / (variance.sqrt() + eps)
    if traced:
        after.append(momentum * moments[-1] + x)
        x = x + momentum * after[-1] if nesterov else after[-1]
    return scale * x, *after


def step_adagrad(g, total, factor, eps, scale):
    """Adagrad by its equations."""
    total = total + g**2
    return scale * factor * g / (total.sqrt() + eps), total


def step_adamax(g, mu, norm, c1, b1, b2, eps, scale):
    """Adamax by its equations."""
    mu = b1 * mu + (1 - b1) * g
    norm = torch.where(b2 * norm > g.abs() + eps, b2 * norm, g.abs() + eps)
    return scale / c1 * mu / norm, mu, norm


def step_nadam(g, mu, nu, ahead, here, c2, b1, b2, eps, scale):
    """NAdam by its equations."""
    mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
    return scale * (ahead * mu + here * g) / ((nu / c2).sqrt() + eps), mu, nu


def step_adadelta(g, nu, delta, rho, eps, scale):
    """Adadelta by its equations."""
    nu = rho * nu + (1 - rho) * g**2
    x = ((delta + eps) / (nu + eps)).sqrt() * g
    return scale * x, nu, rho * delta + (1 - rho) * x**2


def step_radam(g, mu, nu, c1, adaptive, plain, b1, b2, eps, scale):
    """RAdam by its equations."""
    mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
    return scale / c1 * mu * (adaptive / (nu.sqrt() + eps) + plain), mu, nu


def step_lion(g, mu, b1, b2, scale):
    """Lion by its equations."""
    return scale * (b1 * mu + (1 - b1) * g).sign() + 0 * mu, b2 * mu + (1 - b2) * g


ADAM = {"b1": 0.9, "b2": 0.99, "eps": 1e-8, "eps_root": 0.0, "scale": -0.1}
SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "scale": -0.1}

KERNELS: dict[str, Kernel | LeafKernel] = {
    "adam": Kernel(2, ADAM, "adam"),
    "adam-eps": Kernel(2, {**ADAM, "eps": 1e-2, "eps_root": 1e-3}, "adam"),
    "sgd": Kernel(0, {**SGD, "momentum": 0.0}, "sgd"),
    "sgd-momentum": Kernel(1, SGD, "sgd"),
    "sgd-dampened": Kernel(1, {**SGD, "dampening": 0.3}, "sgd"),
    "sgd-nesterov": Kernel(1, {**SGD, "nesterov": True}, "sgd"),
    "rmsprop": LeafKernel(
        1, ops_leaves.RMSPROP[False, False], (0.9, 1e-3, 0.0, 0.0, -0.1), step_rmsprop
    ),
    "rmsprop-nesterov": LeafKernel(
        2,
        ops_leaves.RMSPROP[False, True],
        (0.9, 1e-3, 0.8, 1.0, -0.1),
        partial(step_rmsprop, traced=True),
    ),
    "rmsprop-centered": LeafKernel(
        2,
        ops_leaves.RMSPROP[True, False],
        (0.9, 1e-3, 0.0, 0.0, -0.1),
        partial(step_rmsprop, centered=True),
        centered=True,
    ),
    "rmsprop-centered-momentum": LeafKernel(
        3,
        ops_leaves.RMSPROP[True, True],
        (0.9, 1e-3, 0.8, 0.0, -0.1),
        partial(step_rmsprop, centered=True, traced=True),
        centered=True,
    ),
    "adagrad": LeafKernel(
        1, ops_leaves.ADAGRAD, (1e-3, -0.1), step_adagrad, lambda t: [1 / (1 + 0.1 * t)]
    ),
    "adamax": LeafKernel(
        2, ops_leaves.ADAMAX, (0.9, 0.99, 1e-3, -0.1), step_adamax, lambda t: [1 - 0.9**t]
    ),
    "nadam": LeafKernel(
        2,
        ops_leaves.NADAM,
        (0.9, 0.99, 1e-3, -0.1),
        step_nadam,
        lambda t: [0.4 + 0.1 / t, 0.5 + 0.2 / t, 1 - 0.99**t],
    ),
    "adadelta": LeafKernel(2, ops_leaves.ADADELTA, (0.9, 1e-3, -0.1), step_adadelta),
    "radam": LeafKernel(
        2,
        ops_leaves.RADAM,
        (0.9, 0.99, 1e-3, -0.1),
        step_radam,
        lambda t: [1 - 0.9**t, (t > 1) / t, (t <= 1).to(t)],
    ),
    "lion": LeafKernel(1, ops_leaves.LION, (0.9, 0.99, -0.1), step_lion),
}

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def state_of(dtype: torch.dtype) -> torch.dtype:
    """Moments of half precision are float32."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def leaves(kernel: Kernel, shapes=((3,), (2, 2), ()), dtype=torch.float64):
    """Gradients, states and step counts: first steps and later ones in one list."""
    grads = [torch.randn(shape).to(dtype) for shape in shapes]
    states = [[torch.rand(s).to(state_of(dtype)) for s in shapes] for _ in range(kernel.states)]
    return grads, states, torch.tensor([1, 3, 2, 7, 1, 5][: len(shapes)])


def flat(parts) -> tuple[torch.Tensor, ...]:
    """A list of lists as one tuple."""
    return tuple(tensor for part in parts for tensor in part)


def assert_near(found, expected, dtype: torch.dtype = torch.float64) -> None:
    """Flat or nested: the same shapes and dtypes, and values within the dtype's tolerance."""
    torch.testing.assert_close(found, expected, **tolerance(dtype))


def ten_steps(dtype: torch.dtype, missing: bool):
    """Parameters, and gradients of ten steps in which some leaves have none where ``missing``."""
    shapes = [(3,), (2, 2), (), (5,)]
    params = [torch.randn(shape).to(dtype) for shape in shapes]
    grads = []
    for step in range(10):
        each = [torch.randn(shape).to(dtype) for shape in shapes]
        absent = {1: [0, 3], 2: [0], 5: [1], 6: [0, 1, 2]}.get(step, []) if missing else []
        grads.append([None if i in absent or (missing and i == 3 and step < 4) else g
                      for i, g in enumerate(each)])  # fmt: skip
    return params, grads


class Leaves(torch.nn.Module):
    """A module whose parameters are given tensors."""

    def __init__(self, tensors):
        super().__init__()
        self.p = torch.nn.ParameterList([torch.nn.Parameter(t.clone()) for t in tensors])


def functional(rule, params, grads):
    """Parameters after one step for each list of gradients; ``None`` is no gradient."""
    state = rule.init(params)
    for each in grads:
        updates, state = rule.update(each, state, params)
        params = metaphys.apply_updates(params, updates, inplace=False)
    return params


def stateful(rule, params, grads, make=None):
    """The same by a ``torch.optim.Optimizer``; ``make`` makes it from parameters."""
    params = Leaves(params).p
    optimizer = metaphys.Optimizer(params, rule) if make is None else make(params)
    for each in grads:
        for param, grad in zip(params, each):
            param.grad = grad
        optimizer.step()
    return [p.detach() for p in params]


def meta(rule, params, grads):
    """The same by a MetaOptimizer, from losses that have these gradients."""
    module = Leaves(params)
    optimizer = metaphys.MetaOptimizer(module, rule)
    for each in grads:
        terms = [(p * g).sum() for p, g in zip(module.p, each) if g is not None]
        optimizer.step(torch.stack(terms).sum())
    return [p.detach() for p in module.p]


FORMS = {"functional": functional, "stateful": stateful, "meta": meta}


def slope(function, x: torch.Tensor, direction: torch.Tensor, h: float = 1e-3) -> float:
    """Directional derivative by central differences, Richardson's step applied once: O(h⁴)."""
    with torch.no_grad():
        one, half = (
            (function(x + s * direction) - function(x - s * direction)) / (2 * s)
            for s in (h, h / 2)
        )
    return float((4 * half - one) / 3)
