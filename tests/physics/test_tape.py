"""A measurement is taken once: recomputation replays it and leaves the counter alone."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import pytest
import torch
from torch.func import grad, vjp, vmap
from torch.utils.checkpoint import checkpoint

from metaphys.physics import (
    PhysicsAware,
    SimulatedDevice,
    WithNoise,
    checkpoint_contexts,
    record,
    replay,
)


@pytest.fixture
def build(unit, array):
    """Twice the same noisy device, so that two ways of computing can be compared."""
    return lambda: PhysicsAware(WithNoise(SimulatedDevice(unit), 0.1, seed=3), array)


@pytest.fixture
def leaves(controls):
    return {k: v.clone().requires_grad_() for k, v in controls.items()}


def two_layers(pat):
    return lambda drive, controls: pat(pat(drive, controls).sin(), controls)


def gradients(readout, leaves, **options):
    return torch.autograd.grad(readout.square().sum(), list(leaves.values()), **options)


def test_replay_is_exact_and_costs_nothing(build, drive, controls):
    pat = build()
    with record() as tape:
        first = two_layers(pat)(drive, controls)
    calls = pat.device.calls
    for _ in range(2):
        with replay(tape):
            assert two_layers(pat)(drive, controls).equal(first)
    assert (len(tape), calls, pat.device.calls) == (2, 6, 6)
    assert not two_layers(pat)(drive, controls).equal(first)


def test_replay_under_transforms(build, drive, controls):
    pat = build()

    def loss(controls):
        return vmap(lambda d: pat(d, controls))(drive).square().sum()

    with record() as tape:
        value = loss(controls)
    with replay(tape):
        again, pull = vjp(loss, controls)[:2]
    assert again.equal(value) and pat.device.calls == 3
    with replay(tape):
        expected = grad(loss)(controls)
    for name, found in pull(torch.ones(()))[0].items():
        assert found.equal(expected[name])


@pytest.mark.parametrize("create_graph", [False, True])
def test_checkpoint_gives_the_same_numbers_and_counter(build, drive, leaves, create_graph):
    results: list[tuple[torch.Tensor, ...]] = []
    for recompute in (False, True):
        pat = build()
        function = two_layers(pat)
        if recompute:
            readout = checkpoint(
                function, drive, leaves, use_reentrant=False, context_fn=checkpoint_contexts
            )
        else:
            readout = function(drive, leaves)
        grads = gradients(readout, leaves, create_graph=create_graph)
        if create_graph:
            grads += gradients(grads[0], leaves)
        results.append((readout, *grads))
        assert pat.device.calls == 6
    for plain, recomputed in zip(*results, strict=True):
        assert recomputed.equal(plain)


def test_nested_checkpoints(build, drive, leaves):
    def nested(pat):
        def inner(drive, controls):
            return checkpoint(
                pat, drive, controls, use_reentrant=False, context_fn=checkpoint_contexts
            )

        return two_layers(inner)

    plain, pat = build(), build()
    expected = two_layers(plain)(drive, leaves)
    readout = checkpoint(
        nested(pat), drive, leaves, use_reentrant=False, context_fn=checkpoint_contexts
    )
    assert readout.equal(expected)
    for found, wanted in zip(gradients(readout, leaves), gradients(expected, leaves), strict=True):
        assert found.equal(wanted)
    assert pat.device.calls == plain.device.calls == 6


def test_a_record_around_a_backward_does_not_hear_the_replay(build, drive, leaves):
    pat = build()
    with record() as outer:
        readout = checkpoint(
            pat, drive, leaves, use_reentrant=False, context_fn=checkpoint_contexts
        )
        gradients(readout, leaves)
        pat(drive, leaves)
    assert len(outer) == 2


def test_without_a_tape_the_checkpoint_would_measure_again(build, drive, leaves):
    pat = build()
    gradients(checkpoint(pat, drive, leaves, use_reentrant=False), leaves)
    assert pat.device.calls == 6


def test_the_tape_is_not_what_the_caller_writes_into(build, drive, controls):
    pat = build()
    with torch.no_grad(), record() as tape:
        first = pat(drive, controls)
        expected = first.clone()
        first.zero_()
    with torch.no_grad(), replay(tape):
        pat(drive, controls).zero_()
    with torch.no_grad(), replay(tape):
        assert pat(drive, controls).equal(expected)


def test_recording_again_starts_anew(build, drive, controls):
    pat = build()
    with record() as tape:
        pat(drive, controls)
    with record(tape):
        pat(drive[:1], controls)
    with replay(tape):
        assert pat(drive[:1], controls).shape == (1, 4)


def test_a_tape_that_does_not_fit_is_refused(build, drive, controls):
    pat, other = build(), build()
    with record() as tape:
        pat(drive, controls)
    with replay(tape), pytest.raises(RuntimeError, match="one more measurement"):
        two_layers(pat)(drive, controls)
    with replay(tape), pytest.raises(RuntimeError, match=r"driven with shape \(1, 4\) at place 0"):
        pat(drive[:1], controls)
    with replay(tape), pytest.raises(RuntimeError, match="`tape` must be a record of"):
        other(drive, controls)
    with pytest.raises(TypeError, match="`tape` must be a Tape"):
        replay([])
    assert other.device.calls == 0
