"""The command line: ``metaphys info``, ``meta-train``, ``train``, ``adapt`` and ``report``."""

from metaphys.cli._main import main

__all__ = ["main"]
