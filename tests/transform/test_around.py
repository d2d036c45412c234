"""Rules around rules: what each of them adds, beside the same by hand."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import pytest
import torch

import metaphys
from metaphys import chain, clip, schedule, transform
from tests.tables import FORMS, Leaves, assert_near, functional

SHAPES = [(3,), (2, 2), ()]


def _problem(steps):
    params = [torch.randn(shape) for shape in SHAPES]
    return params, [[torch.randn(shape) for shape in SHAPES] for _ in range(steps)]


# accumulate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mean", [True, False])
def test_micro_batches_are_torchs(form, mean):
    params, grads = _problem(9)
    theirs = Leaves(params).p
    optimizer = torch.optim.Adam(theirs, 0.1)
    for step in range(0, 9, 3):
        for param, *parts in zip(theirs, *grads[step : step + 3]):
            param.grad = sum(parts) / (3 if mean else 1)
        optimizer.step()
    rule = transform.accumulate(metaphys.adam(0.1), 3, mean=mean)
    assert_near(FORMS[form](rule, params, grads), [p.detach() for p in theirs])
    assert_near(FORMS[form](rule, params, grads[:2]), params)


def test_an_accumulating_rules_schedule_counts_its_own_steps():
    rate = schedule.piecewise_constant(1.0, {1: 0.5, 2: 0.5})
    params, grads = [torch.zeros(1)], [[torch.ones(1)]] * 6
    found = functional(transform.accumulate(metaphys.sgd(rate), 2), params, grads)
    torch.testing.assert_close(found[0], torch.tensor([-1.75]))


def test_half_precision_is_summed_in_float32():
    params, grads = [torch.zeros(1).bfloat16()], [[torch.tensor([x]).bfloat16()] for x in (256, 1)]
    rule = transform.accumulate(metaphys.sgd(1.0), 2, mean=False)
    state = rule.init(params)
    for each in grads:
        _, state = rule.update(each, state)
    assert state.total[0].dtype is torch.float32
    rule = transform.accumulate(metaphys.sgd(1.0), 3)
    state = rule.init(params)
    for each in grads:
        _, state = rule.update(each, state)
    torch.testing.assert_close(state.total[0], torch.tensor([257.0 / 3], dtype=torch.float32))


# lookahead ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_lookahead_is_the_papers(form):
    params, grads = _problem(7)
    fast, slow = [p.clone() for p in params], [p.clone() for p in params]
    inner = metaphys.sgd(0.1, 0.9)
    state = inner.init(params)
    for step, each in enumerate(grads, start=1):
        updates, state = inner.update(each, state)
        fast = [p + u for p, u in zip(fast, updates)]
        if step % 3 == 0:
            slow = [s + 0.4 * (f - s) for s, f in zip(slow, fast)]
            fast = slow
    assert_near(FORMS[form](transform.lookahead(inner, 3, 0.4), params, grads), fast)


# apply_if_finite ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["functional", "stateful"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_steps_that_are_not_finite_are_left_out(form, bad):
    params, grads = _problem(6)
    broken = [list(each) for each in grads]
    broken.insert(2, [*grads[0][:2], torch.tensor(bad)])
    broken.insert(4, [torch.full((3,), bad), *grads[0][1:]])
    rule = chain(metaphys.clip_grad_norm(1.0), metaphys.adam(schedule.cosine_decay(0.1, 9)))
    expected = FORMS[form](rule, params, grads)
    assert_near(FORMS[form](transform.apply_if_finite(rule), params, broken), expected)


def test_a_step_that_is_left_out_has_a_finite_derivative():
    rule = transform.apply_if_finite(metaphys.adam(0.1))
    start = torch.tensor([1.0, 2.0], requires_grad=True)
    params, state = [start * 1.0], rule.init([start])
    for scale in (1.0, float("nan"), 1.0):
        grads = [params[0] * 2 + scale - 1.0]
        updates, state = rule.update(grads, state, params)
        params = metaphys.apply_updates(params, updates, inplace=False)
    first = torch.autograd.grad(params[0].sum(), start)[0]
    assert first.isfinite().all() and state.total.tolist() == [1]
    # The same without the step that was left out.
    two, state = [start * 1.0], metaphys.adam(0.1).init([start])
    for _ in range(2):
        updates, state = metaphys.adam(0.1).update([two[0] * 2], state, two)
        two = metaphys.apply_updates(two, updates, inplace=False)
    torch.testing.assert_close(params, two)
    torch.testing.assert_close(first, torch.autograd.grad(two[0].sum(), start)[0])


def test_after_too_many_in_a_row_what_is_broken_shows():
    rule = transform.apply_if_finite(metaphys.sgd(1.0), max_consecutive_errors=2)
    state, nan = rule.init([torch.zeros(1)]), [torch.tensor([float("nan")])]
    seen = []
    for grads in (nan, nan, [torch.ones(1)], nan, nan, nan, nan):
        updates, state = rule.update(grads, state)
        seen.append((bool(updates[0].isnan()), int(state.failures)))
    assert [each for each, _ in seen] == [False] * 5 + [True] * 2
    assert [each for _, each in seen] == [1, 2, 0, 1, 2, 3, 4]
    assert state.total.tolist() == [6] and state.inner.count.tolist() == [3]


def test_each_task_of_a_batch_decides_for_itself():
    rule = transform.apply_if_finite(metaphys.adam(0.1))

    def steps(scale):
        params, state = [torch.ones(2)], rule.init([torch.ones(2)])
        for offset in (0.0, 1.0):
            grads = [torch.ones(2) * torch.where(scale > offset, torch.nan, 1.0)]
            updates, state = rule.update(grads, state)
            params = metaphys.apply_updates(params, updates, inplace=False)
        return params[0], state.inner.count

    values, counts = torch.func.vmap(steps)(torch.tensor([0.0, 0.5, 2.0]))
    assert counts.flatten().tolist() == [2, 1, 0]
    torch.testing.assert_close(values[:, 0], torch.tensor([0.8, 0.9, 1.0]))


# masked, partition --------------------------------------------------------------------------

LABELS = {
    "tree": {"w": "fast", "b": "slow", "c": "fast"},
    "function": lambda leaves: ["slow" if leaf.ndim == 1 else "fast" for leaf in leaves],
}


@pytest.mark.parametrize("how", LABELS)
def test_each_label_is_stepped_by_its_rule(how):
    params = {"b": torch.randn(3), "c": torch.tensor(1.0), "w": torch.randn(2, 2)}
    grads = {name: torch.randn_like(p) for name, p in params.items()}
    slow = metaphys.sgd(0.1, 0.9)
    fast = chain(metaphys.clip_grad_norm(0.1), metaphys.adam(0.5))
    rule = transform.partition({"slow": slow, "fast": fast}, LABELS[how])
    state = rule.init(params)
    updates, state = rule.update(grads, state, params)
    for own, names in ((slow, ["b"]), (fast, ["c", "w"])):
        given = [[tree[n] for n in names] for tree in (grads, params)]
        expected, _ = own.update(given[0], own.init(given[1]), given[1])
        assert_near([updates[n] for n in names], expected)
    # Others' leaves take no room.
    assert [m.numel() for m in state.parts[0].trace] == [3, 1, 1]
    assert [m.numel() for m in state.parts[1][1].mu] == [1, 1, 4]
    assert state.parts[0].count.tolist() == [1, 0, 0]


def test_a_missing_gradient_in_a_partition():
    rule = transform.partition({"a": metaphys.adam(0.1), "b": metaphys.adam(0.1)}, ["a", "b", "a"])
    params, grads = _problem(4)
    grads[1][0], grads[2][1], grads[3][0], grads[3][2] = None, None, None, None
    assert_near(functional(rule, params, grads), functional(metaphys.adam(0.1), params, grads))


def test_labels_without_a_rule_are_refused():
    rules = {"a": metaphys.sgd(0.1)}
    with pytest.raises(ValueError, match="`labels` must be a tree of"):
        transform.partition(rules, {"w": "b"})
    rule = transform.partition(rules, lambda leaves: ["b" for _ in leaves])
    with pytest.raises(ValueError, match="`labels` must be a tree of"):
        rule.init([torch.zeros(1)])
    with pytest.raises(ValueError, match="`labels` must be 1 values"):
        transform.partition(rules, lambda leaves: []).init([torch.zeros(1)])
    with pytest.raises(ValueError, match="`mask` must be a tree of"):
        transform.masked(metaphys.sgd(0.1), {"w": 3})
    with pytest.raises(TypeError, match="must be a rule"):
        transform.partition({"a": "sgd"}, {"w": "a"})


NO_LABELS = [None, torch.ones(2), 3, {"w": True}, {"w": torch.tensor(True)}]


@pytest.mark.parametrize("labels", NO_LABELS, ids=str)
def test_what_is_no_label_is_refused(labels):
    with pytest.raises(ValueError, match=r"^`labels` must be a tree of"):
        transform.partition({"a": metaphys.sgd(0.1)}, labels)


@pytest.mark.parametrize("mask", [torch.ones(2), 3, {"w": 1}, {"w": torch.tensor(True)}], ids=str)
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match=r"^`mask` must be a tree of"):
        transform.masked(metaphys.sgd(0.1), mask)


def test_a_parameter_without_a_label_is_refused():
    # Its update would be its gradient as it is, uphill.
    for rule in (
        transform.partition({"a": metaphys.sgd(0.1)}, {"v": "a", "w": None}),
        transform.masked(metaphys.sgd(0.1), {"v": True, "w": None}),
    ):
        with pytest.raises(ValueError, match="but got None"):
            rule.init({"v": torch.ones(1), "w": torch.ones(1)})
        assert len(rule.init({"v": torch.ones(1), "w": None}).count) == 1


@pytest.mark.parametrize(
    "gives", [lambda p: None, lambda p: 0.5, metaphys.sgd], ids=["nothing", "a number", "a rule"]
)
def test_a_function_that_gives_no_list_is_refused(gives):
    params = [torch.ones(1), torch.ones(1)]
    for name, rule in (
        ("mask", metaphys.adamw(0.1, mask=gives)),
        ("mask", transform.add_decayed_weights(0.1, gives)),
        ("labels", transform.partition({"a": metaphys.sgd(0.1)}, gives)),
    ):
        with pytest.raises(TypeError, match=f"^`{name}` must be a list, but got"):
            rule.update(params, rule.init(params), params)


def test_a_function_that_gives_no_bools_is_refused():
    params = [torch.ones(1)]
    rule = metaphys.adamw(0.1, mask=lambda leaves: ["decay" for _ in leaves])
    with pytest.raises(TypeError, match=r"^`mask` must be a bool"):
        rule.update(params, rule.init(params), params)


def test_a_mask_of_nothing_is_all():
    params, grads = _problem(3)
    rule = metaphys.adamw(0.1)
    expected = functional(rule, params, grads)
    assert_near(functional(transform.masked(rule), params, grads), expected)
    assert_near(functional(transform.masked(rule, [True] * 3), params, grads), expected)


def test_a_group_has_labels_of_its_own_in_an_optimizer():
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    rules = {"up": metaphys.sgd(1.0, maximize=True), "down": metaphys.sgd(1.0)}
    optimizer = metaphys.Optimizer([one, two], transform.partition(rules, ["up", "down"]))
    for param in (one, two):
        param.grad = torch.ones(1)
    optimizer.step()
    assert (one.item(), two.item()) == (1.0, -1.0)
    two.grad = None
    optimizer.step()
    assert (one.item(), two.item()) == (2.0, -1.0)


# inject_hyperparams -------------------------------------------------------------------------


def test_injected_values_are_read_and_changed():
    rule = transform.inject_hyperparams(metaphys.adam)(lr=0.1, betas=(0.9, 0.99))
    state = rule.init([torch.zeros(1)])
    assert state.hyper["lr"].item() == 0.1 and [b.item() for b in state.hyper["betas"]] == [
        0.9,
        0.99,
    ]
    assert state.hyper["lr"].dtype is torch.float64
    assert not {"amsgrad", "maximize", "mask"} & set(state.hyper)
    changed = state._replace(hyper={**state.hyper, "lr": torch.tensor(0.2)})
    for given, rate in ((state, 0.1), (changed, 0.2)):
        updates, after = rule.update([torch.ones(1)], given, [torch.zeros(1)])
        assert updates[0].item() == pytest.approx(-rate) and after.hyper["lr"].item() == rate


def test_an_injected_schedule_shows_its_value():
    rate = metaphys.linear_schedule(1.0, 0.0, 4)
    rule = transform.inject_hyperparams(chain(metaphys.clip_grad_norm(9.0), metaphys.sgd(rate)))
    state = rule.init([torch.zeros(1)])
    seen = []
    for _ in range(3):
        updates, state = rule.update([torch.ones(1)], state, [torch.zeros(1)])
        seen.append((state.hyper["lr"].item(), -updates[0].item()))
    assert seen == [(1.0, 1.0), (0.75, 0.75), (0.5, 0.5)]


def test_a_meta_gradient_flows_to_an_injected_value():
    rule = transform.inject_hyperparams(metaphys.sgd(0.1))
    start = torch.tensor(1.0)
    state = rule.init(start)
    rate = torch.tensor(0.1, requires_grad=True)
    state = state._replace(hyper={**state.hyper, "lr": rate})
    for adjoint in (metaphys.adjoint.Full(), metaphys.adjoint.Mixed(2)):
        end = metaphys.unroll(lambda p, _: p**2, rule, start, steps=3, state=state, adjoint=adjoint)
        # (1 - 2η)³ has the derivative -6 (1 - 2η)²
        found = torch.autograd.grad(end.params, rate)[0]
        torch.testing.assert_close(found, torch.tensor(-6 * 0.8**2))


def _two_steps(rule, change):
    """The moves of a parameter at two steps, with ``change`` to its group in between."""
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = metaphys.Optimizer([p], rule)
    moves = []
    for step in range(2):
        before, p.grad = p.detach().clone(), torch.ones(1)
        optimizer.step()
        moves.append((before - p).detach().item())
        if step == 0:
            change(optimizer, optimizer.param_groups[0])
    return moves, optimizer


DEEP = {
    "plain": lambda rule: rule,
    "chain": lambda rule: chain(metaphys.clip_grad_norm(9.0), rule),
    "accumulate": lambda rule: transform.accumulate(rule, 1),
    "masked": lambda rule: transform.masked(rule),
    "twice": lambda rule: transform.inject_hyperparams(rule),
    "inside": lambda rule: transform.inject_hyperparams(chain(transform.scale(1.0), rule)),
}


@pytest.mark.parametrize("where", DEEP)
def test_what_is_changed_in_a_group_is_what_is_injected(where):
    rule = DEEP[where](transform.inject_hyperparams(metaphys.sgd(1.0)))
    moves, _ = _two_steps(rule, lambda _, group: group.update(lr=0.25))
    assert moves == [1.0, 0.25]


def test_a_scheduler_of_torch_steps_an_injected_rate():
    def change(optimizer, group):
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5)

    moves, optimizer = _two_steps(transform.inject_hyperparams(metaphys.sgd(1.0)), change)
    assert moves == [1.0, 0.5]
    kept = optimizer.state_dict()["state"]["group 0"]
    assert kept.hyper["lr"].item() == 0.5 and kept.count.tolist() == [2]


@pytest.mark.parametrize(
    ("value", "move"),
    [(torch.tensor(0.5), 0.5), (lambda t: 2.0 * t, 2.0), ([0.75], 0.75)],
    ids=["tensor", "schedule", "list"],
)
def test_an_injected_rate_may_become_of_another_kind(value, move):
    rule = transform.inject_hyperparams(metaphys.sgd(1.0))
    moves, _ = _two_steps(rule, lambda _, group: group.update(lr=value))
    assert moves == [1.0, move]


def test_an_injected_schedule_in_a_group_goes_on():
    rule = transform.inject_hyperparams(metaphys.sgd(metaphys.linear_schedule(1.0, 0.0, 4)))
    assert _two_steps(rule, lambda *_: None)[0] == [1.0, 0.75]


@pytest.mark.parametrize(("given", "rate"), [({}, 0.5), ({"lr": 0.25}, 0.25)])
def test_an_injected_rate_goes_on_from_an_optimizer(given, rate):
    net = torch.nn.Linear(1, 1, bias=False)
    rule = transform.inject_hyperparams(metaphys.sgd(1.0))
    optimizer = metaphys.Optimizer(net.parameters(), rule)
    net.weight.grad = torch.zeros(1, 1)
    optimizer.step()  # now there is a state, which holds 1
    optimizer.param_groups[0]["lr"] = 0.5
    before, meta = net.weight, metaphys.MetaOptimizer.from_torch(optimizer, net, **given)
    meta.step(net.weight.sum())
    assert (before - net.weight).item() == pytest.approx(rate)


def test_numbers_that_choose_what_is_computed_stay():
    rule = transform.inject_hyperparams(chain(metaphys.clip_grad_norm(1.0), metaphys.muon(0.1)))
    params = [torch.randn(2, 2)]
    state = rule.init(params)
    assert not {"norm_type", "ns_steps"} & set(state.hyper) and "max_norm" in state.hyper
    updates, _ = rule.update([torch.randn(2, 2)], state, params)
    assert updates[0].isfinite().all()


# All of them --------------------------------------------------------------------------------

WRONG = {
    "every": lambda: transform.accumulate(metaphys.sgd(0.1), 0),
    "mean": lambda: transform.accumulate(metaphys.sgd(0.1), 2, mean=1),
    "sync_period": lambda: transform.lookahead(metaphys.sgd(0.1), 0),
    "slow_step_size": lambda: transform.lookahead(metaphys.sgd(0.1), 2, 1.5),
    "max_consecutive_errors": lambda: transform.apply_if_finite(metaphys.sgd(0.1), -1),
    "rule": lambda: transform.accumulate(torch.optim.SGD, 2),
    "inner": lambda: transform.apply_if_finite("sgd"),
    "rules": lambda: transform.partition([metaphys.sgd(0.1)], ["a"]),
    "step_size": lambda: transform.scale(float("nan")),
    "step_size_fn": lambda: transform.scale_by_schedule(0.1),
    "weight_decay": lambda: transform.add_decayed_weights(-0.1),
    "nan": lambda: transform.nan_to_num("0"),
    "norm_type": lambda: clip.clip_grad_norm(1.0, 10**400),
    "params": lambda: functional_without_params(transform.lookahead(metaphys.sgd(0.1))),
}


def functional_without_params(rule):
    rule.update([torch.ones(1)], rule.init([torch.ones(1)]))


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_arguments_are_named(argument):
    with pytest.raises((ValueError, TypeError), match=f"`{argument}` must be"):
        WRONG[argument]()


COMPILED = {
    "chain": lambda: chain(metaphys.clip_grad_norm(0.5), metaphys.adam(0.1)),
    "around": lambda: transform.apply_if_finite(transform.accumulate(metaphys.adam(0.1), 2)),
    "partition": lambda: transform.partition(
        {"a": metaphys.sgd(0.1), "b": transform.lookahead(metaphys.sgd(0.1), 2)}, ["a", "b"]
    ),
}


@pytest.mark.parametrize("name", COMPILED)
def test_steps_compile_without_graph_breaks(name):
    rule = COMPILED[name]()

    def steps(x, y):
        params = [x, y]
        state = rule.init(params)
        for _ in range(2):
            updates, state = rule.update([params[0] * 2, params[1].cos()], state, params)
            params = metaphys.apply_updates(params, updates, inplace=False)
        return params

    inputs = (torch.randn(3), torch.randn(2))
    compiled = torch.compile(steps, fullgraph=True, backend="aot_eager")
    assert_near(compiled(*inputs), steps(*inputs))
