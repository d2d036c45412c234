"""The code on the pages runs: every Python block, page by page, unless it is `.not-run`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.stem)
def test_the_code_on_a_page_runs(page):
    torch.set_default_dtype(torch.float32)  # what a reader has; the laboratory puts it back
    names: dict[str, object] = {"__name__": "page"}
    for number, code in enumerate(blocks(page), start=1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)
    assert "metaphys" in names or "torchopt" in names


def test_the_readme_says_what_it_prints(capsys):
    first, second, *_ = blocks(PAGES[0])
    torch.set_default_dtype(torch.float32)
    names: dict[str, object] = {"__name__": "page"}
    exec(first, names)
    exec(second, names)
    assert capsys.readouterr().out.split("\n")[:2] == ["tensor(-28.)", "8"]


def test_what_is_said_to_be_missing_is_missing():
    page = (ROOT / "docs" / "how-to" / "from-torchopt.md").read_text(encoding="utf-8")
    section = page.split("## What is not here")[1].split("\n## ")[0]
    names = re.findall(r"`torchopt\.(\w+)`", section)
    assert names and not [n for n in names if importlib.util.find_spec(f"metaphys.{n}")]
