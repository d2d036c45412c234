"""Small products written out are the same products."""

from __future__ import annotations

import pytest
import torch
from torch._guards import detect_fake_mode
from torch.fx.experimental.proxy_tensor import make_fx

from metaphys.meta import _products
from tests.tables import assert_near


def function(x, y, z):
    return torch.addmm(z[0], x.t() * 2, y), torch.mm(y.t(), x), torch.addmm(z, x.t(), y, beta=2)


@pytest.mark.parametrize(("largest", "libraries"), [(59, 3), (60, 1)])
def test_small_products_are_written_out(largest, libraries, monkeypatch):
    monkeypatch.setattr(_products, "SMALL", largest)  # each is 3 * 4 * 5
    given = torch.randn(4, 3), torch.randn(4, 5), torch.randn(3, 5)
    graph = make_fx(function, tracing_mode="fake")(*given)
    mode = detect_fake_mode([node.meta["val"] for node in graph.graph.nodes if "val" in node.meta])
    assert mode is not None
    with mode:
        _products.write_out(graph)
    assert sum("mm.default" in str(node.target) for node in graph.graph.nodes) == libraries
    assert_near(graph(*given), function(*given))
