"""Training one physical network on one unit, beside what it has to be compared with."""

from __future__ import annotations

from metaphys.training.unit._config import TrainConfig
from metaphys.training.unit._saved import load_network
from metaphys.training.unit._train import train

__all__ = ["TrainConfig", "load_network", "train"]
