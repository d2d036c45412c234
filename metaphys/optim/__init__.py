"""Optimizers: rules as pure functions, and the same rules as ``torch.optim.Optimizer``."""

from metaphys.optim._empty import EmptyState, UninitializedState
from metaphys.optim._kinds import (
    ChainedGradientTransformation,
    IdentityGradientTransformation,
)
from metaphys.optim._pair import PairState
from metaphys.optim.adadelta import AdadeltaState, adadelta
from metaphys.optim.adagrad import AdagradState, adagrad
from metaphys.optim.adam import AdamState, adam, adamw
from metaphys.optim.adamax import AdamaxState, adamax
from metaphys.optim.adan import AdanState, adan
from metaphys.optim.chain import chain, chain_flat, identity
from metaphys.optim.classes import (
    SGD,
    AdaDelta,
    Adadelta,
    AdaGrad,
    Adagrad,
    Adam,
    AdaMax,
    Adamax,
    AdamW,
    Adan,
    Lion,
    Muon,
    NAdam,
    RAdam,
    RMSProp,
    RMSprop,
)
from metaphys.optim.func import FuncOptimizer
from metaphys.optim.lion import LionState, lion
from metaphys.optim.muon import MuonState, muon
from metaphys.optim.nadam import NAdamState, nadam
from metaphys.optim.optimizer import Optimizer
from metaphys.optim.radam import RAdamState, radam
from metaphys.optim.rmsprop import RMSpropState, rmsprop
from metaphys.optim.rule import Core, GradientTransformation, PerLeaf, Rule, apply_updates
from metaphys.optim.sgd import SGDState, sgd

__all__ = [
    "SGD",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adadelta",
    "AdadeltaState",
    "Adagrad",
    "AdagradState",
    "Adam",
    "AdamState",
    "AdamW",
    "Adamax",
    "AdamaxState",
    "Adan",
    "AdanState",
    "ChainedGradientTransformation",
    "Core",
    "EmptyState",
    "FuncOptimizer",
    "GradientTransformation",
    "IdentityGradientTransformation",
    "Lion",
    "LionState",
    "Muon",
    "MuonState",
    "NAdam",
    "NAdamState",
    "Optimizer",
    "PairState",
    "PerLeaf",
    "RAdam",
    "RAdamState",
    "RMSProp",
    "RMSprop",
    "RMSpropState",
    "Rule",
    "SGDState",
    "UninitializedState",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "apply_updates",
    "chain",
    "chain_flat",
    "identity",
    "lion",
    "muon",
    "nadam",
    "radam",
    "rmsprop",
    "sgd",
]
