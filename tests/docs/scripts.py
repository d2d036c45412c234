"""The scripts of docs/results, as modules to test."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import result_tables


def result_script(name: str) -> ModuleType:
    """``docs/results/NAME.py``, run as a module that finds its neighbours."""
    if str(result_tables.RESULTS) not in sys.path:
        sys.path.append(str(result_tables.RESULTS))
    spec = importlib.util.spec_from_file_location(name, result_tables.RESULTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a dataclass looks for its module
    spec.loader.exec_module(module)
    return module
