"""Measure, fit, judge on fresh drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device, check_device
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics.twins._calibrate import Calibration
from metaphys.physics.twins._methods import Method
from metaphys.physics.twins._nrmse import nrmse
from metaphys.physics.twins._pairs import Pairs


@final
@dataclass(frozen=True)
class FittedTwin:
    """A twin and how good it is.

    Attributes:
        twin: the system to train with.
        before: NRMSE of the model before any measurement on fresh drives; ``None`` if there is no
            such model.
        after: that of the twin. Noise of the readouts is in both.
        calls: device calls that it took, those for the judgement included; 0 for recorded pairs.
        calibration: what is known of the mismatch; ``None`` for a network.
    """

    twin: System
    before: float | None
    after: float
    calls: int
    calibration: Calibration | None


def random_drives(
    ports: Ports, count: int, *, low: float = -1.0, high: float = 1.0, seed: int = 0
) -> Tensor:
    """White drives (count, N), uniform between ``low`` and ``high``, of the default dtype.

    Example:
        >>> random_drives(Ports(drive=3, controls={}, readout=3), 2).shape
        torch.Size([2, 3])
    """
    check(count >= 1, "count", expected=">= 1", got=count)
    check(low < high, "low", expected=f"< high = {high}", got=low)
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, ports.drive, generator=generator, dtype=torch.float64)
    return (low + (high - low) * unit).to(torch.get_default_dtype())


def fit_twin(
    device: Device,
    method: Method,
    *,
    drives: Tensor,
    fresh: Tensor,
    controls: Any = None,
    repeats: int = 1,
) -> FittedTwin:
    """Measure a device and make its twin.

    Args:
        device: one unit. It is called ``repeats`` times for each of ``drives`` and once for each
            of ``fresh``.
        method: how the twin is made: :class:`Calibrate`, :class:`LearnNetwork` or
            :class:`LearnCorrection`.
        drives: (n, N), what to measure; :func:`random_drives` makes some.
        fresh: (k, N), other drives, to judge by.
        controls: those to measure under; none by default.
        repeats: measurements of each of ``drives``. A model of the noise wants 2 or more.

    Raises:
        TypeError: ``device`` or ``method`` is none.
        ValueError: a fleet, ``repeats`` < 1, or readouts that are not finite.

    Example:
        >>> from metaphys.physics import Circuit, CircuitSpread, Population
        >>> from metaphys.physics.twins import Calibrate
        >>> nominal = Circuit(samples=50)
        >>> device = Population(nominal, CircuitSpread(), noise=1e-3).unit(4)
        >>> drives = random_drives(device.ports, 6, low=-2.0, high=2.0)
        >>> method = Calibrate(nominal, CircuitSpread())
        >>> found = fit_twin(device, method, drives=drives[:2], fresh=drives[2:])
        >>> found.after < 0.2 * found.before, found.calls
        (True, 6)
    """
    check_device(device)
    remedy = "Fit its units one after the other."
    check(not device.units, "device", expected="one unit", got=device.units, remedy=remedy)
    check(repeats >= 1, "repeats", expected=">= 1", got=repeats)
    _check_method(method)
    controls = {} if controls is None else controls
    for each in (drives, fresh):
        device.ports.check(each, controls)
    before = device.calls
    readouts = torch.stack([device.measure(drives, controls) for _ in range(repeats)])
    judged = device.measure(fresh, controls)
    calls = device.calls - before
    return _fit(device.ports, method, (drives, readouts), (fresh, judged), controls, calls)


def fit_pairs(pairs: Pairs, method: Method, *, fresh: int | None = None) -> FittedTwin:
    """Make a twin from recorded pairs, of a device without controls.

    Args:
        pairs: see :func:`read_pairs`; at least 2.
        method: how the twin is made.
        fresh: the last so many pairs are for the judgement alone; a fifth by default.

    Raises:
        TypeError: ``method`` is none.
        ValueError: too few pairs, or another rate than that of the method's system.

    Example:
        >>> from metaphys.physics import Circuit, CircuitSpread
        >>> from metaphys.physics.twins import Calibrate, Pairs
        >>> nominal = Circuit(samples=50)
        >>> drives = random_drives(nominal.ports, 5, low=-2.0, high=2.0)
        >>> unit = CircuitSpread().single(nominal, seed=3)
        >>> pairs = Pairs(drives, unit(drives, {}), rate=1e6)
        >>> fit_pairs(pairs, Calibrate(nominal, CircuitSpread())).after < 1e-3
        True
    """
    _check_method(method)
    count = len(pairs.drives)
    last = max(1, count // 5) if fresh is None else fresh
    expected = f"from 1 to {count - 1}, less than the pairs"
    check(1 <= last < count, "fresh", expected=expected, got=last)
    own = getattr(method.start, "rate", None)
    same = own is None or pairs.rate is None or abs(pairs.rate - own) <= 1e-6 * own
    remedy = "Make the system with rate= of the recording."
    check(same, "pairs.rate", expected=f"the system's, {own} Hz", got=pairs.rate, remedy=remedy)
    ports = Ports(pairs.drives.shape[-1], {}, pairs.readouts.shape[-1])
    used = pairs.drives[:-last], pairs.readouts[:-last].unsqueeze(0)
    return _fit(ports, method, used, (pairs.drives[-last:], pairs.readouts[-last:]), {}, 0)


def _check_method(method: Any) -> None:
    expected, got = "a Method, as Calibrate(system, prior) is", type(method).__name__
    check(isinstance(method, Method), "method", expected=expected, got=got, error=TypeError)


def _fit(
    ports: Ports,
    method: Method,
    used: tuple[Tensor, Tensor],
    judged: tuple[Tensor, Tensor],
    controls: Any,
    calls: int,
) -> FittedTwin:
    bad = "values that are not"
    finite = bool(used[1].isfinite().all() and judged[1].isfinite().all())
    check(finite, "readouts", expected="finite", got=bad, remedy="Look at the device.")
    twin, found = method.fit(ports, used[0], controls, used[1])
    with torch.no_grad():
        model = method.start
        before = None if model is None else nrmse(model(judged[0], controls), judged[1])
        after = nrmse(twin(judged[0], controls), judged[1])
    return FittedTwin(twin, before, after, calls, found)
