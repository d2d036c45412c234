"""The methods that are compared: a ladder from the textbook's to what wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from metaphys.rl._policies import MLP, PolicyNet, Tabular


@dataclass(frozen=True)
class Method:
    """One way to meta-learn.

    Every method gets the same 20 trajectories of 10 steps of each task, adapts, and is judged by
    the exact return of the adapted policy.
    """

    about: str
    """One line for tables."""

    policy: Literal["mlp", "tabular"] = "mlp"
    """The example's network of 1,606 parameters, or a table of logits and values."""

    learned: tuple[str, ...] = ("start",)
    """Which parts of :class:`metaphys.rl.Meta` the outer loop learns."""

    inner: Literal["a2c", "weighted a2c", "learned"] = "a2c"
    """The inner loss: the textbook's, the same with importance weights, which repeated steps on the
    same data need, or :func:`metaphys.rl.learned_loss`."""

    steps: int = 1
    """Inner gradient steps on the same trajectories."""

    rounds: int = 1
    """Rounds in which the trajectories are played, each by the policy adapted to those before."""

    lr: float = 0.1
    """Inner step size, where a learned one starts."""

    outer: Literal["sampled", "exact"] = "exact"
    """The outer loss: a2c on new trajectories, or the exact return on the training task."""

    dice: bool = False
    """Whether the outer gradient of ``rounds`` sees how they decide what is played."""

    outer_lr: float = 3e-3
    """Adam's step size for the start; other parts have their own, see ``OUTER_LRS``."""

    anneal: bool = True
    """Whether the outer step sizes fall to zero along a half cosine."""

    clip: float | None = 1.0
    """Largest norm of the outer gradient of each part; None for any."""

    def net(self, states: int = 10, actions: int = 5) -> PolicyNet:
        """The policy."""
        return {"mlp": MLP, "tabular": Tabular}[self.policy](states, actions)


OUTER_LRS = {"log_rates": 3e-2, "loss": 5e-2, "rounds": 5e-2}
"""Adam's step sizes for what is learned beside the start."""

ALL = ("start", "log_rates", "loss", "rounds")
_MAML = Method(
    "MAML, the textbook's setting", outer="sampled", outer_lr=1e-3, anneal=False, clip=None
)
_RATES = replace(_MAML, about="+ learned step sizes", learned=("start", "log_rates"))
_EXACT = replace(
    _RATES, about="+ exact outer return", outer="exact", outer_lr=3e-3, anneal=True, clip=1.0
)
_STEPS = replace(_EXACT, about="+ 3 inner steps, not weighted", steps=3)
_LEARNED = Method("+ learned inner loss", learned=ALL, inner="learned", steps=3, lr=0.05)
_TABLE = Method(
    "table, learned inner loss, 1 step",
    policy="tabular",
    learned=ALL,
    inner="learned",
    lr=1.0,
    outer_lr=1e-2,
)

METHODS: dict[str, Method] = {
    "maml": _MAML,
    "maml-rates": _RATES,
    "maml-exact": _EXACT,
    "maml-unweighted": _STEPS,
    "maml-steps": replace(_STEPS, about="the same, importance-weighted", inner="weighted a2c"),
    "mlp": _LEARNED,
    "mlp-rounds": replace(_LEARNED, about="+ 4 rounds, DiCE", rounds=4, dice=True),
    "tabular-one-round": _TABLE,
    "tabular-no-dice": replace(_TABLE, about="table, + 4 rounds, no DiCE", rounds=4),
    "tabular": replace(_TABLE, about="table, + 4 rounds, DiCE", rounds=4, dice=True),
}
"""By name. Each line that begins with a plus adds to the one before it."""
