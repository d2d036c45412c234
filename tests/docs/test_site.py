"""The parts that the site is made of: docstrings, links, tables of results, tutorial pages."""

from __future__ import annotations

import json

import pytest
import repository_pages
import result_tables
import tutorial_pages
from docstring_markdown import to_markdown


def test_roles_become_links_where_there_is_a_page():
    path = "metaphys.optim.rule.apply_updates"
    text = "See :func:`metaphys.sgd`, :func:`~metaphys.nn.run_on` and :func:`update_leaves`."
    expected = "See [`sgd`][metaphys.sgd], [`run_on`][metaphys.nn.run_on] and `update_leaves`."
    assert to_markdown(text, path) == expected
    method = to_markdown(":meth:`step` and :math:`x^2`", "metaphys.meta.optimizer.MetaOptimizer")
    assert method == "[`step`][metaphys.MetaOptimizer.step] and $x^2$"


def test_blocks_and_sections_become_markdown():
    text = "One.\n\n.. math::\n    a = b,\n    c\n\n::\n\n    o--o\n\nExample:\n    >>> 1\n    1\n"
    found = to_markdown(text, "metaphys.sgd")
    assert "$$\na = b,\nc\n$$" in found and "```text\no--o\n```" in found
    assert "Examples:\n    >>> 1" in found
    text = "One.\n\nArgs:\n    a, b: of\n        both.\n    c: last.\n"
    expected = "One.\n\nArgs:\n    a: of\n        both.\n    b: of\n        both.\n    c: last."
    assert to_markdown(text, "metaphys.sgd") == expected


def test_links_of_the_repository_hold_in_the_site():
    text = "[a](docs/results/x.json) [b](csrc/README.md#one) ![c](docs/images/d.png) [e](https://f)"
    assert repository_pages.in_site(text, "README.md", "index.md") == (
        "[a](results.md) [b](kernels.md#one) ![c](images/d.png) [e](https://f)"
    )
    code = "`tutorials/06_maml_tabular_mdp.py`"
    link = "[`tutorials/06_maml_tabular_mdp.py`](tutorials/06_maml_tabular_mdp.md)"
    assert repository_pages.in_site(code, "README.md", "index.md") == link


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.97556, "0.9756"),
        ({"mean": 10.0021, "half": 0.028}, "10.002 ± 0.028"),
        ({"mean": 95.1, "half": 12.3}, "95 ± 12"),
        ({"mean": 3.0, "half": None}, "3"),
        ("none", "none"),
    ],
)
def test_a_mean_is_as_precise_as_its_interval(value, shown):
    assert result_tables.estimate(value) == shown


def test_every_result_is_on_the_page_with_its_command():
    page, paths = result_tables.page(), sorted(result_tables.RESULTS.glob("*.json"))
    assert paths
    for path in paths:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found.get("command", "") in page and found.get("metric", "") in page
        for name, value in (found.get("baselines") or {}).items():
            assert f"| {name} | {result_tables.estimate(value)} |" in page


def test_lines_of_chinese_are_joined_without_a_space():
    assert tutorial_pages._WRAPPED.sub("", "循环：\n内层\nand") == "循环：内层\nand"


def test_outputs_become_text_and_pictures():
    pictures: dict[str, bytes] = {}
    picture = {
        "output_type": "display_data",
        "data": {"image/png": "AAAA", "text/plain": "<Figure>"},
        "metadata": {"image/png": {"width": 500}},
    }
    printed = {"output_type": "stream", "name": "stdout", "text": "tensor(-28.)\n"}
    parts = tutorial_pages._outputs([printed, picture], "01", "End", pictures)
    assert parts == [
        "```{ .text .output .no-copy }\ntensor(-28.)\n```",
        '![End: picture](01-1.png){ width="500" }',
    ]
    assert pictures == {"01-1.png": b"\x00\x00\x00"}
