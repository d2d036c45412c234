"""Some steps and their pullback as two programs, compiled without a wrapper around them.

AOTAutograd traces the steps and their derivative as one graph and cuts it in two where the least
has to be kept between the halves (Chen et al., arXiv 1604.06174; here as a minimal cut). What
torch.compile puts around the halves at every call costs more than a small step itself, so they are
called as they are.

What that takes of torch is private, and may be named otherwise in the next release: it is imported
where it is used, so that an unroll then runs as it is, with a warning that says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from metaphys.meta._capture import Captured
from metaphys.meta._loop import Flat
from metaphys.meta._products import write_out

Program = Callable[[list[Any]], Sequence[Any]]
"""A compiled graph: from a list of tensors, which it may empty, to a sequence of them."""


class Steps:
    """``count`` steps, compiled for arguments like ``given``.

    Args:
        captured: one step.
        sizes: how many tensors of carry, constants and batches there are.
        given: carry, constants, batches (count, ...), outside tensors.
        wanted: the places among ``given`` that are differentiated; none for a forward sweep alone.
        backend: of torch.compile.

    Attributes:
        outputs: how many tensors the steps give; what follows is kept for the pullback.
        forward: the steps.
    """

    def __init__(
        self,
        captured: Captured,
        sizes: tuple[int, int, int],
        count: int,
        given: Flat,
        wanted: tuple[int, ...],
        backend: str,
    ) -> None:
        self.outputs = captured.outputs
        moving: list[int] = []

        def run(*tensors: Tensor) -> Flat:
            outputs = tuple(map(_owned, _repeated(captured, sizes, count, tensors)))
            moving[:] = [i for i, output in enumerate(outputs) if output.requires_grad]
            return outputs

        from torch._functorch.aot_autograd import aot_export_joint_simple
        from torch._subclasses import FakeTensorMode
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        # Shapes are numbers here, but Inductor's cache asks for a place where they might not be.
        mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
        examples = [
            mode.from_tensor(tensor.detach(), static_shapes=True).requires_grad_(place in wanted)
            for place, tensor in enumerate(given)
        ]
        with torch.set_grad_enabled(bool(wanted)):
            graph: Any = aot_export_joint_simple(
                run,
                tuple(examples),
                trace_joint=bool(wanted),
                decompositions=_decompositions(backend),
            )
        if not wanted:
            self.forward = _compiled(graph, backend, is_inference=True)
            return
        forward, backward = _halves(graph, backend, self.outputs)
        names = [node.name for node in _output(forward).args[0]]
        needed = [node.name for node in backward.graph.find_nodes(op="placeholder")]
        cotangents = [name for name in needed if name.startswith("tangents")]
        self._places = [names.index(name) for name in needed[: len(needed) - len(cotangents)]]
        self._tangents = [moving[int(name.split("_")[1]) - 1] for name in cotangents]
        self._loose = [
            place
            for place, node in enumerate(_output(backward).args[0])
            if node is not None and not node.meta["val"].is_contiguous()
        ]
        self.forward = _compiled(forward, backend)
        self._backward = _compiled(backward, backend, is_backward=True)

    def kept(self, results: Sequence[Any]) -> list[Any]:
        """What the pullback needs of what ``forward`` gave."""
        return [results[place] for place in self._places]

    def backward(
        self, kept: list[Any], cotangents: Sequence[Any], given: Sequence[Tensor]
    ) -> Sequence[Any]:
        """The cotangents of all arguments, contiguous; ``None`` where there is none.

        Args:
            kept: see :meth:`kept`; it is emptied.
            cotangents: of the outputs, contiguous; for the carry ``None`` is zero.
            given: arguments of the same shapes.
        """
        for place in self._tangents:
            known = cotangents[place]
            kept.append(torch.zeros_like(given[place]) if known is None else known)
        found = self._backward(kept)
        if self._loose:
            found = list(found)
            for place in self._loose:
                found[place] = found[place].contiguous()
        return found


def _repeated(
    captured: Captured, sizes: tuple[int, int, int], count: int, tensors: Sequence[Tensor]
) -> Flat:
    a, b, c = sizes
    carry, consts = tuple(tensors[:a]), tensors[a : a + b]
    batches, outside = tensors[a + b : a + b + c], tensors[a + b + c :]
    each = []
    for step in range(count):
        outputs = captured((*carry, *consts, *(batch[step] for batch in batches), *outside))
        carry = outputs[:a]
        each.append(outputs[a:])
    return (*carry, *(torch.stack(values) for values in zip(*each)))


def _owned(tensor: Tensor) -> Tensor:
    """``tensor``, or a copy of a view: what a program gives must not share memory.

    It is contiguous, as what it is given: the next step's program is compiled for that.
    """
    view = tensor._is_view() or "View" in type(tensor.grad_fn).__name__
    if view or not tensor.is_contiguous():
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor


def _decompositions(backend: str) -> Any:
    if backend != "inductor":
        return None
    from torch._inductor.decomposition import select_decomp_table

    return select_decomp_table()


def _halves(
    graph: fx.GraphModule, backend: str, outputs: int
) -> tuple[fx.GraphModule, fx.GraphModule]:
    from torch._functorch import config

    inputs = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    if backend == "inductor":
        from torch._inductor.compile_fx import partition_fn as cut
    else:
        from torch._functorch.partitioners import min_cut_rematerialization_partition as cut

    # All but products and random numbers is computed again: a step is bound by what it writes.
    with config.patch(aggressive_recomputation=True):
        return cut(graph, inputs, num_fwd_outputs=outputs)


def _compiled(graph: fx.GraphModule, backend: str, **options: Any) -> Program:
    inputs = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    if backend in ("eager", "aot_eager"):
        return lambda tensors: graph(*tensors)
    if backend != "inductor":
        made = torch._dynamo.lookup_backend(backend)(graph, inputs)
        return lambda tensors: made(*tensors)
    from torch._guards import TracingContext, detect_fake_mode, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    mode: Any = detect_fake_mode(inputs)
    with mode:
        write_out(graph)
    output = _output(graph)
    # What is kept too has the strides that the pullback was traced with: nobody looks again.
    output.meta["user_visible_output_idxs"] = [
        place for place, node in enumerate(output.args[0]) if isinstance(node, fx.Node)
    ]
    unchecked = config.patch(size_asserts=False)
    with V.set_fake_mode(mode), tracing(TracingContext(mode)), unchecked:
        made = compile_fx_inner(graph, inputs, **options)
    return getattr(made, "current_callable", None) or made


def _output(graph: fx.GraphModule) -> Any:
    return graph.graph.find_nodes(op="output")[0]
