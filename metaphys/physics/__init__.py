"""Physical systems, the devices that embody them, and training through both.

A *system* is a differentiable model of physics; a *device* is a unit that is measured and counted;
a *twin* is the system that stands in for a device in the backward pass; a *population* is where
units come from.
"""

from __future__ import annotations

from metaphys.physics._device import Device, SimulatedDevice
from metaphys.physics._encoded import Encoded
from metaphys.physics._encoding import Affine, Encoding, Interleaved
from metaphys.physics._pat import PhysicsAware
from metaphys.physics._population import Population, Spread
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics._tape import Tape, checkpoint_contexts, record, replay
from metaphys.physics._unknowns import Unknowns
from metaphys.physics.characterization import Characterization, characterize
from metaphys.physics.circuit import (
    Circuit,
    CircuitMismatch,
    CircuitSpread,
    Components,
    Transistor,
    circuit_netlist,
)
from metaphys.physics.lab import FileDevice, Instrument, answer_requests
from metaphys.physics.oscillators import (
    OscillatorArray,
    OscillatorMismatch,
    OscillatorSpread,
    OscillatorUnknowns,
)
from metaphys.physics.plate import (
    Plate,
    PlateDesign,
    PlateMaterial,
    PlateMismatch,
    PlateSpread,
)
from metaphys.physics.shg import (
    SHG,
    Crystal,
    Pulse,
    PulseShaper,
    SHGMismatch,
    SHGSpread,
    Spectrometer,
    ThinSHG,
    TimeWindow,
    propagate,
)
from metaphys.physics.spice import Netlist, SpiceDevice
from metaphys.physics.twins import (
    Calibrate,
    Calibration,
    Corrected,
    FittedTwin,
    LearnCorrection,
    LearnNetwork,
    MismatchUnknowns,
    NetworkTwin,
    Pairs,
    Posterior,
    calibrate,
    fit_pairs,
    fit_twin,
    infer,
    load_twin,
    nrmse,
    random_drives,
    read_pairs,
    save_twin,
    write_pairs,
)
from metaphys.physics.wrappers import (
    Converter,
    DeviceError,
    DriftingDevice,
    JournalEntry,
    ReferenceEntry,
    WithArchive,
    WithAveraging,
    WithConverters,
    WithDrift,
    WithGain,
    WithJournal,
    WithLimits,
    WithNoise,
    WithReference,
    WithRetries,
)

__all__ = [
    "SHG",
    "Affine",
    "Calibrate",
    "Calibration",
    "Characterization",
    "Circuit",
    "CircuitMismatch",
    "CircuitSpread",
    "Components",
    "Converter",
    "Corrected",
    "Crystal",
    "Device",
    "DeviceError",
    "DriftingDevice",
    "Encoded",
    "Encoding",
    "FileDevice",
    "FittedTwin",
    "Instrument",
    "Interleaved",
    "JournalEntry",
    "LearnCorrection",
    "LearnNetwork",
    "MismatchUnknowns",
    "Netlist",
    "NetworkTwin",
    "OscillatorArray",
    "OscillatorMismatch",
    "OscillatorSpread",
    "OscillatorUnknowns",
    "Pairs",
    "PhysicsAware",
    "Plate",
    "PlateDesign",
    "PlateMaterial",
    "PlateMismatch",
    "PlateSpread",
    "Population",
    "Ports",
    "Posterior",
    "Pulse",
    "PulseShaper",
    "ReferenceEntry",
    "SHGMismatch",
    "SHGSpread",
    "SimulatedDevice",
    "Spectrometer",
    "SpiceDevice",
    "Spread",
    "System",
    "Tape",
    "ThinSHG",
    "TimeWindow",
    "Transistor",
    "Unknowns",
    "WithArchive",
    "WithAveraging",
    "WithConverters",
    "WithDrift",
    "WithGain",
    "WithJournal",
    "WithLimits",
    "WithNoise",
    "WithReference",
    "WithRetries",
    "answer_requests",
    "calibrate",
    "characterize",
    "checkpoint_contexts",
    "circuit_netlist",
    "fit_pairs",
    "fit_twin",
    "infer",
    "load_twin",
    "nrmse",
    "propagate",
    "random_drives",
    "read_pairs",
    "record",
    "replay",
    "save_twin",
    "write_pairs",
]
