"""Which rule a name stands for, on a machine."""

from __future__ import annotations

from collections.abc import Callable

from metaphys.nn import DFA, PAT, SPSA, InSilico, TrainingRule
from metaphys.physics import Device
from metaphys.training.unit._machine import Machine

Rules = Callable[[list[Device]], TrainingRule]
"""From the devices of a step, with its noise, to the rule of that step."""


def rules(machine: Machine) -> Rules:
    """The training rule that the configuration names."""
    config, network, twins = machine.config, machine.network, machine.twins
    cost = config.penalty

    def spsa(devices: list[Device]) -> TrainingRule:
        many = config.spsa_directions
        return SPSA(network, devices, shift=config.spsa_shift, directions=many, penalty=cost)

    table: dict[str, Rules] = {
        "pat": lambda devices: PAT(network, devices, twins, penalty=cost),
        "in-silico": lambda devices: InSilico(network, twins, penalty=cost),
        "spsa": spsa,
        "dfa": lambda devices: DFA(network, devices, seed=config.seed, penalty=cost),
    }
    return table[config.rule]
