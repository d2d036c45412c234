"""What is installed and what runs: the first thing to ask for when something does not."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

from metaphys.cli._failures import EXTRA, INSTALL, missing


def facts(data_root: Path | None) -> Iterator[tuple[str, str]]:
    """Names and values."""
    import torch

    import metaphys

    kernels = metaphys.ops.status()
    yield "metaphys", metaphys.__version__
    yield "python", platform.python_version()
    yield "torch", torch.__version__
    yield "kernels", f"{'native' if kernels.loaded else 'Python'}: {kernels.reason}"
    yield "threads", str(torch.get_num_threads())
    yield "accelerator", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    yield "digits", _digits()
    yield "mnist", _mnist(data_root)
    absent = missing()
    lacking = ", ".join(f"{name} ({EXTRA[name]})" for name in absent)
    yield "extra lab", f"without {lacking}: {INSTALL}" if absent else "complete"


def _digits() -> str:
    return "needs scikit-learn" if "sklearn" in missing() else "found, in scikit-learn"


def _mnist(root: Path | None) -> str:
    if root is None:
        return "not looked for: name its folder with --data-root"
    from metaphys import data

    try:
        images = data.load("mnist", root)
    except (OSError, ValueError) as error:
        return f"not usable: {error}"
    return f"found, {len(images.train) + len(images.validation):,} + {len(images.test):,} images"
