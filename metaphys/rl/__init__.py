"""Meta-reinforcement learning on random tabular processes, all tasks in one batch."""

from metaphys.rl._config import Config
from metaphys.rl._experiment import estimate, run
from metaphys.rl._inner import adapt
from metaphys.rl._inner_losses import learned_loss, textbook_loss, weighted_loss
from metaphys.rl._losses import a2c, importance, magic_box, td_lambda
from metaphys.rl._mdp import Draws, Tasks, Trajs, draw, rollout, sample_tasks
from metaphys.rl._meta import Meta, Seen, init_meta
from metaphys.rl._methods import METHODS, Method
from metaphys.rl._outer import (
    Adapted,
    draw_rounds,
    exact_loss,
    exploration_loss,
    play_and_adapt,
    sampled_loss,
)
from metaphys.rl._planning import Counts, count, estimated, plan, policy_return
from metaphys.rl._policies import MLP, PolicyNet, Tabular, from_module
from metaphys.rl._rivals import one_large_step, planner_return, rival_returns
from metaphys.rl._train import Judgement, judge, train

__all__ = [
    "METHODS",
    "MLP",
    "Adapted",
    "Config",
    "Counts",
    "Draws",
    "Judgement",
    "Meta",
    "Method",
    "PolicyNet",
    "Seen",
    "Tabular",
    "Tasks",
    "Trajs",
    "a2c",
    "adapt",
    "count",
    "draw",
    "draw_rounds",
    "estimate",
    "estimated",
    "exact_loss",
    "exploration_loss",
    "from_module",
    "importance",
    "init_meta",
    "judge",
    "learned_loss",
    "magic_box",
    "one_large_step",
    "plan",
    "planner_return",
    "play_and_adapt",
    "policy_return",
    "rival_returns",
    "rollout",
    "run",
    "sample_tasks",
    "sampled_loss",
    "td_lambda",
    "textbook_loss",
    "train",
    "weighted_loss",
]
