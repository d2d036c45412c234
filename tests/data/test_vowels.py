"""Vowels: what is in the table, how it is split, what is said about broken files."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from metaphys.data import _vowels as module
from metaphys.data import load, vowels
from metaphys.data._hillenbrand import VOWELS, read_tokens

# Numbers that no talker of the real file has, so that the groups are of its sizes.
MISSING = {"m": (5, 12, 24, 30, 31), "w": (18, 43), "b": (2, 11), "g": (3, 7)}
COUNTS = {"m": 45, "w": 48, "b": 27, "g": 19}
# Women of whom a formant is missing; the set of the papers leaves out others.
UNMEASURED = {"ae": 1, "ah": 1, "aw": 2, "er": 11, "iy": 5}


def talkers():
    for group, count in COUNTS.items():
        numbers = (n for n in itertools.count(1) if n not in MISSING[group])
        yield from (f"{group}{n:02d}" for n in itertools.islice(numbers, count))


def table():
    """The real file's format, talkers and vowels; formants that tell the vowels apart."""
    rng = np.random.default_rng(0)
    lines = ["(c) nobody", "", "character 1:  m=man", "  1    2   3"]
    left = dict(UNMEASURED)
    for kind, vowel in enumerate(VOWELS):
        for talker in talkers():
            centre = np.array([300 + 70 * kind, 800 + 200 * kind, 2000 + 100 * kind])
            formants = np.round(centre * rng.uniform(0.99, 1.01, (4, 3))).astype(int).flatten()
            others = module._LEFT_OUT.get(vowel, "").split()
            if talker[0] == "w" and left.get(vowel) and talker[1:] not in others:
                formants[7], left[vowel] = 0, left[vowel] - 1
            values = [250, 200, *formants[:3], 0, *formants[3:]]
            lines.append(f"{talker}{vowel} " + " ".join(f"{value:4d}" for value in values) + " ")
    return lines


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vowdata.dat").write_bytes("\r\n".join(table()).encode())
    return tmp_path


def test_the_set_of_the_papers(folder):
    data = vowels(folder, verify=False)
    assert (len(data.train), len(data.validation), len(data.test)) == (175, 0, 84)
    assert torch.bincount(data.test.targets).tolist() == [12] * 7
    assert torch.bincount(data.train.targets).tolist() == [25] * 7
    assert data.shape == (4, 3) and data.features == 12 and data.linear_accuracy == 0.988
    assert data.train.inputs.min() >= 0 and data.train.inputs.max() <= 1


def test_formants_are_where_they_should_be(folder):
    lines = [line.split() for line in table() if line.startswith("w20ae")]
    values = [int(value) for value in lines[0][1:]]
    kept = values[2:5] + values[6:]
    scale = [(1150, 250), (2900, 600), (3900, 1400)] * 4
    expected = torch.tensor([(f - low) / width for f, (width, low) in zip(kept, scale)])
    data = vowels(folder, verify=False)
    rows = torch.cat([data.train.inputs, data.test.inputs])
    targets = torch.cat([data.train.targets, data.test.targets])
    index = int((rows - expected).abs().amax(-1).argmin())
    torch.testing.assert_close(rows[index], expected, rtol=1e-14, atol=1e-14)
    assert targets[index] == 0


def test_all_talkers_and_vowels(folder):
    data = vowels(folder, classes=12, talkers="mwbg", verify=False, validation=0.2, test=0.3)
    sizes = [len(part) for part in (data.train, data.validation, data.test)]
    assert sum(sizes) == 139 * 12 - 20
    assert data.classes == 12 and data.train.targets.unique().tolist() == list(range(12))
    assert len(vowels(folder, talkers="bg", verify=False, test=0.5).test) == 46 * 7 // 2


def test_tokens_of_a_talker_stay_together(folder):
    def who(part):
        known = read_tokens(folder / "vowdata.dat", verify=False)
        known = [t for t in known if t.complete and t.vowel in module._SEVEN]
        table = module._scaled(known)
        return {known[int((table - row).abs().amax(-1).argmin())].talker for row in part.inputs}

    options = {"talkers": "wb", "verify": False, "validation": 0.2, "test": 0.2, "seed": 3}
    data = vowels(folder, by_talker=True, **options)
    parts = [who(part) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [45, 15, 15]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    mixed = vowels(folder, **options)
    assert who(mixed.train) & who(mixed.test)


@pytest.mark.parametrize("by_talker", [False, True])
def test_the_split_depends_on_the_seed_alone(by_talker, folder):
    first, again, other = (
        vowels(folder, seed=seed, by_talker=by_talker, verify=False) for seed in (3, 3, 4)
    )
    assert first.test.inputs.equal(again.test.inputs)
    assert not first.test.inputs.equal(other.test.inputs)


def test_line_ends_do_not_matter(folder, monkeypatch):
    path = folder / "vowdata.dat"
    content = path.read_bytes()
    plain = content.replace(b"\r\n", b"\n")
    from metaphys.data import _hillenbrand

    monkeypatch.setattr(_hillenbrand, "_SHA256", hashlib.sha256(plain).hexdigest())
    with_returns = vowels(folder).test.inputs
    path.write_bytes(plain)
    assert load("vowels", folder).test.inputs.equal(with_returns)
    path.write_bytes(plain + b"\n")
    with pytest.raises(ValueError, match=r"vowdata.dat` must be of sha256 .*verify=False"):
        vowels(folder)


BROKEN = [
    ("m01ae 1 2 3", r"vowdata\.dat, line 8` must be of 16 columns, but got 4: 'm01ae 1 2 3'"),
    ("m01xx" + " 9" * 15, r"vowdata\.dat, line 8` must be a name of group.*but got m01xx"),
    ("q01ae" + " 9" * 15, r"line 8` must be a name of group, talker"),
    ("m01ah" + " 9" * 14 + " -3", r"line 8` must be of whole numbers in ms and Hz, but got 'm01ah"),
    ("m01ae" + " 9" * 15, r"line 8` must be a new token, but got m01ae again"),
    ("<html>", r"line 8` must be of 16 columns, but got 1: '<html>'"),
]


@pytest.mark.parametrize(("line", "message"), BROKEN)
def test_a_broken_line_is_named(line, message, folder):
    lines = table()
    lines[7] = line
    (folder / "vowdata.dat").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message.replace("'m01ah", "m01ah")):
        vowels(folder, verify=False)


BAD = [
    ({"classes": 5}, ValueError, "`classes` must be 7 or 12"),
    ({"classes": 12}, ValueError, "`classes` must be 7 in the set of the papers.*mwbg"),
    ({"talkers": "mx"}, ValueError, "`talkers` must be letters out of m, w, b, g"),
    ({"talkers": ""}, ValueError, "`talkers` must be letters"),
    ({"test": 0.0}, ValueError, "`test` must be > 0"),
    ({"validation": -0.1}, ValueError, "`validation` must be >= 0"),
    ({"validation": 0.7}, ValueError, "`test` must be less than 1 together"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_arguments_are_refused(options, error, message, folder):
    with pytest.raises(error, match=message):
        vowels(folder, verify=False, **options)


def test_a_file_without_a_table_is_refused(folder):
    (folder / "vowdata.dat").write_text("not found")
    with pytest.raises(ValueError, match="must be a table whose lines start as m01ae"):
        vowels(folder, verify=False)


def test_a_file_without_these_talkers_is_refused(folder):
    (folder / "vowdata.dat").write_text("m01ae" + " 300" * 15)
    with pytest.raises(ValueError, match=r"vowdata\.dat` must be a file with tokens of these"):
        vowels(folder, verify=False)


def test_a_missing_file_is_named_with_a_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"with vowdata\.dat, but .* download=True"):
        vowels(tmp_path)


@pytest.mark.skipif(not os.environ.get("METAPHYS_VOWELS"), reason="METAPHYS_VOWELS names no folder")
def test_the_real_vowels():
    root = Path(os.environ["METAPHYS_VOWELS"])
    data = vowels(root)
    assert (len(data.train), len(data.test)) == (175, 84)
    assert torch.bincount(data.test.targets).tolist() == [12] * 7
    data = vowels(root, classes=12, talkers="mwbg")
    assert len(data.train) + len(data.test) == 1597
    assert data.train.inputs.min() > 0 and data.train.inputs.max() < 1
