"""From a configuration to the setting of its system."""

from __future__ import annotations

from metaphys.training.recalibration._array import array_setting
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._setting import Setting
from metaphys.training.recalibration._stack import stack_setting


def build(config: RecalibrationConfig) -> Setting:
    """The setting that a configuration describes.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had or do not fit the system.

    Example:
        >>> setting = build(RecalibrationConfig(spread=0.5))
        >>> setting.nominal, setting.config.budgets
        ((OscillatorArray(26, steps=5, dt=0.1),), (50, 100, 250))
        >>> setting = build(RecalibrationConfig(system="plate", layers=3))
        >>> setting.guess.unknowns.size, [m.device.calls for m in setting.measurements(3, most=60)]
        (22, [0, 0, 0])
    """
    if config.system == "oscillators":
        return array_setting(config)
    return stack_setting(config)
