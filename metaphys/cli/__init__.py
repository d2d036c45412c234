"""The command line: ``metaphys --help`` lists its commands."""

from metaphys.cli._main import main

__all__ = ["main"]
