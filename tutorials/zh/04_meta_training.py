# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100

# %% [markdown]
# # 元训练：五步适应一台新器件
#
# 上一篇教程训练了一台器件，用了数万次测量。可是器件总是成批出现的，没有两台完全相同：每一台都
# 需要自己的控制量，而测量要花时间。微调只需要很少的测量，但如果控制量原本是为另一台器件准备的，
# 普通的几步走不了多远。
#
# 于是让*外层*循环去学，怎样才能让内层循环变短。它在许多台仿真的器件上寻找一个起点 $\theta$ 和
# 一组步长 $\alpha$（每个控制量一个），使得在一台从未见过的器件上，用 50 个带标签的样本做五步
# 物理感知的更新，就能得到一个好的网络：
#
# $$\min_{\theta,\,\alpha}\; \mathbb E_{\text{unit}}\;
# L_\text{query}\bigl(\theta^{(5)}\bigr),$$
#
# $$\theta^{(t+1)} = \theta^{(t)} - \alpha \odot \nabla L_\text{support}\bigl(\theta^{(t)}\bigr),
# \qquad \theta^{(0)} = \theta .$$
#
# 它的梯度要穿过五步，而每一步都是物理感知的：这是对测量所得的层求导数的导数。这里是一次小规模的
# 运行，在两个核上要一两分钟。`metaphys meta-train` 则是完整的实验，带有检查点和报告。

# %%
import math
import os

import matplotlib.pyplot as plt
import torch
from torch.func import vmap

import metaphys
from metaphys.nn import OscillatorNetwork, functional, run_on
from metaphys.physics import OscillatorSpread, PhysicsAware, Population
from metaphys.training import cross_entropy, squared_error

SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it
WARM, META, UNITS = (3, 2, 2) if SHORT else (800, 250, 20)
LABELS, INNER_STEPS = 50, 5

# %% [markdown]
# ## 器件的总体
#
# 网络与上一篇教程相同。一台器件与标称阵列有两处不同：每个耦合都有偏移，每个振子的正弦里都有
# 相对误差（后者无法用任何控制量抵消）；它的读数还带有噪声。每台器件由一个种子命名。编号小于
# 10,000 的用于训练，另外两组分别用于选择步长和给出最后的数字。

# %%
data = metaphys.data.digits()
net = OscillatorNetwork(
    64, 10, logit_scale=10.0, coupling_limit=1.0, generator=torch.Generator().manual_seed(0)
)
net.requires_grad_(False)
apply, initial = functional(net)  # apply(controls, images), on whatever the network runs on
del initial["logit_scale"]  # fixed: only controls are learned

spread = OscillatorSpread(coupling=0.85, gain=0.1, gain_spread=0.05, per_oscillator=True)
population = Population(net.systems[0], spread, noise=0.02)
VALIDATION, TEST = range(10_000, 10_006), range(20_000, 20_000 + UNITS)


def on_units(seeds):
    """Run the network on these units, one in each index of a vmap."""
    return run_on(net, PhysicsAware(population.draw(seeds), twin=population.system))


def samples(count, units, generator):
    rows = torch.stack(
        [torch.randperm(len(data.train), generator=generator)[:count] for _ in range(units)]
    )
    return data.train.inputs[rows], data.train.targets[rows]


# %% [markdown]
# ## 内层循环
#
# 在一台器件的 50 个样本上做五步梯度下降，写成一个函数。`rates` 为每个控制量保存一个步长。
# 类别角度的平方误差比交叉熵更能说明器件的情况：对已经分对的样本，交叉熵的梯度会逐渐消失。


# %%
def adapt(controls, rates, images, labels, trajectory=False):
    def loss(controls, meta=None):
        return squared_error(apply(controls, images), labels)

    rule = metaphys.sgd(lr=rates)
    return metaphys.unroll(loss, rule, controls, steps=INNER_STEPS, trajectory=trajectory)


# %% [markdown]
# ## 外层循环
#
# 所有外层循环都很普通：一批器件和样本，一个损失，Adam，以及逐渐减小的学习率。不同的只是损失。
#
# - **仿真训练**（in silico）只在标称模型上训练，不测量任何器件。
# - **总体起点**（population start）为所有器件训练同一个起点，用物理感知的梯度，每一步都换新的
#   器件。它必须不经适应就好用。它是元学习真正的对手；它的学习率取自结果页中扫描得到的最优值。
# - **元学习**从这样一个起点出发继续学，并同时学习步长；它看的是适应*之后*还剩下多少损失。


# %%
def outer_loop(learned, loss, steps, lrs):
    for value in learned.values():
        value.requires_grad_()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam([{"params": [value]} for value in learned.values()])
    for step in range(steps):
        fade = (1 + math.cos(math.pi * step / steps)) / 2
        for group, name in zip(optimizer.param_groups, learned):
            group["lr"] = fade * lrs(name)
        optimizer.zero_grad()
        loss(learned, generator).backward()
        torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
        optimizer.step()
    return {name: value.detach() for name, value in learned.items()}


def copy(controls):
    return {name: value.clone() for name, value in controls.items()}


def nominal_loss(learned, generator):
    images, labels = samples(64, 1, generator)
    return cross_entropy(apply(learned, images[0]), labels[0])


def population_loss(learned, generator):
    def one(images, labels):
        return cross_entropy(apply(learned, images), labels)

    seeds = torch.randint(10_000, (8,), generator=generator).tolist()
    with on_units(seeds):
        return vmap(one)(*samples(32, 8, generator)).mean()


def meta_loss(learned, generator):
    start = {name: learned[name] for name in initial}
    rates = {name: learned[f"rate of {name}"].exp() for name in initial}

    def one(images, labels):
        end = adapt(start, rates, images[:LABELS], labels[:LABELS])
        return cross_entropy(apply(end.params, images[LABELS:]), labels[LABELS:])

    seeds = torch.randint(10_000, (4,), generator=generator).tolist()
    with on_units(seeds):
        return vmap(one)(*samples(2 * LABELS, 4, generator)).mean()


# %%
in_silico = outer_loop(copy(initial), nominal_loss, WARM, lambda name: 1e-2)
rival = outer_loop(copy(initial), population_loss, WARM + META, lambda name: 0.5)
warm = outer_loop(copy(initial), population_loss, WARM, lambda name: 2e-2)
learned = outer_loop(
    copy(warm) | {f"rate of {name}": torch.zeros_like(value) for name, value in warm.items()},
    meta_loss,
    META,
    lambda name: 5e-2 if name.startswith("rate") else 1e-2,
)
meta_start = {name: learned[name] for name in initial}
meta_rates = {name: learned[f"rate of {name}"].exp() for name in initial}

# %% [markdown]
# ## 新的器件
#
# 二十台器件，训练和选择都没有用过它们。每台用 50 个样本走五步，也就是 250 次器件测量，每一步之后
# 都在全部测试图像上评判。普通的微调对所有控制量只有一个步长，取七个候选中最好的一个，在六台
# 验证器件上选出。


# %%
def accuracies(start, rates, units):
    """Accuracy on the test (or validation) images after 0, 1, … steps, (units, steps + 1)."""
    part = data.test if units == TEST else data.validation

    def one(images, labels):
        path = adapt(start, rates, images, labels, trajectory=True).trajectory
        path = {name: torch.cat([start[name].unsqueeze(0), path[name]]) for name in start}
        guesses = [
            apply({name: value[step] for name, value in path.items()}, part.inputs).argmax(-1)
            for step in range(INNER_STEPS + 1)
        ]
        return (torch.stack(guesses) == part.targets).double().mean(-1)

    with torch.no_grad(), on_units(units):
        return vmap(one)(*samples(LABELS, len(units), torch.Generator().manual_seed(2)))


def best_rate(start):
    tried = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
    reached = [accuracies(start, rate, VALIDATION)[:, -1].mean().item() for rate in tried]
    return tried[reached.index(max(reached))]


found = {
    "in silico + fine-tuning": accuracies(in_silico, best_rate(in_silico), TEST),
    "population start + fine-tuning": accuracies(rival, best_rate(rival), TEST),
    "meta-learned start and step sizes": accuracies(meta_start, meta_rates, TEST),
}
for name, values in found.items():
    mean = 100 * values.mean(0)
    print(f"{name:34s} before {mean[0]:.1f} %, after {INNER_STEPS} steps {mean[-1]:.1f} %")

# %%
figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
for index, (name, values) in enumerate(found.items()):
    steps = range(INNER_STEPS + 1)
    axes.plot(steps, 100 * values.T, color=f"C{index}", lw=0.6, alpha=0.35)
    axes.plot(steps, 100 * values.mean(0), "o-", color=f"C{index}", lw=2, label=name)
axes.set(xlabel=f"inner step, {LABELS} device calls each", ylabel="accuracy on the unit (%)")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# 细线是各台器件，粗线是它们的平均。适应之前，元学习的起点并不是最好的，也不必是：我们要求它的，
# 是五步之后表现好。它的第一步甚至可能损失一些准确率，只要这一步把控制量带到更适合第二步的地方。
#
# 小规模运行的一个种子，说明不了几个百分点的差别。结果页有三个种子、六十台器件、学习率经过更仔细
# 调节的对手，以及置信区间。
