"""Pictures of graphs: every operation, leaf and named result once, with its edges."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import re
import shutil
import sys

import pytest
import torch
from torch import nn

import metaphys
from metaphys import visual

pytest.importorskip("graphviz")


class Net(nn.Module):
    """The bilevel example's: a x²."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        """Any shape to the same."""
        return self.a * x**2


def _bilevel():
    net, x = Net(), torch.tensor(2.0, requires_grad=True)
    states = [metaphys.extract_state_dict(net, enable_visual=True, visual_prefix="step0.")]
    metaphys.MetaSGD(net, lr=1.0).step(net(x))
    states += [metaphys.extract_state_dict(net, enable_visual=True, visual_prefix="step1.")]
    return net(x), [*states, {"x": x}]


def _parsed(dot):
    """Labels by node, and edges as pairs of labels."""
    nodes = {}
    for name, label in re.findall(r'(n\d+) \[label=("[^"]*"|\S+) ', dot.source):
        nodes[name] = label.strip('"').split("\n")[0]
    edges = re.findall(r"(n\d+) -> (n\d+)", dot.source)
    return nodes, sorted((nodes[one], nodes[other]) for one, other in edges)


def test_the_bilevel_example():
    loss, names = _bilevel()
    nodes, edges = _parsed(visual.make_dot(loss, [*names, {"outer": loss}]))
    assert sorted(nodes.values()) == [
        "AddBackward0", "MulBackward0", "MulBackward0", "MulBackward0", "PowBackward0",
        "PowBackward0", "outer", "step0.a", "step1.a", "x",
    ]  # fmt: skip
    assert edges == [
        ("AddBackward0", "step1.a"),
        ("MulBackward0", "AddBackward0"),
        ("MulBackward0", "MulBackward0"),
        ("MulBackward0", "outer"),
        ("PowBackward0", "MulBackward0"),
        ("PowBackward0", "MulBackward0"),
        ("step0.a", "AddBackward0"),
        ("step1.a", "MulBackward0"),
        ("x", "PowBackward0"),
        ("x", "PowBackward0"),
    ]


def test_it_has_every_node_of_the_graph_once():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    loss = net(torch.randn(4, 2)).pow(2).mean()
    seen, todo = set(), [loss.grad_fn]
    edges = 0
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [before for before, _ in node.next_functions]
            edges += sum(before is not None for before, _ in node.next_functions)
    nodes, drawn = _parsed(visual.make_dot(loss, net.named_parameters()))
    assert len(nodes) == len(seen) + 1  # and the output
    assert len(drawn) == edges + 1
    assert {"0.weight", "2.bias"} <= set(nodes.values())


def test_ways_to_give_names_and_outputs():
    net, x = nn.Linear(2, 1), torch.randn(3, 2)
    pairs = list(net.named_parameters())
    for names in (dict(pairs), pairs, net.named_parameters(), [dict(pairs), {"x": x}]):
        nodes, _ = _parsed(visual.make_dot([net(x).sum(), {"b": net(x)}, None], names))
        assert list(nodes.values()).count("weight") == 1  # two outputs, one graph
    two = [{"one": net.weight}, {"other": net.weight}, {"one": net.weight}]
    assert "one, other" in visual.make_dot(net(x).sum(), two).source
    leaf, _ = _parsed(visual.make_dot(net.weight, dict(pairs)))
    assert list(leaf.values()) == ["weight"]


def test_attributes_and_saved_tensors():
    x = torch.randn(2, 3, requires_grad=True)
    out = (x**2).sum(dim=1).exp().sum()
    plain = visual.make_dot(out).source
    assert "exponent" not in plain and "result" not in plain
    assert "exponent: 2" in visual.make_dot(out, show_attrs=True).source
    short = visual.make_dot(out, show_attrs=True, max_attr_chars=3).source
    assert "self_sym_sizes: ..." in short
    saved = visual.make_dot(out, show_saved=True).source
    assert "result" in saved and "dir=none" in saved
    out.backward()
    assert "ExpBackward0" in visual.make_dot(out, show_saved=True, show_attrs=True).source


def test_a_graph_deeper_than_the_stack():
    x = torch.ones((), requires_grad=True)
    y = x
    for _ in range(2 * sys.getrecursionlimit()):
        y = y + 1
    assert visual.make_dot(y).source.count("AddBackward0") == 2 * sys.getrecursionlimit()


def test_sizes():
    dot = visual.make_dot(torch.ones(1, requires_grad=True) * 2)
    assert dot.graph_attr["size"] == "12,12"
    assert visual.resize_graph(dot, size_per_element=10.0) is dot
    assert dot.graph_attr["size"] == f"{10 * len(dot.body)},{10 * len(dot.body)}"


LEARNED = torch.ones(1, requires_grad=True)
WRONG = {
    "var": lambda: visual.make_dot(torch.ones(1)),
    "var ": lambda: visual.make_dot([LEARNED, 1.0]),
    "var  ": lambda: visual.make_dot([]),
    "params": lambda: visual.make_dot(LEARNED * 2, 3),
    "params ": lambda: visual.make_dot(LEARNED * 2, {1: "one"}),
    "params  ": lambda: visual.make_dot(LEARNED * 2, metaphys.extract_state_dict(Net())),
    "max_attr_chars": lambda: visual.make_dot(LEARNED * 2, max_attr_chars=2),
}


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_arguments_are_refused_by_name(argument):
    with pytest.raises((ValueError, TypeError)) as caught:
        WRONG[argument]()
    assert str(caught.value).startswith(f"`{argument.strip()}` must")


def test_without_graphviz_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'metaphys\[visual\]'"):
        visual.make_dot(LEARNED * 2)


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs the program dot of Graphviz")
def test_dot_draws_it():
    loss, names = _bilevel()
    picture = visual.make_dot(loss, names, show_attrs=True, show_saved=True).pipe(format="svg")
    assert b"<svg" in picture and b"step1.a" in picture
