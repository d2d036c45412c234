"""The native extension and its switch; everything else is in pyproject.toml.

``METAPHYS_EXTENSION`` chooses what happens with ``csrc``:

- ``auto`` (default): build it; without a working compiler print one paragraph and go on,
- ``require``: build it or fail,
- ``off``: do not build it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup

MODE = os.environ.get("METAPHYS_EXTENSION", "auto")
if MODE not in ("auto", "require", "off"):
    raise SystemExit(f"METAPHYS_EXTENSION must be auto, require or off, but got {MODE!r}.")

WITHOUT = """
metaphys is being installed WITHOUT its native kernels: {reason}
Everything works, in Python and slower. To have the kernels, install a C++17 compiler and torch,
then run `METAPHYS_EXTENSION=require pip install --no-build-isolation -e .`; it stops at the error.
"""


def extension_arguments() -> dict:
    """The arguments of ``setup`` that build ``csrc`` under LibTorch's stable ABI."""
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    class Build(BuildExtension):
        """Builds, and in ``auto`` mode survives a failure with a message."""

        def run(self) -> None:
            try:
                super().run()
            except Exception as error:
                if MODE == "require":
                    raise
                print(WITHOUT.format(reason=error), file=sys.stderr)

        def copy_extensions_to_source(self) -> None:
            # In auto mode a failed build leaves nothing to copy.
            built = [e for e in self.extensions if Path(self.get_ext_fullpath(e.name)).exists()]
            if MODE == "require" or built:
                super().copy_extensions_to_source()

    flags = ["-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
    extension = CppExtension(
        "metaphys._C",
        sources=sorted(str(path) for path in Path("csrc").glob("*.cpp")),
        depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
        extra_compile_args=flags if sys.platform != "win32" else ["/O2", "/std:c++17"],
        # 2.10 is the first release whose stable ABI has everything used here; the limited API
        # makes one library for every CPython from 3.10 on.
        define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000")],
        py_limited_api=True,
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": Build},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def arguments() -> dict:
    """The arguments of ``setup`` that this machine and ``METAPHYS_EXTENSION`` allow."""
    if MODE == "off":
        return {}
    try:
        return extension_arguments()
    except ImportError as error:
        if MODE == "require":
            raise SystemExit(
                f"METAPHYS_EXTENSION=require, but torch cannot be imported here ({error}). "
                "Install torch first and use --no-build-isolation."
            ) from error
        print(WITHOUT.format(reason=error), file=sys.stderr)
        return {}


setup(**arguments())
