"""Drift: units that walk away from what they were, and what keeps their networks at work."""

from __future__ import annotations

from metaphys.training.drifting._config import DriftConfig
from metaphys.training.drifting._courses import Course
from metaphys.training.drifting._experiment import drift
from metaphys.training.drifting._setting import Setting, build
from metaphys.training.drifting._units import DriftingUnits

__all__ = ["Course", "DriftConfig", "DriftingUnits", "Setting", "build", "drift"]
