# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# ruff: noqa: D100, D101, D102

# %% [markdown]
# # 可微的一步
#
# 训练是一个循环：求损失的梯度，走一步，再重复。在*双层*（bilevel）问题里，这个循环只是内层：
# 内层循环改变参数 $w$；外层循环要问，内层的结果如何依赖于别的东西，比如数据、起点或步长。
# 要回答这个问题，就得让导数**穿过内层的每一步**。
#
# 本教程用三种方法求同一个导数（手算、`MetaOptimizer`、`MetaSGD`），看一看使它成为可能的计算图，
# 然后用它学出一个步长。

# %%
import io
import os
import shutil

import matplotlib.pyplot as plt
import torch

import metaphys

SHORT = "METAPHYS_SHORT" in os.environ  # a quick pass, as the tests take it

# %% [markdown]
# ## 最小的双层问题
#
# 网络只有一个参数 $a$，输出 $f(x) = a\,x^2$，损失就是输出本身。以步长 1 做一步梯度下降，得到
#
# $$a' = a - \frac{\partial}{\partial a}\,(a\,x^2) = a - x^2 .$$
#
# 外层损失是走完这一步之后的输出 $a' x^2 = (a - x^2)\,x^2$。它通过两条路依赖于 $x$：一条是直接的，
# 另一条经过那一步更新。在 $a = 1$、$x = 2$ 处，导数是 $2 a x - 4 x^3 = 4 - 32 = -28$。
# 如果忘了那一步，就只会得到 $2 a' x = -12$。
#
# 手工也可以让 PyTorch 算出来：内层梯度要保留自己的计算图（`create_graph=True`），
# 新参数要是一个新的张量。

# %%
a = torch.tensor(1.0, requires_grad=True)
x = torch.tensor(2.0, requires_grad=True)

(gradient,) = torch.autograd.grad(a * x**2, a, create_graph=True)
a_next = a - 1.0 * gradient
(by_hand,) = torch.autograd.grad(a_next * x**2, x)
print(by_hand)

# %% [markdown]
# ## 换成模块
#
# 一旦模块有许多参数，或者要用动量、Adam，手工写法就很繁琐了。`MetaOptimizer` 接受任何模块和任何
# 更新规则。它的 `step` 用起来和普通优化器一样，只是它放进模块里的参数是带有历史的张量。


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
# 每个规则还有一个简写：`sgd` 对应 `MetaSGD`，`adam` 对应 `MetaAdam`，依此类推。

# %%
net, x = Net(), torch.tensor(2.0, requires_grad=True)
optimizer = metaphys.MetaSGD(net, lr=1.0)
optimizer.step(net(x))
net(x).backward()
by_meta_sgd = x.grad
print(by_meta_sgd)

# %% [markdown]
# ## 这一步留下了什么
#
# 新参数记得自己是怎么来的。`make_dot` 把这份记忆画出来，也就是外层损失求导时要穿过的计算图。
# 用 `enable_visual=True` 提取的状态给参数起名，区分更新之前与更新之后。

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
# 从 $x$ 到外层损失有两条路：左边是直接的，右边经过那一步更新。它们正是导数的两项：
# $2 a' x = -12$ 和 $-2 x \cdot x^2 = -16$。

# %% [markdown]
# ## 学习步长
#
# 穿过内层循环的导数有什么用？它能替我们选出平常靠猜的量。取一个碗形函数，一个方向平缓，
# 另一个方向陡峭：
#
# $$L(w) = \tfrac12 (w_1^2 + 10\,w_2^2), \qquad w^{(0)} = (1, 1),$$
#
# 并以步长 $\eta$ 做 $k$ 步梯度下降。这里一切都有解析解：每一步把 $w_1$ 乘以 $1 - \eta$，
# 把 $w_2$ 乘以 $1 - 10\,\eta$，所以 $k$ 步之后的损失是
#
# $$L_k(\eta) = \tfrac12\left[(1 - \eta)^{2k} + 10\,(1 - 10\,\eta)^{2k}\right].$$
#
# 内层循环不知道这个公式，外层循环也不知道。步长是一个需要梯度的张量，`MetaSGD` 可以直接用它
# 代替数字。


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
# 求得的导数与公式的导数一致：

# %%
rate = torch.tensor(0.05, requires_grad=True)
(through_the_loop,) = torch.autograd.grad(loss_after(5, rate), rate)
(of_the_formula,) = torch.autograd.grad(formula(5, rate), rate)
print(through_the_loop, of_the_formula)

# %% [markdown]
# 外层循环很普通：用普通的 `torch.optim.Adam` 沿步长的对数下降，这样步长始终为正。
# 我们让它分别为一步、三步和十步内层更新寻找最好的步长。

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
# 最好的步长取决于走多少步。只走一步时是 $101 / 1001 \approx 0.101$，接近陡峭方向曲率的倒数，
# 因为损失主要来自陡峭的方向。步数很多时它趋于 $2 / 11 \approx 0.182$，也就是让两个方向收缩得
# 一样快的经典值。没有人把这些告诉外层循环，它自己找到了。

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
# 每条曲线是精确的损失；每串点是一个外层循环，从 0.03 出发，只看得到穿过内层各步的导数。
# 圆环标出每串点的终点，它们都落在最小值上。
#
# 接下来：步数多到内存放不下怎么办，是下一篇关于展开（unroll）与伴随的教程的主题；MAML 学的不是
# 步长而是起点，见表格型 MDP 的教程；内层循环也可以在物理器件上运行，见关于物理感知训练的教程。
