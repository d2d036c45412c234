"""Loaders: what they return, and what they say about broken files."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from metaphys.data import Dataset, Split, digits, load, mnist, names
from metaphys.data import _mnist as module

TRAIN, TEST = 60, 20


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """A small set in MNIST's format: one file of each pair compressed."""
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        images = rng.integers(0, 256, (count, 28, 28))
        labels = np.arange(count) % 10
        packed = gzip.compress(idx(images))
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def check_dataset(data: Dataset, sizes):
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == sizes
    for part in parts:
        assert part.inputs.shape == (len(part), data.features)
        assert part.inputs.min() >= 0 and part.inputs.max() <= 1
        assert part.targets.unique().tolist() == list(range(data.classes))
    assert data.features == np.prod(data.shape)


def test_digits():
    data = digits()
    check_dataset(data, [1078, 269, 450])
    assert data.train.inputs.dtype == torch.float64
    assert digits(dtype=torch.float32).train.inputs.dtype == torch.float32
    together = torch.cat([data.train.inputs, data.validation.inputs, data.test.inputs])
    assert len(together) == 1797
    assert round(float(together.sum() * 16)) == 561718  # every image once


def test_the_split_depends_on_the_seed_alone():
    first, again, other = digits(seed=3), digits(seed=3), digits(seed=4)
    assert first.test.inputs.equal(again.test.inputs)
    assert not first.test.inputs.equal(other.test.inputs)


def test_classes_are_split_in_proportion():
    data = digits(test=0.25)
    counts = torch.bincount(data.test.targets).double()
    whole = sum(torch.bincount(p.targets) for p in (data.train, data.validation, data.test))
    assert ((counts / whole - 0.25).abs() < 0.005).all()


@pytest.mark.parametrize(
    ("side", "reduce", "pick"),
    [
        (28, "mean", lambda x: x),
        (14, "stride", lambda x: x[:, ::2, ::2]),
        (7, "stride", lambda x: x[:, ::4, ::4]),
        (14, "mean", lambda x: x.reshape(-1, 14, 2, 14, 2).mean((2, 4))),
        (7, "mean", lambda x: x.reshape(-1, 7, 4, 7, 4).mean((2, 4))),
    ],
)
def test_mnist(folder, side, reduce, pick):
    data = mnist(folder, side=side, reduce=reduce, validation=20, verify=False)
    check_dataset(data, [40, 20, 20])
    content = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    images = np.frombuffer(content, dtype=np.uint8).reshape(-1, 28, 28) / 255
    np.testing.assert_allclose(data.test.inputs.numpy(), pick(images).reshape(20, -1), rtol=1e-14)
    assert data.test.targets.tolist() == [n % 10 for n in range(20)]


def test_the_checksum_is_of_the_uncompressed_bytes(folder, monkeypatch):
    import hashlib

    sums = {}
    for name in module._FILES:
        content = module._find(folder, name).read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        sums[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(module, "_FILES", sums)
    assert len(mnist(folder, validation=20).test) == TEST
    (folder / "t10k-images-idx3-ubyte.gz").rename(folder / "t10k-images-idx3-ubyte")
    assert len(mnist(folder, validation=20).test) == TEST  # known by its bytes, not its name


def spoil_missing(folder):
    (folder / "train-labels-idx1-ubyte").unlink()


def spoil_truncated(folder):
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-3])


def spoil_header(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01\x00")


def spoil_gzip(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-500])


def spoil_format(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(b"<html>not found</html>")


def spoil_empty(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(b"")


def spoil_swapped(folder):
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes((folder / "train-images-idx3-ubyte.gz").read_bytes())


def spoil_count(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5)))


BROKEN = [
    (spoil_missing, FileNotFoundError, r"train-labels-idx1-ubyte or .*\.gz.*Copy it there"),
    (spoil_truncated, ValueError, "train-labels-idx1-ubyte` must be of 60 bytes.*Replace the file"),
    (spoil_header, ValueError, "train-labels-idx1-ubyte` must be an idx file.*truncated header"),
    (spoil_gzip, ValueError, "train-images-idx3-ubyte.gz` must be an intact gzip.*Replace"),
    (spoil_format, ValueError, "train-labels-idx1-ubyte` must be an idx file.*got 3c 68 74 6d"),
    (spoil_empty, ValueError, "train-labels-idx1-ubyte` must be an idx file.*got nothing"),
    (spoil_swapped, ValueError, "train-labels-idx1-ubyte` must be an idx file of 1 dim.*not the o"),
    (spoil_count, ValueError, "train-images-idx3-ubyte.gz` must be of shape .5, 28, 28.*same set"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), BROKEN)
def test_broken_files_are_named_with_a_remedy(spoil, error, message, folder):
    spoil(folder)
    with pytest.raises(error, match=message):
        mnist(folder, validation=20, verify=False)


def test_other_data_is_refused_by_its_checksum(folder):
    with pytest.raises(ValueError, match=r"of md5 6bbc9ace.* when uncompressed.*verify=False"):
        mnist(folder, validation=20)


BAD = [
    (lambda f: mnist(f / "nowhere"), FileNotFoundError, "`root` must be the folder.*nowhere"),
    (lambda f: mnist(f, side=9), ValueError, "`side` must be 28, 14 or 7, but got 9"),
    (lambda f: mnist(f, reduce="max"), ValueError, "`reduce` must be 'mean' or 'stride'"),
    (lambda f: mnist(f, validation=60, verify=False), ValueError, "`validation` must be in 1 … 59"),
    (lambda f: digits(test=0.9, validation=0.1), ValueError, "`test` must be less than 1 together"),
    (lambda f: digits(validation=0.0), ValueError, "`validation` must be > 0"),
    (
        lambda f: load("mnits"),
        ValueError,
        "`name` must be one of digits, mnist, vowels, but got 'mnits'",
    ),
    (lambda f: load("mnist"), ValueError, "`root` must be the folder that holds the files of mnis"),
    (lambda f: Split(torch.zeros(3), torch.zeros(3)), ValueError, "`inputs` must be"),
    (lambda f: Split(torch.zeros(3, 1), torch.zeros(3)), ValueError, "`targets` must be .* int64"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments_are_refused(call, error, message, folder):
    with pytest.raises(error, match=message):
        call(folder)


def test_load_knows_every_name(folder):
    assert names() == ("digits", "mnist", "vowels")
    assert load("digits", test=0.3).name == "digits"
    assert load("mnist", folder, validation=20, verify=False, side=7).shape == (7, 7)


def test_a_split_moves_without_its_targets_changing_type():
    part = digits().validation.to(torch.float32)
    assert (part.inputs.dtype, part.targets.dtype) == (torch.float32, torch.int64)


@pytest.mark.skipif(not os.environ.get("METAPHYS_MNIST"), reason="METAPHYS_MNIST names no folder")
def test_the_real_mnist():
    data = mnist(Path(os.environ["METAPHYS_MNIST"]), side=7, dtype=torch.float32)
    assert len(data.train) + len(data.validation) == 60_000 and len(data.test) == 10_000
    assert abs(float(data.train.inputs.mean()) - 0.1307) < 1e-3
