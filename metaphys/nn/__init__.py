"""Modules whose layers are physical systems or devices."""

from __future__ import annotations

from metaphys.nn._encoding import encode, pad
from metaphys.nn._excess import with_excess
from metaphys.nn._features import FeatureNetwork
from metaphys.nn._functional import functional
from metaphys.nn._layer import PhysicalLayer, run_on
from metaphys.nn._meta_module import MetaGradientModule
from metaphys.nn._oscillators import OscillatorNetwork
from metaphys.nn._reparametrize import reparameterize, reparametrize, swap_state
from metaphys.nn._shg import SHGNetwork
from metaphys.nn._waveforms import WaveformNetwork
from metaphys.nn._windows import windows
from metaphys.nn.rules import DFA, PAT, SPSA, InSilico, Measured, TrainingRule

__all__ = [
    "DFA",
    "PAT",
    "SPSA",
    "FeatureNetwork",
    "InSilico",
    "Measured",
    "MetaGradientModule",
    "OscillatorNetwork",
    "PhysicalLayer",
    "SHGNetwork",
    "TrainingRule",
    "WaveformNetwork",
    "encode",
    "functional",
    "pad",
    "reparameterize",
    "reparametrize",
    "run_on",
    "swap_state",
    "windows",
    "with_excess",
]
