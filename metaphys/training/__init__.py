"""The experiments: controls that adapt fast to a unit never seen before, and training one unit."""

from metaphys._runs import Progress, RunDirectory, read_config, read_metrics
from metaphys.training._adaptation import adapt, cross_entropy, squared_error
from metaphys.training._config import Config
from metaphys.training._experiment import meta_train
from metaphys.training._model import adapt_unit, load_model, save_model
from metaphys.training._problem import Problem, build
from metaphys.training.drifting import DriftConfig, drift
from metaphys.training.recalibration import RecalibrationConfig, recalibrate
from metaphys.training.unit import TrainConfig, load_network, train

__all__ = [
    "Config",
    "DriftConfig",
    "Problem",
    "Progress",
    "RecalibrationConfig",
    "RunDirectory",
    "TrainConfig",
    "adapt",
    "adapt_unit",
    "build",
    "cross_entropy",
    "drift",
    "load_model",
    "load_network",
    "meta_train",
    "read_config",
    "read_metrics",
    "recalibrate",
    "save_model",
    "squared_error",
    "train",
]
