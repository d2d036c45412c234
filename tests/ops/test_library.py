"""The native library: what it needs of libtorch, and how its absence is told."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import metaphys
from metaphys import ops
from metaphys.ops._library import DISABLE
from tests.tables import ADAM

PACKAGE = Path(metaphys.__file__).parent
LIBRARIES = sorted(PACKAGE.glob("_C*.so"))


@pytest.mark.skipif(not LIBRARIES, reason="the extension is not built")
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_the_library_needs_only_the_stable_abi():
    command = ["nm", "-D", "--undefined-only", "-C", str(LIBRARIES[0])]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "aoti_torch" in symbols or "torch_" in symbols
    assert [line for line in symbols.splitlines() if "c10::" in line or "at::" in line] == []


def _status_with(value: str | None) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k != DISABLE}
    environment |= {} if value is None else {DISABLE: value}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    code = "import metaphys; s = metaphys.ops.status(); print(s.loaded); print(s.reason)"
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


@pytest.mark.skipif(not LIBRARIES, reason="the extension is not built")
def test_the_library_is_loaded_where_it_is_built():
    loaded, reason = _status_with(None)
    assert loaded == "True" and LIBRARIES[0].name in reason


def test_the_switch_leaves_it_unloaded_and_says_so():
    loaded, reason = _status_with("1")
    assert loaded == "False" and DISABLE in reason


def test_status_of_this_process():
    disabled = os.environ.get(DISABLE, "") not in ("", "0")
    status = ops.status()
    assert status.loaded == (bool(LIBRARIES) and not disabled)
    assert status.reason
    natively = torch._C._dispatch_has_kernel_for_dispatch_key("metaphys::adam", "CPU")
    assert natively == status.loaded


@pytest.mark.skipif(not ops.status().loaded, reason="the extension is not loaded")
def test_the_kernels_check_what_they_are_given_by_direct_callers():
    g, m, count = torch.ones(3), torch.zeros(3), torch.tensor([1])
    raw, numbers = torch.ops.metaphys.adam.default, tuple(ADAM.values())
    wrong = {
        "mu": ([g], [], [m], count),
        "nu": ([g], [m], [m, m], count),
        "mu[0]": ([g], [m[:2]], [m], count),
        "nu[0]": ([g], [m], [m.float()], count),
        "grads[0]": ([g.long()], [m.long()], [m.long()], count),
        "count": ([g], [m], [m], torch.tensor([1, 2])),
    }
    for name, arguments in wrong.items():
        with pytest.raises(RuntimeError, match=f"`{name}`".replace("[", r"\[")):
            raw(*arguments, *numbers)
