"""A network as the twin, with a model of the device's noise."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal
from torch.nn.functional import softplus

from metaphys._errors import check
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics.twins._inputs import rows, width
from metaphys.physics.twins._mlp import MLP
from metaphys.physics.twins._train import Schedule, train


@final
class NetworkTwin(System):
    r"""A network that was fitted to a device, and a network that was fitted to its noise.

    .. math:: y = \mu(x, \theta) + \sum_{k=1}^K \epsilon_k\, a_k(x, \theta) + s(x, \theta)\, \xi,
              \qquad \epsilon, \xi \sim N(0, 1)

    As a system it answers with μ; :meth:`sample` adds the noise: K modes that are correlated over
    the readout, and a white part. Both networks are multilayer perceptrons with swish.

    Source: Wright, Onodera et al., Nature 601, 549 (2022), Methods: a mean model and a noise model
    with two modes. Where we differ: theirs has no white part.

    Args:
        ports: those of the device; controls are inputs as the drive is.
        hidden: widths of μ's hidden layers.
        noise_hidden: widths of the noise model's.
        modes: K, the correlated modes of the noise.
        generator: of the initial weights.

    Raises:
        ValueError: ``modes`` < 0.

    Example:
        >>> twin = NetworkTwin(Ports(drive=3, controls={"gain": ()}, readout=2), hidden=[8])
        >>> twin(torch.zeros(5, 3), {"gain": torch.ones(())}).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        ports: Ports,
        *,
        hidden: tuple[int, ...] | list[int] = (500, 1000, 300),
        noise_hidden: tuple[int, ...] | list[int] = (150,),
        modes: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        check(modes >= 0, "modes", expected=">= 0", got=modes)
        self.ports, self.modes = ports, modes
        inputs, m = width(ports), ports.readout
        self.mean = MLP([inputs, *hidden, m], generator)
        self.noise = MLP([inputs, *noise_hidden, (modes + 1) * m], generator)

    def __repr__(self) -> str:
        return f"NetworkTwin({self.mean.sizes}, modes={self.modes})"

    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Refused unless there are none: where controls start is the device's business."""
        check(
            self.ports.controls == {},
            "controls",
            expected="those of the device or of its nominal system",
            got="a network, which knows no start for them",
        )
        return {}

    def sample(
        self, drive: Tensor, controls: Any, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A noisy readout; shapes as those of a call."""
        modes, white = self._deviations(drive, controls)
        shape = (*drive.shape[:-1], self.modes)
        epsilon = torch.randn(shape, generator=generator, dtype=drive.dtype)
        xi = torch.randn(white.shape, generator=generator, dtype=drive.dtype)
        correlated = (modes @ epsilon.to(drive).unsqueeze(-1)).squeeze(-1)
        return self(drive, controls) + correlated + white * xi.to(drive)

    def covariance(self, drive: Tensor, controls: Any) -> Tensor:
        """Of the readout's noise, (..., M, M)."""
        modes, white = self._deviations(drive, controls)
        return modes @ modes.mT + torch.diag_embed(white.square())

    def fit(
        self, drives: Tensor, controls: Any, readouts: Tensor, schedule: Schedule | None = None
    ) -> None:
        """Fit both networks to ``readouts`` (R, *samples, M), R repeats of one measurement.

        The mean is fitted to the mean of the repeats by least squares, then the noise to their
        deviations by maximum likelihood (to what the mean leaves, where R = 1).
        """
        schedule = Schedule() if schedule is None else schedule
        repeats, mean = len(readouts), readouts.mean(0)
        inputs = rows(self.ports, drives, controls).flatten(0, -2)
        target = mean.flatten(0, -2)
        self.mean.standardise(inputs, target)
        scale = self.mean.scale

        def squared(index: Tensor) -> Tensor:
            return ((self.mean(inputs[index]) - target[index]) / scale).square().mean()

        train(self.mean, squared, len(inputs), schedule)
        with torch.no_grad():
            around = mean if repeats > 1 else self(drives, controls)
            rest = (readouts - around) * (repeats / max(repeats - 1, 1)) ** 0.5
        rest = rest.flatten(1, -2) if rest.ndim > 3 else rest.reshape(repeats, -1, rest.shape[-1])
        self._fit_noise(inputs, rest, schedule)

    def _fit_noise(self, inputs: Tensor, rest: Tensor, schedule: Schedule) -> None:
        size = rest.square().mean((0, 1)).sqrt()
        whole = size.square().mean().sqrt().clamp_min(torch.finfo(rest.dtype).tiny)
        size = torch.maximum(size, 1e-3 * whole)
        self.noise.standardise(inputs, size.repeat(self.modes + 1).expand(2, -1), offset=False)
        self.noise.scale.copy_(size.repeat(self.modes + 1))
        with torch.no_grad():
            # Modes of zero would have no gradient: ± a is the same model.
            generator = schedule.generator()
            first = self.modes * rest.shape[-1]
            bias = self.noise.layers[-1].bias
            bias[:first] = 0.3 * torch.randn(first, generator=generator)

        def surprise(index: Tensor) -> Tensor:
            modes, white = self._split(self.noise(inputs[index]))
            law = LowRankMultivariateNormal(
                torch.zeros_like(white), modes, white.square(), validate_args=False
            )
            return -law.log_prob(rest[:, index]).mean() / rest.shape[-1]

        def white_surprise(index: Tensor) -> Tensor:
            _, white = self._split(self.noise(inputs[index]))
            return (rest[:, index] / white).square().mean() / 2 + white.log().mean()

        loss = surprise if self.modes else white_surprise
        train(self.noise, loss, len(inputs), schedule)

    def _deviations(self, drive: Tensor, controls: Any) -> tuple[Tensor, Tensor]:
        self.ports.check(drive, controls)
        return self._split(self.noise(rows(self.ports, drive, controls)))

    def _split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Modes (..., M, K) and the white part's deviation (..., M) > 0."""
        m = self.ports.readout
        modes = values[..., : self.modes * m].unflatten(-1, (self.modes, m)).mT
        scale = self.noise.scale[self.modes * m :].to(values)
        return modes, scale * (softplus(values[..., self.modes * m :] / scale) + 1e-3)

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        return self.mean(rows(self.ports, drive, controls))
