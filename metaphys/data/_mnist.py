"""MNIST from its four files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.data._dataset import Dataset, Split
from metaphys.data._download import fetch
from metaphys.data._idx import read_idx
from metaphys.data._splits import stratified

# md5 of the uncompressed bytes of the original files.
_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
# md5 of the same files as they are given away, compressed.
_PACKED = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
_HOSTS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# Softmax regression on all 60,000 images, accuracy on the 10,000 test images.
_LINEAR = {("full", 28): 0.928, ("stride", 14): 0.915, ("mean", 7): 0.877}
_SIDE = 28


def mnist(
    root: str | Path,
    *,
    side: Literal[28, 14, 7] = 28,
    reduce: Literal["mean", "stride"] = "mean",
    validation: int = 5000,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    verify: bool = True,
    download: bool = False,
) -> Dataset:
    """The 70,000 handwritten digits of MNIST, read from four idx files.

    Args:
        root: the folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
            ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.
        side: pixels a side; 14 and 7 are made from 28 by ``reduce``.
        reduce: ``"mean"`` averages square blocks, ``"stride"`` takes every second (fourth) pixel,
            as the authors of the physical networks do (``[::2, ::2]``).
        validation: number of images taken from the 60,000 for validation, split by class
            (and rounded within each class).
        seed: of that split.
        dtype: of the inputs; the default dtype by default.
        verify: compare the md5 of the uncompressed bytes with the original's.
        download: get the files that are not there (extra ``data``).

    Returns:
        Inputs (n, side²), grey levels in [0, 1].

    Raises:
        FileNotFoundError: the folder or a file is missing; the message names it.
        ValueError: a file is corrupt or not the original, or an argument is out of range.
        ImportError, ConnectionError: ``download`` without pooch, or without a network.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (1998).
    """
    check(side in (28, 14, 7), "side", expected="28, 14 or 7", got=side)
    check(reduce in ("mean", "stride"), "reduce", expected="'mean' or 'stride'", got=reduce)
    root = Path(root)
    if download:
        for name in [name for name in _FILES if _present(root, name) is None]:
            fetch(root, f"{name}.gz", _HOSTS, f"md5:{_PACKED[name]}")
    if not root.is_dir():
        raise FileNotFoundError(
            f"`root` must be the folder with the MNIST files, but got {root}, which is no folder. "
            f"Put {', '.join(_FILES)} (with or without .gz) there, "
            "or pass download=True."
        )
    dtype = torch.get_default_dtype() if dtype is None else dtype
    train = _read(root, "train", side, reduce, dtype, verify)
    test = _read(root, "t10k", side, reduce, dtype, verify)
    size = len(train)
    check(0 < validation < size, "validation", expected=f"in 1 … {size - 1}", got=validation)
    chosen, rest = stratified(train.targets, (validation / size,), seed)
    return Dataset(
        name="mnist",
        classes=10,
        shape=(side, side),
        train=Split(train.inputs[rest], train.targets[rest]),
        validation=Split(train.inputs[chosen], train.targets[chosen]),
        test=test,
        linear_accuracy=_LINEAR.get((reduce if side < _SIDE else "full", side)),
        source="LeCun, Cortes, Burges 1998",
    )


def _read(root: Path, part: str, side: int, reduce: str, dtype: torch.dtype, verify: bool) -> Split:
    arrays = []
    for kind, dims in (("images-idx3", 3), ("labels-idx1", 1)):
        name = f"{part}-{kind}-ubyte"
        path = _find(root, name)
        arrays.append(read_idx(path, dims=dims, md5=_FILES[name] if verify else None))
    images, labels = arrays
    check(
        images.shape[1:] == (_SIDE, _SIDE) and len(images) == len(labels),
        str(_find(root, f"{part}-images-idx3-ubyte")),
        expected=f"of shape ({len(labels)}, {_SIDE}, {_SIDE}), one image a label",
        got=images.shape,
        remedy="Use the image and the label file of the same set.",
    )
    pixels = _reduced(torch.from_numpy(images.copy()).to(dtype) / 255, side, reduce)
    return Split(pixels.flatten(1), torch.from_numpy(labels.astype("int64")))


def _present(root: Path, name: str) -> Path | None:
    paths = (root / name, root / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _find(root: Path, name: str) -> Path:
    path = _present(root, name)
    if path is None:
        raise FileNotFoundError(
            f"`root` must hold the file {name} or {name}.gz, but {root} has neither. "
            "Copy it there, or pass download=True; the four files of MNIST are needed."
        )
    return path


def _reduced(images: Tensor, side: int, reduce: str) -> Tensor:
    block = _SIDE // side
    if block == 1:
        return images
    if reduce == "stride":
        return images[:, ::block, ::block]
    return images.reshape(-1, side, block, side, block).mean((2, 4))
