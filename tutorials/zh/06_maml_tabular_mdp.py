# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100, D101

# %% [markdown]
# # 表格型 MDP 上的 MAML
#
# 与模型无关的元学习（MAML，Finn 等，2017）寻找这样的参数：从它出发，在新任务上走一步梯度下降
# 就已经能走得很远：
#
# $$\min_\theta\; \mathbb{E}_{\mathcal{T}_i \sim p(\mathcal{T})}\left[
# \mathcal{L}_{\mathcal{T}_i}\!\left(\theta - \alpha \nabla_\theta
# \mathcal{L}_{\mathcal{T}_i}(\theta)\right)\right]$$
#
# 一个任务是一个随机的马尔可夫决策过程，有 10 个状态和 5 个动作。智能体先玩 20 局，每局 10 步，
# 据此走一步 `MetaSGD`，再玩 20 局；外层优化器对这一步求导，使后 20 局玩得更好。
#
# 这里是教科书式的循环：一次一个任务、一局、一步。`metaphys rl` 把所有任务和所有对局放在一个批次里
# 做同样的实验，快两个数量级，并进而让它真正学会。

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
# 一条轨迹：观察到的状态、采取的动作、随后的状态、奖励，以及对后续奖励的折扣（一局的最后一步为 0）。


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
# `evaluate` 让策略适应每个任务，并比较适应前后的收益。


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
# 内层优化器负责适应，外层优化器学习从哪里开始适应。


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
# 一次迭代要几秒，大部分花在环境的单步上。三次迭代足以看到它在运行；`--outer-iters 500` 是整个实验。

# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="MAML on the tabular MDP, one step at a time")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument("--outer-iters", type=int, default=1 if SHORT else 3, help="iterations")
    args, _ = parser.parse_known_args()  # a notebook's own arguments are none of ours
    outer_iters = args.outer_iters
    main(args)

# %% [markdown]
# 把每个任务和每一局都放进一个批次，全部 500 次迭代只要几秒。而结果令人清醒：适应后的策略挣得的
# 几乎不比随机的多（大约 10），而同样的 20 局足以让一个规划器挣到 20。
#
# 缺的是更好的内层循环。`mlp` 是同样的网络，从同样的 20 局中适应，但内层损失（它的视野，以及很少
# 尝试的动作占多少分量）、步长和起点都是学出来的。`tabular` 是线性 softmax 策略，它还学习如何探索：
# 把 20 局分成四轮，每轮之后都适应一次。

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
# 在训练中从未见过的任务上，适应之后的回报，与所能知道的几个界限相比。

# %%
if __name__ == "__main__":
    figure, axes = plt.subplots(figsize=(8, 8.5), layout="constrained")
    axes.imshow(plt.imread("runs/tutorial-06/pictures/learning.png"))
    axes.axis("off")
    plt.show()
