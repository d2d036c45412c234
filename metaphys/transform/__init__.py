"""Transforms of gradients, and rules around rules: what :func:`metaphys.chain` puts together."""

from metaphys.transform._accumulate import AccumulateState, accumulate
from metaphys.transform._decay import add_decayed_weights
from metaphys.transform._direction import (
    scale_by_accelerated_adam,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_radam,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
    trace,
)
from metaphys.transform._finite import FiniteState, apply_if_finite
from metaphys.transform._flatten import FlattenState, flatten
from metaphys.transform._inject import InjectState, inject_hyperparams
from metaphys.transform._lookahead import LookaheadState, lookahead
from metaphys.transform._nan_to_num import nan_to_num
from metaphys.transform._partition import PartitionState, masked, partition
from metaphys.transform._scale import scale, scale_by_schedule

__all__ = [
    "AccumulateState",
    "FiniteState",
    "FlattenState",
    "InjectState",
    "LookaheadState",
    "PartitionState",
    "accumulate",
    "add_decayed_weights",
    "apply_if_finite",
    "flatten",
    "inject_hyperparams",
    "lookahead",
    "masked",
    "nan_to_num",
    "partition",
    "scale",
    "scale_by_accelerated_adam",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_stddev",
    "trace",
]
