"""Random tabular Markov decision processes as a gymnasium environment, ``TabularMDP-v0``."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from metaphys._errors import check, refuse

ID = "TabularMDP-v0"


class Task(NamedTuple):
    """One Markov decision process with S states and A actions.

    Attributes:
        transitions: probabilities of the next state (S, A, S); the last axis sums to 1.
        rewards_mean: mean rewards (S, A).
    """

    transitions: NDArray[np.float64]
    rewards_mean: NDArray[np.float64]


class TabularMDPEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    r"""Tabular MDPs drawn at random, as in RL² (Duan et al. 2016, arXiv:1611.02779, Sec. 3.2).

    .. math::
        P(\cdot \mid s, a) \sim \mathrm{Dirichlet}(1, \dots, 1),\quad R(s, a) \sim N(1, 1),\quad
        r \sim N(R(s, a), 1),\quad s' \sim P(\cdot \mid s, a)

    Every episode starts in state 0 and is over after ``max_episode_steps`` steps. It *terminates*
    then: the horizon belongs to the problem, whose return is the sum over these steps, so that
    there is nothing beyond it to bootstrap from. Observations are one-hot, float32, (S,).

    Each step draws one normal number for the reward, then one uniform number for the next state,
    which is the inverse of the cumulative probabilities at that number. ``metaphys.rl.rollout``
    takes the same numbers.

    Args:
        num_states: S, the number of states.
        num_actions: A, the number of actions.
        max_episode_steps: length of an episode.
        seed: of the generator that draws tasks, rewards and transitions; ``reset(seed=)``
            replaces it.

    Raises:
        ValueError: if one of the sizes is below 1.

    Example:
        >>> env = TabularMDPEnv(seed=0)
        >>> env.reset_task(env.sample_tasks(num_tasks=3)[0])
        >>> observation, _ = env.reset()
        >>> observation
        array([1., 0., 0., 0., 0., 0., 0., 0., 0., 0.], dtype=float32)
        >>> observation, reward, terminated, truncated, _ = env.step(2)
        >>> int(observation.sum()), terminated, truncated
        (1, False, False)
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  gymnasium's own form

    def __init__(
        self,
        num_states: int = 10,
        num_actions: int = 5,
        max_episode_steps: int = 10,
        seed: int | None = 1,
    ) -> None:
        sizes = (num_states, num_actions, max_episode_steps)
        for name, value in zip(("num_states", "num_actions", "max_episode_steps"), sizes):
            check(value >= 1, name, expected=">= 1", got=value)
        self.num_states, self.num_actions, self.max_episode_steps = sizes
        self.observation_space = spaces.Box(0.0, 1.0, (num_states,), np.float32)
        self.action_space = spaces.Discrete(num_actions)
        self._state, self._steps = 0, max_episode_steps
        self._seed(seed)
        self.reset_task(self.sample_tasks(1)[0])

    def _seed(self, seed: int | None) -> None:
        self._np_random, self._np_random_seed = seeding.np_random(seed)

    def sample_tasks(self, num_tasks: int) -> list[Task]:
        """Draw ``num_tasks`` tasks from this environment's generator."""
        check(num_tasks >= 1, "num_tasks", expected=">= 1", got=num_tasks)
        pairs = (self.num_states, self.num_actions)
        transitions = self.np_random.dirichlet(np.ones(self.num_states), size=(num_tasks, *pairs))
        means = self.np_random.normal(1.0, 1.0, size=(num_tasks, *pairs))
        return [Task(*each) for each in zip(transitions, means)]

    def reset_task(self, task: Task) -> None:
        """Make ``task`` the process that is stepped; call :meth:`reset` next.

        Raises:
            ValueError: if its arrays are not of shape (S, A, S) and (S, A), or its probabilities
                are negative or do not sum to 1.
        """
        transitions, means = (np.asarray(each, np.float64) for each in task)
        pairs = (self.num_states, self.num_actions)
        shapes = ((*pairs, self.num_states), pairs)
        found = (transitions.shape, means.shape)
        check(found == shapes, "task", expected=f"arrays of shapes {shapes}", got=found)
        check(
            bool((transitions >= 0).all() and np.allclose(transitions.sum(-1), 1)),
            "task",
            expected="transitions >= 0 that sum to 1 over the last axis",
            got=f"sums from {transitions.sum(-1).min():.3g} to {transitions.sum(-1).max():.3g}",
        )
        self.task = Task(transitions, means)
        self._cumulative = transitions.cumsum(-1)
        self._steps = self.max_episode_steps  # An episode of the old task cannot go on.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode in state 0; a ``seed`` draws a new task from it as well.

        Without a new task ``reset(seed=)`` could not make two environments behave alike, which
        is what gymnasium promises of it. Call :meth:`reset_task` after it to choose the task.
        """
        if seed is not None:
            super().reset(seed=seed)
            self.reset_task(self.sample_tasks(1)[0])
        self._state, self._steps = 0, 0
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take ``action``; the reward is that of the state which is left.

        Raises:
            ValueError: if the action is none of the A actions.
            RuntimeError: if the episode is over, or was never started.
        """
        # `check` would format its messages at every step.
        if not self.action_space.contains(action):
            refuse(
                "action",
                expected=f"an integer from 0 to {self.num_actions - 1}",
                got=repr(action),
            )
        if self._steps >= self.max_episode_steps:
            refuse(
                "step",
                expected="called within an episode",
                got=f"a call after {self._steps} steps, or before the first reset",
                remedy="Call reset() first.",
                error=RuntimeError,
            )
        place = (self._state, int(action))
        reward = float(self.task.rewards_mean[place] + self.np_random.standard_normal())
        found = self._cumulative[place].searchsorted(self.np_random.random(), side="right")
        # Rounding may leave the last cumulative probability a little below 1.
        self._state = min(int(found), self.num_states - 1)
        self._steps += 1
        return self._observation(), reward, self._steps == self.max_episode_steps, False, {}

    def _observation(self) -> NDArray[np.float32]:
        observation = np.zeros(self.num_states, np.float32)
        observation[self._state] = 1.0
        return observation


if ID not in gymnasium.registry:
    gymnasium.register(ID, entry_point="helpers.tabular_mdp:TabularMDPEnv")
