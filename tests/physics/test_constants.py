"""Constants are computed once; what is differentiated or mapped is computed every time."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap

from metaphys.physics import Circuit, CircuitMismatch, Plate, PlateDesign, PlateMismatch
from metaphys.physics._constants import Constant
from metaphys.physics.circuit import _circuit


class Counted:
    """The sine of a source, and how often it was computed."""

    def __init__(self, source):
        self.source, self.count, self.constant = source, 0, Constant([source, None])

    def __call__(self, tensor):
        """The constant, for this tensor."""
        return self.constant.like(tensor, self.compute)

    def compute(self, device):
        """One more computation."""
        self.count += 1
        return self.source.sin()


def test_a_constant_is_computed_once_for_each_dtype():
    counted = Counted(torch.tensor([0.3]))
    for dtype in (torch.float32, torch.float64):
        for _ in range(3):
            found = counted(torch.zeros(1, dtype=dtype))
            assert found.dtype == dtype and torch.allclose(found, torch.tensor(0.3).sin().to(dtype))
    assert counted.count == 2


def test_a_source_that_was_changed_in_place_is_seen():
    source = torch.tensor([0.3])
    counted = Counted(source)
    before = counted(source)
    source += 1
    after = counted(source)
    assert after.equal(torch.tensor([1.3]).sin()) and not after.equal(before)


def test_what_was_kept_in_inference_mode_can_be_differentiated_later():
    counted = Counted(torch.tensor([0.3]))
    with torch.inference_mode():
        counted(torch.zeros(1))
    leaf = torch.ones(1, requires_grad=True)
    (counted(leaf) * leaf).backward()
    assert counted.count == 1 and leaf.grad is not None
    torch.testing.assert_close(leaf.grad, torch.tensor([0.3]).sin())


def test_a_source_with_a_derivative_is_computed_every_time():
    source = torch.tensor([0.3], requires_grad=True)
    counted = Counted(source)
    for count in (1, 2):
        (found,) = torch.autograd.grad(counted(torch.zeros(1)).sum(), source)
        torch.testing.assert_close(found, source.cos())
        assert counted.count == count
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.tensor([0.3]), torch.ones(1))
        tangent = forward_ad.unpack_dual(Counted(dual)(torch.zeros(1))).tangent
        assert tangent is not None and torch.allclose(tangent, torch.tensor([0.3]).cos())


@pytest.mark.parametrize("stiffening", [0.0, 1.5])
def test_a_transformed_mismatch_is_never_kept(stiffening):
    design = PlateDesign(modes=3, stiffening=stiffening, boundary="simply supported")
    drive = torch.linspace(-1, 1, 5)

    def f(thickness):
        return Plate(design, samples=5, mismatch=PlateMismatch(thickness=thickness))(
            drive, {}
        ).sum()

    point, h = torch.tensor([0.1]), 1e-6
    slope = (f(point + h) - f(point - h)) / (2 * h)
    torch.testing.assert_close(grad(f)(point)[0], slope, rtol=1e-6, atol=0)
    torch.testing.assert_close(jvp(f, (point,), (torch.ones(1),))[1], slope, rtol=1e-6, atol=0)
    points = torch.tensor([[0.0], [0.1]])
    torch.testing.assert_close(vmap(f)(points), torch.stack([f(p) for p in points]))


def test_a_circuits_table_is_kept_until_its_unit_changes(monkeypatch):
    made = []
    original = _circuit.tabulated
    monkeypatch.setattr(_circuit, "tabulated", lambda *a: made.append(a) or original(*a))
    error, drive = torch.tensor(0.1), torch.linspace(-2, 2, 20)
    circuit = Circuit(samples=20, mismatch=CircuitMismatch(L=error))
    before, again = circuit(drive, {}), circuit(drive, {})
    assert before.equal(again) and len(made) == 1
    error += 0.1
    changed = Circuit(samples=20, mismatch=CircuitMismatch(L=torch.tensor(0.2)))
    torch.testing.assert_close(circuit(drive, {}), changed(drive, {}))
    leaf = torch.tensor(0.2, requires_grad=True)
    Circuit(samples=20, mismatch=CircuitMismatch(L=leaf))(drive, {}).sum().backward()
    assert leaf.grad is not None and leaf.grad.abs() > 1e-3
    assert len(made) == 3  # of what carries a derivative nothing is kept
