"""``pytest --device cuda``: the suite with its tensors on another device than the CPU.

The device becomes torch's default before any test module is imported, so that what tests make lies
there, and so does what they make when they are imported. What is of the CPU by nature is skipped
by name, with the reason that stands here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent

OF_THE_CPU = {
    "tests/cli": "the command line computes on the CPU",
    "tests/data": "loaders read files into the memory of the CPU",
    "tests/docs": "looks at pages, and runs their code as it stands",
    "tests/helpers": "environments of gymnasium speak numpy",
    "tests/nn": "drives and units are drawn on the CPU",
    "tests/physics": "drives and units are drawn on the CPU",
    "tests/rl": "tasks and trajectories are drawn on the CPU",
    "tests/training": "experiments compute on the CPU",
    "tests/tutorials": "they run as they stand",
    "tests/ops/test_library.py": "asks the compiled library, which has kernels of the CPU",
    "tests/test_accelerated_op.py": "asks for kernels of the CPU",
    "tests/test_device.py": "chooses its devices itself",
    "tests/test_layering.py": "reads sources",
}
"""Folders and files of tests that do not move, and why."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--device``."""
    parser.addoption(
        "--device", default="cpu", help="where tests make their tensors, such as cuda (cpu)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the device torch's default, if it is another one and there."""
    config.addinivalue_line("markers", "cpu(reason): a test that is of the CPU by nature")
    device = str(config.getoption("device"))
    if device != "cpu":
        _check(device)
        torch.set_default_device(device)


def _check(name: str) -> None:
    """Refuse a device that is not there, or does not compute what the tests compute."""
    try:
        found = torch.full((2,), 2.0, dtype=torch.float64, device=name).sqrt().sum().item()
    except (AssertionError, RuntimeError, NotImplementedError, TypeError) as error:
        first = str(error).splitlines()[0][:120]
        raise pytest.UsageError(
            f"--device must be one that computes in float64 here, but got {name}: {first}"
        ) from None
    assert found**2 == pytest.approx(8.0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what does not move."""
    device = str(config.getoption("device"))
    if device == "cpu":
        return
    for item in items:
        reason = _why_on_the_cpu(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"not on {device}: {reason}"))


def _why_on_the_cpu(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("cpu")
    if mark is not None:
        return mark.args[0]
    if isinstance(item, pytest.DoctestItem):
        return "an example shows tensors of the CPU"
    place = item.path.relative_to(ROOT)
    paths = (str(each) for each in (place, *place.parents))
    return next((OF_THE_CPU[each] for each in paths if each in OF_THE_CPU), None)
