"""Vowels by their formants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.data._dataset import Dataset, Split
from metaphys.data._download import fetch
from metaphys.data._hillenbrand import VOWELS, Token, read_tokens
from metaphys.data._splits import grouped, stratified

_FILE = "vowdata.dat"
_HOSTS = (
    "http://homepages.wmich.edu/~hillenbr/voweldata/",
    "https://web.archive.org/web/2020id_/http://homepages.wmich.edu/~hillenbr/voweldata/",
)
_HASH = "sha256:05a4a69e2c6b0f444077245b1427d12bc86f8d7a32ae7a4b63f7e06e5712e4b1"
_SEVEN = ("ae", "ah", "aw", "er", "ih", "iy", "uw")
# Complete tokens of women that the set of the papers leaves out, so that each vowel has 37.
_LEFT_OUT = {
    "ae": "04 11 22 26 28 33 37 40 44 47",
    "ah": "04 06 08 12 21 26 27 32 40 48",
    "aw": "05 09 12 24 26 27 30 33 50",
    "er": "",
    "ih": "08 12 13 16 29 35 38 39 41 46 49",
    "iy": "20 26 29 31 44 45",
    "uw": "02 03 04 08 11 25 29 35 36 46 50",
}
# What becomes 0 and 1, Hz: the formants of all talkers lie between.
_RANGES = torch.tensor([[250.0, 1400.0], [600.0, 3500.0], [1400.0, 5300.0]], dtype=torch.float64)
# Logistic regression (C = 1) on standardised inputs, test accuracy, mean of seeds 0 … 19.
_LINEAR = {
    (7, None, False): 0.988,
    (7, "mwbg", False): 0.957,
    (7, "mwbg", True): 0.951,
    (12, "mwbg", False): 0.925,
    (12, "mwbg", True): 0.919,
}


def vowels(
    root: str | Path,
    *,
    classes: Literal[7, 12] = 7,
    talkers: str | None = None,
    by_talker: bool = False,
    validation: float = 0.0,
    test: float = 84 / 259,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    verify: bool = True,
    download: bool = False,
) -> Dataset:
    """Formants of spoken vowels: which vowel was it?

    By default the 259 tokens that the papers on physical networks use, 7 vowels of 37 women each,
    in 175 to train and 84 to test, 12 of each vowel.

    Args:
        root: the folder of ``vowdata.dat``.
        classes: 7 (had, hod, hawed, heard, hid, heed, who'd) or all 12.
        talkers: groups whose complete tokens are taken: letters out of m, w, b, g (men, women,
            boys, girls), e.g. ``"mwbg"``; ``None``: the set of the papers.
        by_talker: put all tokens of a talker into the same part, so that the test is on people
            never heard before; otherwise parts are split by class.
        validation: fraction for validation, of tokens or of talkers.
        test: fraction for the test.
        seed: of the split.
        dtype: of the inputs; the default dtype by default.
        verify: compare the file's sha256 (of line feeds alone) with the original's.
        download: get the file if it is not there (extra ``data``).

    Returns:
        Inputs (n, 12): F1, F2, F3 at steady state and at 20, 50 and 80 % of the duration, each
        formant mapped linearly onto [0, 1]: F1 from 250–1400 Hz, F2 from 600–3500 Hz, F3 from
        1400–5300 Hz. Targets: the vowels in alphabetical order (ei after er, as in the file).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not the original or a line of it is not in the format, or an
            argument is out of range.
        ImportError, ConnectionError: ``download`` without pooch, or without a network.

    Source: J. Hillenbrand, L. A. Getty, M. J. Clark, K. Wheeler, J. Acoust. Soc. Am. 97, 3099
    (1995). The data are given away for research by their author; they are not part of metaphys.
    """
    check(classes in (7, 12), "classes", expected="7 or 12", got=classes)
    fits = talkers is None or (len(talkers) > 0 and set(talkers) <= set("mwbg"))
    check(fits, "talkers", expected="letters out of m, w, b, g, or None", got=talkers)
    fits = talkers is not None or classes == 7
    remedy = 'Name the talkers, e.g. talkers="mwbg", to have 12.'
    check(fits, "classes", expected="7 in the set of the papers", got=classes, remedy=remedy)
    check(validation >= 0, "validation", expected=">= 0", got=validation)
    check(test > 0, "test", expected="> 0", got=test)
    total = validation + test
    check(total < 1, "test", expected="less than 1 together with validation", got=total)
    kinds, tokens = complete_tokens(Path(root), classes, verify=verify, download=download)
    tokens = _of_the_papers(tokens) if talkers is None else _of(talkers, tokens)
    inputs = _scaled(tokens).to(torch.get_default_dtype() if dtype is None else dtype)
    targets = torch.tensor([kinds.index(token.vowel) for token in tokens])
    fractions = (test, validation)
    if by_talker:
        parts = grouped([token.talker for token in tokens], fractions, seed)
    else:
        parts = stratified(targets, fractions, seed)
    held, chosen, rest = (Split(inputs[part], targets[part]) for part in parts)
    return Dataset(
        name="vowels",
        classes=classes,
        shape=(4, 3),
        train=rest,
        validation=chosen,
        test=held,
        linear_accuracy=_LINEAR.get((classes, talkers, by_talker)),
        source="Hillenbrand, Getty, Clark, Wheeler 1995",
    )


def complete_tokens(
    root: Path, classes: int, *, verify: bool, download: bool
) -> tuple[Sequence[str], list[Token]]:
    """The vowels of ``classes``, and all complete tokens of them."""
    kinds = _SEVEN if classes == 7 else VOWELS
    tokens = read_tokens(_located(root, download), verify=verify)
    return kinds, [token for token in tokens if token.complete and token.vowel in kinds]


def _located(root: Path, download: bool) -> Path:
    path = root / _FILE
    if download and not path.is_file():
        fetch(root, _FILE, _HOSTS, _HASH)
    if not path.is_file():
        raise FileNotFoundError(
            f"`root` must be the folder with {_FILE}, but {root} has no such file. Put it there, "
            "or pass download=True."
        )
    return path


def _of(groups: str, tokens: Sequence[Token]) -> list[Token]:
    return _some([token for token in tokens if token.talker[0] in groups])


def _of_the_papers(tokens: Sequence[Token]) -> list[Token]:
    def kept(token: Token) -> bool:
        return token.talker[0] == "w" and token.talker[1:] not in _LEFT_OUT[token.vowel].split()

    return _some([token for token in tokens if kept(token)])


def _some(tokens: list[Token]) -> list[Token]:
    check(len(tokens) > 0, _FILE, expected="a file with tokens of these talkers", got="none")
    return tokens


def _scaled(tokens: Sequence[Token]) -> Tensor:
    formants = torch.tensor([token.formants for token in tokens], dtype=torch.float64)
    low, high = _RANGES.unbind(-1)
    return ((formants.unflatten(-1, (4, 3)) - low) / (high - low)).flatten(-2)
