"""Recalibration: readouts of a new unit instead of labels, and controls that follow from them."""

from __future__ import annotations

from metaphys.training.recalibration._build import build, problem_of
from metaphys.training.recalibration._classical import gauss_newton, on_twin
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._controls import cancelled
from metaphys.training.recalibration._experiment import recalibrate
from metaphys.training.recalibration._measurement import Measurement
from metaphys.training.recalibration._prior import Prior, learn_prior
from metaphys.training.recalibration._recalibrate import Known, adapted, identify, trained
from metaphys.training.recalibration._setting import Setting, Unit
from metaphys.training.recalibration._start import always, imagined, learn_start

__all__ = [
    "Known",
    "Measurement",
    "Prior",
    "RecalibrationConfig",
    "Setting",
    "Unit",
    "adapted",
    "always",
    "build",
    "cancelled",
    "gauss_newton",
    "identify",
    "imagined",
    "learn_prior",
    "learn_start",
    "on_twin",
    "problem_of",
    "recalibrate",
    "trained",
]
