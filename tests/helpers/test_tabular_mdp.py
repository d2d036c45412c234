"""The environment: what gymnasium asks of it, what it is drawn from, what it refuses."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import helpers.gym as gym
from helpers.tabular_mdp import TabularMDPEnv, Task


def test_gymnasium_accepts_it():
    check_env(gym.make("TabularMDP-v0", num_states=4, num_actions=3), skip_render_check=True)


def test_gymnasium_knows_it_by_name():
    env = gymnasium.make("TabularMDP-v0", num_states=4)
    assert isinstance(env.unwrapped, TabularMDPEnv)


def test_make_keeps_the_methods_and_the_length_of_an_episode():
    env = gym.make("TabularMDP-v0", max_episode_steps=3)
    env.reset_task(env.sample_tasks(num_tasks=2)[1])
    env.reset()
    assert [env.step(0)[2] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("through", ["argument", "reset"])
def test_equal_seeds_give_equal_episodes(through):
    def episode() -> list[float]:
        env = gym.make("TabularMDP-v0", seed=7 if through == "argument" else None)
        env.reset(seed=None if through == "argument" else 7)
        return [float(env.step(1)[1]) for _ in range(10)]

    assert episode() == episode()


def test_the_prior_and_the_noise_are_those_of_the_paper():
    env = gym.make("TabularMDP-v0", max_episode_steps=4000, seed=3)
    tasks = env.sample_tasks(400)
    means = np.stack([task.rewards_mean for task in tasks])
    chances = np.stack([task.transitions for task in tasks])
    assert means.mean() == pytest.approx(1.0, abs=0.03)
    assert means.std() == pytest.approx(1.0, abs=0.03)
    # Of Dirichlet(1, ..., 1) over S states, an entry has the variance (S - 1) / (S²(S + 1)).
    assert chances.std() == pytest.approx(np.sqrt(9 / 1100), rel=0.02)
    env.reset_task(tasks[0])
    observation, _ = env.reset()
    surprises, left, entered = [], [], []
    for _ in range(4000):
        state = int(observation.argmax())
        observation, reward, *_ = env.step(2)
        surprises.append(reward - tasks[0].rewards_mean[state, 2])
        left.append(state)
        entered.append(int(observation.argmax()))
    assert np.mean(surprises) == pytest.approx(0.0, abs=0.06)
    assert np.std(surprises) == pytest.approx(1.0, abs=0.06)
    found = np.zeros((10, 10))
    np.add.at(found, (left, entered), 1)
    wanted = tasks[0].transitions[:, 2]
    assert np.abs(found / found.sum(1, keepdims=True) - wanted).max() < 0.12


def _task(states: int = 10, actions: int = 5) -> Task:
    return gym.make("TabularMDP-v0", num_states=states, num_actions=actions).task


REFUSED = {
    "another size": (lambda env: env.reset_task(_task(4)), ValueError, "`task`"),
    "no probabilities": (
        lambda env: env.reset_task(Task(2 * _task().transitions, _task().rewards_mean)),
        ValueError,
        "sum to 1",
    ),
    "no task": (lambda env: env.sample_tasks(0), ValueError, "`num_tasks`"),
    "an action too many": (lambda env: (env.reset(), env.step(5)), ValueError, "`action`"),
    "a step before the start": (lambda env: env.step(0), RuntimeError, "reset"),
    "an unknown name": (lambda env: gym.make("CartPole-v1"), ValueError, "`id`"),
    "no states": (lambda env: gym.make("TabularMDP-v0", num_states=0), ValueError, "num_states"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_misuse_is_refused_by_name(case):
    act, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        act(gym.make("TabularMDP-v0"))
