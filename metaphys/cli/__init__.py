"""The command line: ``metaphys info``, ``train``, ``meta-train``, ``adapt``, ``report`` and so on."""

from metaphys.cli._main import main

__all__ = ["main"]
