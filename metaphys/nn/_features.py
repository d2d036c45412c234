"""A classifier of few numbers: features in every layer's drive, one reading a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from metaphys._errors import check
from metaphys.nn._layer import PhysicalLayer
from metaphys.physics import Affine, Encoded, Population, Spread, System


@final
class FeatureNetwork(nn.Module):
    r"""Features in the drive of every layer, logits out of one reading of the last for each class.

    ::

        features ─ to slots ─┬─► r·x + b ─► system ─ y ─► s·y + r·x + b ─► system ─ … y ─► logits
                             └───────────────────────────────────┘ again, to every layer

    A computer does nothing but multiply and add element by element and clamp: what mixes the
    features is physics. With :math:`y_k` the reading of class k in the last layer, its logit is
    :math:`w_k y_k^2` (``power``) or :math:`w_k y_k`.

    Readings are shifted and divided by constants, so that they are of order one for drives that are
    uniform in their range: voltages (``power``) by the mean and the standard deviation of all, and
    energies, which differ from bin to bin as the spectrum of a laser does, each by its own mean.
    Where a drive has several times as many values as a readout, each reading goes to as many
    neighbours.

    With D values of the drive and L layers, (2 L - 1) D scales, L D offsets and c weights are
    trained.

    Source: the layers of Wright, Onodera et al., Nature 601, 549 (2022), Methods. Where we differ:
    a scale and an offset for each value instead of one scale a layer (vowels on units of
    second-harmonic generation went from 86 to 98 %), and the features again in every layer.

    Args:
        system: makes each layer; its drive is as long as its readout, or a multiple of it.
        slots: (D,) int64, the feature in each value of the drive.
        picks: the reading of each class, c of them.
        layers: number of layers.
        low: the least drive that the hardware takes, in its unit.
        high: the greatest.
        spread: standard deviation of the initial scales and offsets, in the drive's unit.
        power: a logit is the square of a reading, as the power of a voltage; an energy is one
            already.
        logit_scale: first value of the weights.
        generator: source of the initial controls.
        dtype: of the parameters; the default dtype by default.

    Attributes:
        inputs: number of features, the greatest of ``slots`` and one.
        deviation: standard deviation of a reading over drives that are uniform in their range, in
            the readout's unit: noise is stated against it.

    Raises:
        ValueError: ``slots`` or ``picks`` do not fit the system, ``layers`` < 1, an empty range,
            or a drive that is no multiple of the readout.

    Example:
        >>> from metaphys.physics import Circuit
        >>> slots = torch.arange(24) % 4  # four features, six times one after the other
        >>> net = FeatureNetwork(Circuit(samples=24), slots, range(7, 24, 8), low=-2.0, high=2.0)
        >>> net(torch.rand(5, 4)).shape, sum(p.numel() for p in net.parameters())
        (torch.Size([5, 3]), 123)
    """

    _slots: Tensor
    _picks: Tensor
    _centre: Tensor
    _level: Tensor

    def __init__(
        self,
        system: System,
        slots: Tensor,
        picks: Sequence[int],
        *,
        layers: int = 2,
        low: float = 0.0,
        high: float = 1.0,
        spread: float = 0.3,
        power: bool = True,
        logit_scale: float = 3.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_places(system, slots, picks)
        check(layers >= 1, "layers", expected=">= 1", got=layers)
        self.inputs, self.power, self._system = int(slots.max()) + 1, power, system
        self._repeats = system.ports.drive // system.ports.readout
        encodings = [
            Affine(inputs, low, high, scale=0.0, offset=(low + high) / 2, spread=spread)
            for inputs in [1] + [2] * (layers - 1)
        ]
        self.layers = nn.ModuleList()
        for encoding in encodings:
            encoded = Encoded(system, encoding)
            controls = encoded.init_controls(generator=generator, dtype=dtype)
            self.layers.append(PhysicalLayer(encoded, controls))
        self.weights = nn.Parameter(torch.full((len(picks),), logit_scale, dtype=dtype))
        readouts = _random_readouts(system, low, high)
        self.deviation = float((readouts - readouts.mean(0)).std())
        constants = {
            "_slots": slots,
            "_picks": torch.tensor(list(picks)),
            "_centre": readouts.mean() if power else readouts.mean(0),
            "_level": readouts.std() if power else readouts.mean(0),
        }
        for name, value in constants.items():
            value = value.to(self.weights.dtype) if value.is_floating_point() else value
            self.register_buffer(name, value, persistent=False)

    @property
    def systems(self) -> tuple[System, ...]:
        """The nominal system of each layer: the twins that need no measurement."""
        return (self._system,) * len(self.layers)

    def populations(
        self, spread: Spread, *, noise: float = 0.0, drive_noise: float = 0.0
    ) -> tuple[Population, ...]:
        """One population of systems for each layer; a seed stands for a network of units.

        Args:
            spread: how units differ.
            noise: standard deviation of the noise on each readout, in its unit.
            drive_noise: standard deviation of the noise on each drive, in its unit.

        Example:
            >>> from metaphys.nn import run_on
            >>> from metaphys.physics import Circuit, CircuitSpread, PhysicsAware
            >>> slots = torch.arange(24) % 4
            >>> net = FeatureNetwork(Circuit(samples=24), slots, (7, 15, 23), low=-2.0, high=2.0)
            >>> hardware = net.populations(CircuitSpread(), noise=0.02 * net.deviation)
            >>> with run_on(net, *[PhysicsAware(p.unit(12), twin=p.system) for p in hardware]):
            ...     logits = net(torch.rand(5, 4))
        """
        return tuple(
            Population(system, spread, noise, drive_noise, key=f"layer {index}")
            for index, system in enumerate(self.systems)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., c) of ``features`` (..., ``inputs``).

        Raises:
            ValueError: ``features`` has another last dimension.
        """
        check(
            features.ndim >= 1 and features.shape[-1] == self.inputs,
            "features",
            expected=f"of shape (..., {self.inputs})",
            got=tuple(features.shape),
        )
        x = features[..., self._slots]
        first, *others = self.layers
        y = self._normal(first(x))
        for layer in others:
            y = self._normal(layer(torch.cat([y.repeat_interleave(self._repeats, -1), x], -1)))
        picked = y[..., self._picks]
        return self.weights * (picked.square() if self.power else picked)

    def _normal(self, readout: Tensor) -> Tensor:
        return (readout - self._centre) / self._level


def _check_places(system: System, slots: Tensor, picks: Sequence[int]) -> None:
    drive, readout = system.ports.drive, system.ports.readout
    expected = "a system whose drive is as long as its readout, or a multiple of it"
    check(drive % readout == 0, "system", expected=expected, got=f"{drive} and {readout} values")
    fits = tuple(slots.shape) == (drive,) and slots.dtype == torch.int64 and int(slots.min()) >= 0
    got = f"{tuple(slots.shape)} of {slots.dtype}"
    check(fits, "slots", expected=f"({drive},) of int64, none below 0", got=got)
    check(len(picks) >= 2, "picks", expected="2 readings or more", got=len(picks))
    expected = f"readings within 0 … {readout - 1}"
    check(0 <= min(picks) <= max(picks) < readout, "picks", expected=expected, got=list(picks))


def _random_readouts(system: System, low: float, high: float) -> Tensor:
    """(256, ...) in float64, from drives that are uniform and the same in every dtype."""
    known = torch.Generator().manual_seed(0)
    shape = (*system.units, 256, system.ports.drive)
    unit = torch.rand(shape, generator=known, dtype=torch.float32).double()
    with torch.no_grad():
        controls = system.init_controls(generator=known, dtype=torch.float64)
        return system(low + (high - low) * unit, controls).flatten(0, -2)
