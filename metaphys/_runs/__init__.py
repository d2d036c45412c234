"""What every experiment needs: a directory that it can go on from, checkpoints, progress."""

from metaphys._runs._checkpoint import load_tensors, load_tree, read_metadata, save_tree
from metaphys._runs._directory import MEASUREMENTS, SECONDS, RunDirectory
from metaphys._runs._interval import half_interval
from metaphys._runs._metrics import METRICS, read_metrics
from metaphys._runs._progress import Advance, Progress, Silent
from metaphys._runs._stored import read_config

__all__ = [
    "MEASUREMENTS",
    "METRICS",
    "SECONDS",
    "Advance",
    "Progress",
    "RunDirectory",
    "Silent",
    "half_interval",
    "load_tensors",
    "load_tree",
    "read_config",
    "read_metadata",
    "read_metrics",
    "save_tree",
]
