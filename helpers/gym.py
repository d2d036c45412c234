"""``make`` as meta-learning wants it: environments whose tasks can be sampled and set.

gymnasium's own ``make`` takes ``max_episode_steps`` for a time limit of its own, and hides
``sample_tasks`` and ``reset_task`` behind wrappers.
"""

from __future__ import annotations

from typing import Any

from helpers.tabular_mdp import ID, TabularMDPEnv
from metaphys._errors import check

ENVIRONMENTS = {ID: TabularMDPEnv}


def make(id: str, **arguments: Any) -> TabularMDPEnv:
    """An environment with ``sample_tasks`` and ``reset_task``, without wrappers.

    Args:
        id: its name; ``TabularMDP-v0`` is there.
        arguments: those of its class, :class:`helpers.tabular_mdp.TabularMDPEnv`.

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> env = make("TabularMDP-v0", num_states=4, num_actions=2, max_episode_steps=6, seed=1)
        >>> len(env.sample_tasks(num_tasks=3)), env.max_episode_steps
        (3, 6)
    """
    check(
        id in ENVIRONMENTS,
        "id",
        expected=f"one of {sorted(ENVIRONMENTS)}",
        got=repr(id),
        remedy="gymnasium.make knows the environments without tasks.",
    )
    return ENVIRONMENTS[id](**arguments)
