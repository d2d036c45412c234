"""Devices that hang, crash or answer with what is no number: asked again, with a limit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, final

import optree
import torch
from torch import Tensor

from metaphys._errors import check, refused
from metaphys.physics._device import Device
from metaphys.physics.wrappers._wrapper import Wrapper


class DeviceError(RuntimeError):
    """A device failed as often as it may; it says which, how, and how to go on."""


@final
class WithRetries(Wrapper):
    """A device whose failed measurements are repeated, up to a limit.

    An attempt fails where the device raises, where it takes longer than ``timeout``, or where it
    answers finite drives and controls with what is not finite; the whole batch is then measured
    again. After the last attempt a :class:`DeviceError` ends the program, unless somebody catches
    it. Arguments that metaphys itself refuses (a drive out of limits) are no failure of the device
    and come back at once.

    A hanging call cannot be ended from outside: it is left in a thread of its own, whose answer
    nobody takes any more, while the device is asked again. So a driver with a time limit of its own
    is better than ``timeout``; where it has none, ``recover`` should close what it waits on.

    What was measured in failed attempts counts as calls too. Put it within :class:`WithArchive`,
    which then keeps only what succeeded.

    Args:
        device: what is measured.
        attempts: measurements of a batch, the first among them.
        timeout: time that one may take, in s; ``None`` for any time (and no thread).
        wait: pause before the second attempt, in s, doubled before each further one.
        recover: called before each further attempt, e.g. to open the port again.

    Attributes:
        failures: how often attempts failed, by the name of the error.

    Raises:
        ValueError: ``attempts`` < 1, ``timeout`` <= 0, or ``wait`` < 0.

    Example:
        >>> from metaphys.physics import Instrument, Ports
        >>> answers = iter([float("nan"), 0.5])                       # it fails once
        >>> flaky = Instrument(lambda drive, controls: drive * next(answers), Ports(2, {}, 2))
        >>> device = WithRetries(flaky, attempts=3)
        >>> device.measure(torch.ones(1, 2), {}), dict(device.failures), device.calls
        (tensor([[0.5000, 0.5000]]), {'ArithmeticError': 1}, 2)
    """

    def __init__(
        self,
        device: Device,
        attempts: int = 3,
        *,
        timeout: float | None = None,
        wait: float = 0.0,
        recover: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(device)
        check(attempts >= 1, "attempts", expected=">= 1", got=attempts)
        fits = timeout is None or timeout > 0
        check(fits, "timeout", expected="> 0 (s), or None for any time", got=timeout)
        check(wait >= 0, "wait", expected=">= 0 (s)", got=wait)
        self.attempts, self.timeout, self.wait, self.recover = attempts, timeout, wait, recover
        self.failures: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"WithRetries({self.device}, {self.attempts}, timeout={self.timeout})"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "failures": dict(self.failures)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.failures = Counter(state["failures"])

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        problems: list[Exception] = []
        while len(problems) < self.attempts:
            before = self.device.calls
            try:
                if problems:
                    self._prepare(len(problems))
                return self._attempt(drive, controls)
            except Exception as error:
                if isinstance(error, (ValueError, TypeError)) and refused(error):
                    raise
                problems.append(error)
                self.failures[type(error).__name__] += 1
                self._calls += self.device.calls - before
        raise self._given_up(problems) from problems[-1]

    def _prepare(self, failed: int) -> None:
        time.sleep(self.wait * 2 ** (failed - 1))
        if self.recover is not None:
            self.recover()

    def _attempt(self, drive: Tensor, controls: Any) -> Tensor:
        def take() -> Tensor:
            return self.device._take(drive, controls)

        readout = take() if self.timeout is None else _within(self.timeout, take)
        if _finite(drive, controls) and not _finite(readout):
            places = (~readout.isfinite()).nonzero()
            first = tuple(places[0].tolist())
            raise ArithmeticError(
                f"{len(places)} of {readout.numel()} values are not finite, the first at {first}"
            )
        return readout

    def _given_up(self, problems: list[Exception]) -> DeviceError:
        last = problems[-1]
        said = str(last).rstrip(".")
        return DeviceError(
            f"{self.device} failed in {self.attempts} of {self.attempts} attempts, the last time "
            f"with {type(last).__name__}: {said}. See to the device, then start the program again: "
            "a run goes on with --resume (resume=True) from its stored state, a WithArchive from "
            "its last measurement."
        )


def _within(seconds: float, take: Callable[[], Tensor]) -> Tensor:
    """What ``take`` returns or raises, in a thread that is left alone after so long."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((take(), None))
        except BaseException as error:  # handed over to who waits
            outcome.append((None, error))

    # A daemon: an interpreter that ends must not wait for what hangs.
    worker = threading.Thread(target=run, daemon=True, name="measurement")
    worker.start()
    worker.join(min(seconds, threading.TIMEOUT_MAX))
    if not outcome:
        raise TimeoutError(f"no answer within `timeout` = {seconds:g} s")
    readout, error = outcome[0]
    if error is not None:
        raise error
    return readout


def _finite(tensor: Tensor, others: Any = None) -> bool:
    leaves = [tensor, *optree.tree_leaves(others)]
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves)
