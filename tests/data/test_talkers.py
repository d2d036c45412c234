"""Who said what: groups, talkers with every vowel, and where their tokens are."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import pytest
import torch

from metaphys.data import Talkers, talkers, vowels
from tests.data.test_vowels import COUNTS, UNMEASURED, table


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vowdata.dat").write_text("\n".join(table()))
    return tmp_path


def test_every_complete_token_has_its_talker(folder):
    said = talkers(folder, verify=False)
    assert len(said) == 139 * 12 - sum(UNMEASURED.values())
    assert said.vowels[0] == "ae" and len(said.vowels) == 12
    assert {letter: len(said.group(letter)) for letter in "mwbg"} == COUNTS
    assert said.group("bg") == [name for name in said.group("mwbg") if name[0] in "bg"]
    line = next(line.split() for line in table() if line.startswith("g09iy"))
    values = [float(value) for value in line[1:]]
    (row,) = (r for r in said.rows(["g09"]) if said.vowels[said.targets[r]] == "iy")
    assert said.formants[row].tolist() == values[2:5] + values[6:]


def test_a_talker_is_complete_who_said_every_vowel(folder):
    said = talkers(folder, classes=7, verify=False)
    whole = set(said.complete)
    for name in said.group("mwbg"):
        assert (len(said.rows([name])) == 7) == (name in whole)
    assert len(said.group("w")) - sum(name in whole for name in said.group("w")) > 0
    assert all(name in whole for name in said.group("mbg"))


def test_rows_come_in_the_order_of_the_names(folder):
    said = talkers(folder, classes=7, verify=False)
    first, second = said.group("b")[:2]
    found = [said.names[row] for row in said.rows([second, first])]
    assert found == [second] * 7 + [first] * 7


def test_the_tokens_are_those_of_the_data_set(folder):
    said = talkers(folder, classes=7, verify=False)
    data = vowels(folder, talkers="m", verify=False)
    men = said.formants[said.rows(said.group("m"))]
    low = torch.tensor([250.0, 600.0, 1400.0], dtype=torch.float64).repeat(4)
    high = torch.tensor([1400.0, 3500.0, 5300.0], dtype=torch.float64).repeat(4)
    ours = ((men - low) / (high - low)).sort(0).values
    both = torch.cat([data.train.inputs, data.test.inputs]).to(ours)
    torch.testing.assert_close(ours, both.sort(0).values)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda said: said.group("mx"), "`letters` must be letters out of m, w, b, g, but"),
        (lambda said: said.group(""), "`letters`"),
        (lambda said: said.rows(["w01", "x99"]), r"`talkers` must be names .* but got \['x99'\]"),
        (lambda said: Talkers(said.vowels, said.formants[:, :3], said.targets, said.names),
         "`formants` must be of shape"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(ask, message, folder):
    said = talkers(folder, classes=7, verify=False)
    with pytest.raises(ValueError, match=message):
        ask(said)


def test_a_file_or_a_count_that_does_not_fit_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="`classes` must be 7 or 12, but got 5"):
        talkers(folder, classes=5, verify=False)
    with pytest.raises(FileNotFoundError, match=r"download=True"):
        talkers(tmp_path / "nowhere")
    (folder / "vowdata.dat").write_text("m01ae " + " 0" * 15)
    with pytest.raises(ValueError, match="`root` must be a folder whose file has complete tokens"):
        talkers(folder, verify=False)
