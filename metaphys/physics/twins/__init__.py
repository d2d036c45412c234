"""Twins: models of one device that were fitted to what it answered."""

from __future__ import annotations

from metaphys.physics.twins._calibrate import Calibration, Combination, calibrate
from metaphys.physics.twins._corrected import Corrected
from metaphys.physics.twins._filter import DriftFilter
from metaphys.physics.twins._filter_update import Belief
from metaphys.physics.twins._fit import FittedTwin, fit_pairs, fit_twin, random_drives
from metaphys.physics.twins._learned_walk import learn_walk
from metaphys.physics.twins._methods import Calibrate, LearnCorrection, LearnNetwork, Method
from metaphys.physics.twins._network import NetworkTwin
from metaphys.physics.twins._nrmse import nrmse
from metaphys.physics.twins._pairs import Pairs, read_pairs, write_pairs
from metaphys.physics.twins._posterior import Posterior, infer
from metaphys.physics.twins._saved import load_twin, save_twin
from metaphys.physics.twins._train import Schedule
from metaphys.physics.twins._unknowns import MismatchUnknowns

__all__ = [
    "Belief",
    "Calibrate",
    "Calibration",
    "Combination",
    "Corrected",
    "DriftFilter",
    "FittedTwin",
    "LearnCorrection",
    "LearnNetwork",
    "Method",
    "MismatchUnknowns",
    "NetworkTwin",
    "Pairs",
    "Posterior",
    "Schedule",
    "calibrate",
    "fit_pairs",
    "fit_twin",
    "infer",
    "learn_walk",
    "load_twin",
    "nrmse",
    "random_drives",
    "read_pairs",
    "save_twin",
    "write_pairs",
]
