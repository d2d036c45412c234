"""Record what devices answered, and answer the same again without measuring."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, final

import torch
from torch import Tensor

from metaphys import _replay
from metaphys._errors import check


@dataclass(frozen=True)
class _Entry:
    device: Any
    shape: tuple[int, ...]
    readout: Tensor


@final
@dataclass
class Tape:
    """The readouts of a stretch of a program, in the order in which they were measured."""

    entries: list[_Entry] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)


class _Context:
    """Enters the thread's stack of tapes; may be entered again once it was left."""

    def __init__(self, tape: Tape) -> None:
        check(isinstance(tape, Tape), "tape", expected="a Tape", got=tape, error=TypeError)
        self.tape = tape
        self.cursor = 0

    def __enter__(self) -> Tape:
        self.cursor = 0
        _stack().append(self)
        return self.tape

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _stack().remove(self)


@final
class record(_Context):  # noqa: N801 (read as a verb, like torch.no_grad)
    """``with record() as tape:`` stores every readout that is measured inside.

    Args:
        tape: the tape to write, emptied first; a new one by default.

    Example:
        >>> from metaphys.physics import OscillatorArray, SimulatedDevice
        >>> device = SimulatedDevice(OscillatorArray(3))
        >>> controls = OscillatorArray(3).init_controls()
        >>> with record() as tape:
        ...     first = device.measure(torch.ones(2, 3), controls)
        >>> with replay(tape):
        ...     again = device.measure(torch.ones(2, 3), controls)
        >>> bool(first.equal(again)), device.calls
        (True, 2)
    """

    def __init__(self, tape: Tape | None = None) -> None:
        super().__init__(Tape() if tape is None else tape)

    def __enter__(self) -> Tape:
        self.tape.entries.clear()
        return super().__enter__()


@final
class replay(_Context):  # noqa: N801 (likewise)
    """``with replay(tape):`` answers from the tape, in order, and touches no device or counter.

    Leaving early is fine (a recomputation may stop once it has what it needs). Measuring more
    than was recorded, or something else, raises a ``RuntimeError``.
    """


def checkpoint_contexts() -> tuple[record, replay]:
    """The pair of contexts for ``torch.utils.checkpoint``: record forward, replay in recomputation.

    Without it a checkpointed layer would be measured twice, with other noise the second time.

    Example:
        >>> from torch.utils.checkpoint import checkpoint
        >>> from metaphys.physics import OscillatorArray, PhysicsAware, SimulatedDevice
        >>> array = OscillatorArray(3)
        >>> device = SimulatedDevice(array)
        >>> drive = torch.ones(2, 3, requires_grad=True)
        >>> readout = checkpoint(PhysicsAware(device, array), drive, array.init_controls(),
        ...                      use_reentrant=False, context_fn=checkpoint_contexts)
        >>> readout.sum().backward()
        >>> device.calls
        2
    """
    tape = Tape()
    return record(tape), replay(tape)


# Whatever recomputes (an unroll, for example) replays the readouts without knowing this layer.
_replay.register(checkpoint_contexts)


def through_tapes(device: Any, drive: Tensor, take: Callable[[], Tensor]) -> Tensor:
    """``take()``, or the stored readout inside a :class:`replay`; stored where a record listens.

    A replay hides the measurement from every record around it: these have stored it already, when
    it was measured. Records inside the replay are new, and store it.
    """
    recorders: list[record] = []
    replaying: replay | None = None
    for context in reversed(_stack()):
        if isinstance(context, replay):
            replaying = context
            break
        recorders.append(context)
    readout = take() if replaying is None else _next(replaying, device, drive)
    for recorder in recorders:
        # Cloned: the caller may write into what it got.
        entry = _Entry(device, tuple(drive.shape), readout.clone())
        recorder.tape.entries.append(entry)
    return readout


def _next(context: replay, device: Any, drive: Tensor) -> Tensor:
    entries = context.tape.entries
    remedy = "Run the same function as was recorded, with the same batches."
    check(
        context.cursor < len(entries),
        "tape",
        expected="as long as what replays it",
        got=f"{len(entries)} readouts and one more measurement",
        remedy=remedy,
        error=RuntimeError,
    )
    entry = entries[context.cursor]
    shape = tuple(drive.shape)
    check(
        entry.device is device and entry.shape == shape,
        "tape",
        expected=f"a record of {device} driven with shape {shape} at place {context.cursor}",
        got=f"{entry.device} driven with shape {entry.shape}",
        remedy=remedy,
        error=RuntimeError,
    )
    context.cursor += 1
    with torch.no_grad():
        return entry.readout.clone()


class _Local(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Any] = []


_LOCAL = _Local()


def _stack() -> list[Any]:
    return _LOCAL.contexts
