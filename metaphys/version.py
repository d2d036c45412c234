"""The version of metaphys: here and nowhere else."""

__version__ = "0.1.0"
"""As in `semantic versioning <https://semver.org>`_."""
