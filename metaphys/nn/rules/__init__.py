"""Training rules: where the gradients of a network on hardware come from, one file a rule."""

from __future__ import annotations

from metaphys.nn.rules._dfa import DFA
from metaphys.nn.rules._differentiated import PAT, InSilico
from metaphys.nn.rules._measured import Measured
from metaphys.nn.rules._rule import TrainingRule
from metaphys.nn.rules._spsa import SPSA

__all__ = ["DFA", "PAT", "SPSA", "InSilico", "Measured", "TrainingRule"]
