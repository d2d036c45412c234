# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100, D101

# %% [markdown]
# # MAML on the tabular MDP
#
# Model-agnostic meta-learning (Finn et al. 2017) looks for parameters from which one gradient step
# on a new task already goes far:
#
# $$\min_\theta\; \mathbb{E}_{\mathcal{T}_i \sim p(\mathcal{T})}\left[
# \mathcal{L}_{\mathcal{T}_i}\!\left(\theta - \alpha \nabla_\theta
# \mathcal{L}_{\mathcal{T}_i}(\theta)\right)\right]$$
#
# A task is a random Markov decision process of 10 states and 5 actions. The agent plays 20 episodes
# of 10 steps, takes one step of `MetaSGD` on them, and plays 20 more; the outer optimizer makes the
# second 20 better by differentiating through that step.
#
# This is the textbook loop: one task, one episode, one step at a time. `metaphys rl` runs the same
# experiment with all tasks and episodes at once, two orders of magnitude faster, and then makes it
# learn.

# %%
import argparse
import functools
import os
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.optim as optim

import helpers.gym as gym
import metaphys as torchopt
from helpers import rollout
from helpers.policy import CategoricalMLPPolicy

SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it

# %%
TASK_NUM = 2 if SHORT else 40
TRAJ_NUM = 20
TRAJ_LEN = 10

STATE_DIM = 10
ACTION_DIM = 5

GAMMA = 0.99
LAMBDA = 0.95

outer_iters = 500
inner_iters = 1


# %% [markdown]
# A trajectory: states observed, actions taken, states after them, rewards, and the discount of what
# comes later (0 at an episode's last step).


# %%
class Traj(NamedTuple):
    obs: np.ndarray
    acs: np.ndarray
    next_obs: np.ndarray
    rews: np.ndarray
    gammas: np.ndarray


def sample_traj(env, task, policy):
    return Traj(*rollout.sample_traj(env, task, policy, traj_num=TRAJ_NUM, gamma=GAMMA))


a2c_loss = functools.partial(rollout.a2c_loss, lam=LAMBDA)


# %% [markdown]
# `evaluate` adapts the policy to each task, and compares what it earns before and after.


# %%
def evaluate(env, seed, task_num, policy):
    pre_reward_ls = []
    post_reward_ls = []
    inner_opt = torchopt.MetaSGD(policy, lr=0.1)
    env = gym.make(
        "TabularMDP-v0",
        num_states=STATE_DIM,
        num_actions=ACTION_DIM,
        max_episode_steps=TRAJ_LEN,
        seed=args.seed,
    )
    tasks = env.sample_tasks(num_tasks=task_num)
    policy_state_dict = torchopt.extract_state_dict(policy)
    optim_state_dict = torchopt.extract_state_dict(inner_opt)
    for idx in range(task_num):
        for _ in range(inner_iters):
            pre_trajs = sample_traj(env, tasks[idx], policy)
            inner_loss = a2c_loss(pre_trajs, policy, value_coef=0.5)
            inner_opt.step(inner_loss)
        post_trajs = sample_traj(env, tasks[idx], policy)
        pre_reward_ls.append(np.sum(pre_trajs.rews, axis=0).mean())
        post_reward_ls.append(np.sum(post_trajs.rews, axis=0).mean())

        torchopt.recover_state_dict(policy, policy_state_dict)
        torchopt.recover_state_dict(inner_opt, optim_state_dict)
    return pre_reward_ls, post_reward_ls


# %% [markdown]
# The inner optimizer adapts, the outer one learns where to adapt from.


# %%
def main(args):
    torch.manual_seed(args.seed)
    torch.cuda.manual_seed_all(args.seed)

    env = gym.make(
        "TabularMDP-v0",
        num_states=STATE_DIM,
        num_actions=ACTION_DIM,
        max_episode_steps=TRAJ_LEN,
        seed=args.seed,
    )
    policy = CategoricalMLPPolicy(input_size=STATE_DIM, output_size=ACTION_DIM)
    inner_opt = torchopt.MetaSGD(policy, lr=0.1)
    outer_opt = optim.Adam(policy.parameters(), lr=1e-3)
    train_pre_reward = []
    train_post_reward = []
    test_pre_reward = []
    test_post_reward = []

    for i in range(outer_iters):
        tasks = env.sample_tasks(num_tasks=TASK_NUM)
        train_pre_reward_ls = []
        train_post_reward_ls = []
        outer_opt.zero_grad()

        policy_state_dict = torchopt.extract_state_dict(policy)
        optim_state_dict = torchopt.extract_state_dict(inner_opt)
        for idx in range(TASK_NUM):
            for _ in range(inner_iters):
                pre_trajs = sample_traj(env, tasks[idx], policy)
                inner_loss = a2c_loss(pre_trajs, policy, value_coef=0.5)
                inner_opt.step(inner_loss)
            post_trajs = sample_traj(env, tasks[idx], policy)
            outer_loss = a2c_loss(post_trajs, policy, value_coef=0.5)
            outer_loss.backward()
            torchopt.recover_state_dict(policy, policy_state_dict)
            torchopt.recover_state_dict(inner_opt, optim_state_dict)
            # Logging
            train_pre_reward_ls.append(np.sum(pre_trajs.rews, axis=0).mean())
            train_post_reward_ls.append(np.sum(post_trajs.rews, axis=0).mean())
        outer_opt.step()

        test_pre_reward_ls, test_post_reward_ls = evaluate(env, args.seed, TASK_NUM, policy)

        train_pre_reward.append(sum(train_pre_reward_ls) / TASK_NUM)
        train_post_reward.append(sum(train_post_reward_ls) / TASK_NUM)
        test_pre_reward.append(sum(test_pre_reward_ls) / TASK_NUM)
        test_post_reward.append(sum(test_post_reward_ls) / TASK_NUM)

        print("Train_iters", i)
        print("train_pre_reward", sum(train_pre_reward_ls) / TASK_NUM)
        print("train_post_reward", sum(train_post_reward_ls) / TASK_NUM)
        print("test_pre_reward", sum(test_pre_reward_ls) / TASK_NUM)
        print("test_post_reward", sum(test_post_reward_ls) / TASK_NUM)


# %% [markdown]
# One iteration takes seconds, most of them in the environment's single steps. Three are enough to
# see it work; `--outer-iters 500` is the whole experiment.

# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="MAML on the tabular MDP, one step at a time")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument("--outer-iters", type=int, default=1 if SHORT else 3, help="iterations")
    args, _ = parser.parse_known_args()  # a notebook's own arguments are none of ours
    outer_iters = args.outer_iters
    main(args)

# %% [markdown]
# All 500 iterations, with every task and episode in one batch, take seconds. And the result is
# sobering: the adapted policy earns hardly more than chance (about 10), while the same 20 episodes
# are enough for a planner to earn 20.
#
# What was missing is a better inner loop. `mlp` is the same network, adapting from the same
# 20 episodes, but the inner loss (its horizon and how much a rarely tried action counts), the step
# sizes and the start are all learned. `tabular` is a linear softmax policy that also learns how to
# explore: it plays the 20 episodes in four rounds and adapts in between.

# %%
if __name__ == "__main__":
    from metaphys.rl import Config, run
    from metaphys.training import RunDirectory

    config = Config(methods=("maml", "mlp", "tabular"), seed=args.seed)
    config = config.quick() if SHORT else config
    summary = run(config, RunDirectory("runs/tutorial-06", config.to_json(), overwrite=True))
    for name, line in summary["lines"].items():
        print(f"{name:32s}{line['mean']:6.2f}")
    for name, found in summary["methods"].items():
        print(f"{name + ', adapted':32s}{found['after']['mean']:6.2f}")

# %% [markdown]
# Adapted return on tasks never seen in training, against what can be known.

# %%
if __name__ == "__main__":
    figure, axes = plt.subplots(figsize=(8, 8.5), layout="constrained")
    axes.imshow(plt.imread("runs/tutorial-06/pictures/learning.png"))
    axes.axis("off")
    plt.show()
