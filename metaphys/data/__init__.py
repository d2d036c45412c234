"""Data sets: loaders that verify what they read and say what is wrong."""

from __future__ import annotations

from metaphys.data._dataset import Dataset, Split
from metaphys.data._digits import digits
from metaphys.data._mnist import mnist
from metaphys.data._registry import load, names
from metaphys.data._talkers import Talkers, talkers
from metaphys.data._vowels import vowels

__all__ = [
    "Dataset",
    "Split",
    "Talkers",
    "digits",
    "load",
    "mnist",
    "names",
    "talkers",
    "vowels",
]
